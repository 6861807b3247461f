"""A canary without a gateway.

The canary's traffic share is its share of the pods, and the in-cluster Service is the only endpoint.
"""

import collections

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import Load, predict
from e2e.support.registry import MODEL
from tools.demo import install

PODS, CALLS = 3, 800
POINTS = 6
"""The allowed difference in percent of the requests.

800 new connections each reach a random pod. Three standard deviations around a quarter are 4.6 points.
"""


@pytest.fixture
def shop(helm, operator, workspace):
    """Serve version 1 with three pods.

    The operator's settings name no gateway.
    """
    before = operator.wait_leading()["metadata"]["name"]
    helm("upgrade", *install.release(workspace.cluster), "--set", "settings.gateway=null", "--wait")
    wait_until("another operator to lead", lambda: operator.wait_leading()["metadata"]["name"] != before, 90)

    def declare(**spec):
        workspace.apply("shop", scaling={"replicas": PODS}, **spec)

    declare(model=1)
    workspace.wait_condition("shop", "Ready", "True", timeout=120)
    workspace.declare = declare
    return workspace


def canary(**fields):
    return {"weight": 25, "model": {"uri": f"models:/{MODEL}/2"}, **fields}


@pytest.mark.timeout(480)
def test_share_is_that_of_the_pods_and_no_request_fails(shop):
    url = f"http://{shop.get('service', 'shop')['spec']['clusterIP']}"
    assert "url" not in shop.status("shop")
    with Load({"service": url}, rate=15) as steady:
        shop.declare(model=1, canary=canary())
        shop.wait_condition("shop", "Ready", "True", timeout=120)
        assert shop.status("shop")["canary"] == "~25%"
        assert "about 25%" in shop.condition("shop", "Ready")["message"]
        measured = collections.Counter(predict(url) for _ in range(CALLS))
        print(f"ratio: {dict(measured)} of {CALLS} at weight 25", flush=True)
        assert abs(measured[2] / CALLS * 100 - 25) <= POINTS

        shop.declare(model=1, canary=canary(match=[{"header": {"name": "x-cohort", "value": "beta"}}]))
        refused = shop.wait_condition("shop", "Ready", "False", "GatewayRequired")
        assert "match" in refused["message"]

        shop.declare(model=1)
        shop.wait_condition("shop", "Ready", "True", timeout=120)
        shop.wait_only("shop", shop.stable("shop"))
        assert {predict(url) for _ in range(40)} == {1}

        shop.declare(model=2)
        shop.wait_condition("shop", "Ready", "True", timeout=120)
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 30)
    steady.check()
