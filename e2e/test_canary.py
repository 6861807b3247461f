"""A declared canary under steady load.

The measured share is the declared weight, and no request fails.
"""

import secrets

import pytest

from e2e.support.kube import wait_until
from e2e.support.registry import MODEL
from e2e.support.share import shares
from e2e.support.watch import Watch

ROLLOUT = {"scaleDownDelay": "3s"}
POINTS = 2
"""The allowed difference between the measured share and the weight.

The unit is percent of the requests.
"""


def canary(weight, version=2, **fields):
    """Return `spec.canary` with a version of the example model."""
    return {"weight": weight, "model": {"uri": f"models:/{MODEL}/{version}"}, **fields}


@pytest.fixture
def shop(workspace, wait_ready, traffic):
    """Serve version 1 through one of the gateways."""

    def declare(**spec):
        workspace.apply("shop", rollout=ROLLOUT, traffic=traffic, **spec)

    declare(model=1)
    wait_ready("shop")
    workspace.declare = declare
    return workspace


@pytest.fixture
def traffic(request):
    """Return `spec.traffic` for each gateway in turn, or for the platform's default.

    A test that requests `gateway` runs on each gateway. All others use the platform's gateway, which is Traefik.
    """
    if "gateway" in request.fixturenames:
        return request.getfixturevalue("gateway").traffic()
    return {}


def uids(space, revision):
    return {pod["metadata"]["uid"] for pod in space.pods("shop", revision)}


def of_role(space, role):
    return next((revision for revision in space.status("shop")["revisions"] if revision["role"] == role), None)


def accepted(space, weight):
    """Wait until the gateway has accepted a weight and the declared state serves."""
    space.wait_condition("shop", "Ready", "True", timeout=120)
    assert of_role(space, "Canary")["acceptedWeight"] == weight
    assert space.status("shop")["canary"] == f"{weight}%"


def share_of_canary(url, weight, count):
    """Return the percentage of the responses that come from version 2.

    It first waits until the gateway routes by about that weight.
    Traefik accepts a weight up to two seconds before it routes by it (docs/guide/traffic.md).
    """

    def percent(count):
        found = shares(url, count)
        return found[2] / found.total() * 100

    wait_until(f"the gateway to route by the weight {weight}", lambda: abs(percent(200) - weight) <= 8, 20)
    return percent(count)


@pytest.mark.timeout(600)
def test_share_is_the_weight_and_promotion_keeps_the_pods(gateway, shop, load):
    first = shop.stable("shop")
    url = shop.urls("shop")["gateway"]
    with load("shop", rate=10) as steady:
        shop.declare(model=1, canary=canary(10))
        accepted(shop, 10)
        share = share_of_canary(url, 10, 10_000)
        print(f"{gateway.name}: {share:.2f} % at weight 10", flush=True)
        assert abs(share - 10) <= POINTS
        assert set(shares(shop.urls("shop")["service"], 80)) == {1}, "in-cluster callers stay with stable"

        second = of_role(shop, "Canary")["revision"]
        before = uids(shop, second)
        shop.declare(model=2)
        shop.wait_ready("shop")
        shop.wait_only("shop", second)
        assert uids(shop, second) == before, "the same pods"
        assert shop.stable("shop") == second
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 30)
    steady.check()
    assert first != second


@pytest.mark.timeout(600)
def test_twenty_moves_of_the_weight_a_match_and_the_removal_lose_no_request(kube, shop, load):
    first = shop.stable("shop")
    url = shop.urls("shop")["gateway"]
    with Watch(kube, "httproute", shop.namespace) as routes, load("shop", rate=20) as steady:
        shop.declare(model=1, canary=canary(0))
        accepted(shop, 0)
        second = of_role(shop, "Canary")["revision"]
        assert set(shares(url, 200)) == {1}, "a dark launch gets nothing"
        assert len(uids(shop, second)) == 1, "and runs"
        for move in range(20):
            weight = (5, 95, 50, 20, 80)[move % 5]
            shop.declare(model=1, canary=canary(weight))
            accepted(shop, weight)
        beta = [{"header": {"name": "x-cohort", "value": value}} for value in ("beta", "staff")]
        shop.declare(model=1, canary=canary(0, match=beta))
        accepted(shop, 0)
        wait_until("the header to be obeyed", lambda: set(shares(url, 40, x_cohort="beta")) == {2}, 20)
        for value in ("beta", "staff"):
            assert set(shares(url, 200, x_cohort=value)) == {2}
        assert set(shares(url, 200)) == {1}
        shop.declare(model=1)
        shop.wait_ready("shop")
        shop.wait_only("shop", first)
        wait_until("every client to be answered by version 1", lambda: steady.settled_on(1), 30)
    steady.check()
    for each in routes.of("shop"):
        for rule in each.obj["spec"]["rules"]:
            assert sum(backend["weight"] for backend in rule["backendRefs"]) == 100


