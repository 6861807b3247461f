"""The same guarantees on each Gateway API implementation, and on two at once.

Most other tests run on Traefik alone.
"""

import secrets
import urllib.error
import urllib.request

import pytest

from e2e.support.gateway import GATEWAYS, connect
from e2e.support.kube import wait_until
from e2e.support.load import BODY, HEADERS, Load, predict, routed

QUICK = {"scaleDownDelay": "3s"}


def code(url, path="ping", body=None):
    """Return the status code of the gateway's or the model's response."""
    asked = urllib.request.Request(f"{url}/{path}", body, HEADERS)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


def change(space, steady, version, traffic):
    """Change to another version, and wait until no pod of the old one is left."""
    space.apply("shop", model=version, traffic=traffic, rollout=QUICK)
    space.wait_changed("shop", steady, version)


@pytest.mark.parametrize("gateway", ["envoy-gateway"], indirect=True)
def test_new_version_and_rollback_lose_no_request(gateway, workspace, load):
    traffic = gateway.traffic()
    workspace.apply("shop", model=1, traffic=traffic, rollout=QUICK)
    status = workspace.wait_ready("shop")
    url = f"{gateway.url}/{workspace.namespace}/shop"
    assert status["url"] == url
    assert predict(url) == 1

    with load("shop") as steady:
        wait_until("some answers", lambda: steady.total > 200)
        change(workspace, steady, 2, traffic)
        change(workspace, steady, 1, traffic)
    steady.check(1, 2, 1)

    workspace.kube.delete("mdep", "shop", workspace.namespace)
    wait_until("the gateway to know the path no more", lambda: code(url) == 404, 60)


@pytest.fixture(scope="module")
def slow_model(registry):
    """Register a model that takes three seconds to respond, and return its URI."""
    name = f"slow-{secrets.token_hex(3)}"
    return f"models:/{name}/{registry.train('--slow=3', model=name)}"


def test_timeout_ends_the_request_where_the_gateway_can(gateway, workspace, slow_model):
    """A shorter timeout is the gateway's alone, because the pods keep the limit that they were created with."""
    workspace.apply("slow", model=slow_model, traffic=gateway.traffic(timeout="20s"))
    status = workspace.wait_ready("slow")
    can = gateway.can("HTTPRouteRequestTimeout")
    said = workspace.condition("slow", "TrafficRouted")["message"]
    print(f"{gateway.name}: {sorted(gateway.features)}; {said}")
    assert ("the gateway does not enforce spec.traffic.timeout" in said) is not can
    assert code(status["url"], "invocations", BODY) == 200
    workspace.apply("slow", model=slow_model, traffic=gateway.traffic(timeout="1s"))
    workspace.wait_ready("slow")
    expected = 504 if can else 200
    wait_until("the shorter timeout to hold", lambda: code(status["url"], "invocations", BODY) == expected, 30)


def test_missing_gateway_or_listener_is_named_and_loses_no_request(gateway, workspace, load):
    """Keep the old parents of the route until the new ones accept it."""
    workspace.apply("shop", traffic=gateway.traffic())
    url = workspace.wait_ready("shop")["url"]
    with load("shop") as steady:
        workspace.apply("shop", traffic={"gateway": {"parentRefs": [{**gateway.parent, "name": "nowhere"}]}})
        condition = workspace.wait_condition("shop", "TrafficRouted", "False", "GatewayNotFound")
        assert "nowhere" in condition["message"]
        workspace.apply("shop", traffic={"gateway": {"parentRefs": [{**gateway.parent, "sectionName": "nowhere"}]}})
        condition = workspace.wait_condition("shop", "TrafficRouted", "False", "RouteRefused")
        print(f"{gateway.name}: {condition['message']}")
        assert "Accepted=False" in condition["message"]
        assert workspace.status("shop")["url"] == url
        wait_until("some answers", lambda: steady.total > 200)
        workspace.apply("shop", traffic=gateway.traffic())
        workspace.wait_ready("shop")
    steady.check(1)


def test_two_gateways_at_once_lose_no_request(cluster, workspace):
    """Use one route with two parents.

    No pod drains before both have accepted the new weights.
    """
    both = [connect(cluster, name) for name in GATEWAYS]
    traffic = {"gateway": {"parentRefs": [each.parent for each in both]}}
    workspace.apply("shop", model=1, traffic=traffic, rollout=QUICK)
    workspace.wait_ready("shop")
    urls = {each.name: f"{each.url}/{workspace.namespace}/shop" for each in both}
    for url in urls.values():
        wait_until(f"the gateway to route {url}", lambda u=url: routed(u), 20)
    with Load(urls) as steady:
        wait_until("some answers", lambda: steady.total > 200)
        change(workspace, steady, 2, traffic)
    steady.check(1, 2)