def test_a_canary_that_cannot_load_says_so_and_gets_nothing(shop, load, registry):
    model = f"unready-{secrets.token_hex(3)}"
    broken = registry.train("--broken=load", model=model)
    first = shop.stable("shop")
    with load("shop", rate=20) as steady:
        shop.declare(model=1, canary={"weight": 50, "model": {"uri": f"models:/{model}/{broken}"}})
        wait_until(
            "the resource to say why",
            lambda: "a_package_that_is_not_in_the_image" in shop.condition("shop", "Ready").get("message", ""),
            120,
            every=0.5,
        )
        ready = shop.condition("shop", "Ready")
        assert ready["status"] == "False"
        assert ready["message"].startswith("Canary: ")
        assert "stays with the stable revision" in ready["message"]
        assert shop.condition("shop", "Available")["status"] == "True"
        assert of_role(shop, "Canary")["acceptedWeight"] == 0
        shop.declare(model=1)
        shop.wait_ready("shop")
        shop.wait_only("shop", first)
    steady.check(1)


def test_mirror_is_refused_where_the_gateway_does_not_list_it(shop, load):
    """Refuse the mirror on Traefik, because its routes with a mirror fail.

    Traefik sets Accepted=True on such a route, and returns 500 for each of its requests.
    """
    with load("shop", rate=20) as steady:
        shop.declare(model=1, canary=canary(0, mirror={"percent": 100}))
        shop.wait_condition("shop", "Ready", "False", "GatewayLacksFeature")
        assert "HTTPRouteRequestMirror" in shop.condition("shop", "Ready")["message"]
        assert shop.condition("shop", "Available")["status"] == "True"
    steady.check(1)


@pytest.mark.parametrize("gateway", ["envoy-gateway"], indirect=True)
@pytest.mark.parametrize("percent", [100, 50])
def test_mirror_sends_copies_and_answers_of_stable_alone(gateway, shop, load, percent):
    with load("shop", rate=20) as steady:
        runtime = {"args": ["serve", "/mnt/model", "--port", "8080", "--drain", "5", "--access-log"]}
        shop.declare(model=1, canary=canary(0, mirror={"percent": percent}, runtime=runtime))
        accepted(shop, 0)
        second = of_role(shop, "Canary")["revision"]
        wait_until("the canary to get copies", lambda: served(shop, second) > 20, 60, every=1)
        before = served(shop, second)
        assert set(shares(shop.urls("shop")["gateway"], 400)) == {1}
        wait_until("the copies of four hundred requests", lambda: served(shop, second) - before > 4 * percent * 0.7, 30)
        shop.declare(model=1)
        shop.wait_ready("shop")
    steady.check(1)


def served(space, revision):
    """Count the prediction requests in the access log of the revision's pods."""
    pods = [each["metadata"]["name"] for each in space.pods("shop", revision)]
    logs = "".join(space.cluster.kubectl("-n", space.namespace, "logs", pod, "-c", "model") for pod in pods)
    return logs.count("/invocations")


@pytest.mark.timeout(600)
def test_operator_killed_and_api_server_restarted_while_the_weight_moves(cluster, shop, load, operator):
    with load("shop", rate=20) as steady:
        shop.declare(model=1, canary=canary(10))
        accepted(shop, 10)
        pod = operator.wait_leading()
        shop.declare(model=1, canary=canary(60))
        operator.kill(pod)
        accepted(shop, 60)
        shop.declare(model=1, canary=canary(30))
        cluster.restart("kube-apiserver")
        accepted(shop, 30)
        assert abs(share_of_canary(shop.urls("shop")["gateway"], 30, 2000) - 30) <= 2 * POINTS
    steady.check()
