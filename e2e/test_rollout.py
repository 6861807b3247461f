"""A new version takes over under steady load, then the old one again.

No request fails.
"""

import secrets
import time

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.watch import Watch

DELAY = 5
"""scaleDownDelay in seconds."""
ROLLOUT = {"scaleDownDelay": f"{DELAY}s"}


@pytest.fixture
def shop(apply, wait_ready, workspace):
    """Serve version 1."""
    apply("shop", model=1, rollout=ROLLOUT)
    wait_ready("shop")
    return workspace


def change(space, steady, version, **spec):
    """Change to another version, and wait until no pod of the old one is left.

    Returns:
        The revision that serves now.
    """
    space.apply("shop", model=version, rollout=ROLLOUT, **spec)
    space.wait_ready("shop")
    revision = space.stable("shop")
    space.wait_only("shop", revision)
    wait_until(f"every client to be answered by version {version}", lambda: steady.settled_on(version), 30)
    return revision


def test_new_version_and_rollback_lose_no_request(kube, shop, load):
    first = shop.stable("shop")
    space = shop.namespace
    with (
        Watch(kube, "deployment", space) as deployments,
        Watch(kube, "httproute", space) as routes,
        Watch(kube, "service", space) as services,
        Watch(kube, "endpointslice", space) as slices,
        load("shop") as steady,
    ):
        wait_until("some answers", lambda: steady.total > 200)
        second = change(shop, steady, 2)
        assert second != first
        ready = ready_endpoints(slices, f"shop-{second}")
        assert ready < min(moved(routes, second).version, narrowed(services, second).version)
        check_order(first, second, deployments, routes, services)

        waking = shop.child("deployment", "shop", first)["metadata"]["uid"]
        assert change(shop, steady, 1) == first
    steady.check(1, 2, 1)

    records = shop.revisions("shop")
    assert [record["metadata"]["labels"]["sluicegate.dev/revision"] for record in records] == [first, second]
    assert shop.child("deployment", "shop", first)["metadata"]["uid"] == waking
    assert shop.child("deployment", "shop", second)["spec"]["replicas"] == 0


def check_order(first, second, deployments, routes, services):
    """Check that old pods stay until the traffic has moved, plus the delay.

    Both the route and the Service must have moved.
    The route counts as moved once the gateway has accepted it.
    """
    parked = next(each for each in deployments.of(f"shop-{first}") if each.obj["spec"]["replicas"] == 0)
    accepted = next(
        each for each in routes.of("shop") if weights(each.obj) == {f"shop-{second}": 100} and taken(each.obj)
    )
    assert moved(routes, second).version < accepted.version < parked.version
    assert narrowed(services, second).version < parked.version
    kept = parked.at - max(accepted.at, narrowed(services, second).at)
    assert kept > DELAY - 1.5, f"the old pods were given {kept:.1f} s"  # timestamps in status are whole seconds
    for each in routes.of("shop"):
        assert sum(weights(each.obj).values()) == 100


def moved(routes, revision):
    """Return the first version of the route in which the revision has all requests."""
    return next(each for each in routes.of("shop") if weights(each.obj) == {f"shop-{revision}": 100})


def narrowed(services, revision):
    """Return the first version of the Service that selects only the revision."""
    return next(
        each for each in services.of("shop") if each.obj["spec"]["selector"].get("sluicegate.dev/revision") == revision
    )


def ready_endpoints(slices, service):
    """Return the version of the first EndpointSlice of a Service that has a ready endpoint."""
    return min(
        seen.version
        for seen in slices.events
        if seen.obj["metadata"]["labels"].get("kubernetes.io/service-name") == service
        and any(endpoint["conditions"].get("ready") for endpoint in seen.obj.get("endpoints") or ())
    )


def weights(route):
    return {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"] if ref["weight"]}


def taken(route):
    conditions = [
        condition for parent in (route.get("status") or {}).get("parents") or () for condition in parent["conditions"]
    ]
    good = [condition for condition in conditions if condition["status"] == "True"]
    current = [each for each in good if each.get("observedGeneration") == route["metadata"]["generation"]]
    return {"Accepted", "ResolvedRefs"} <= {each["type"] for each in current}


def test_changes_in_quick_succession_lose_no_request(shop, load):
    """Change the version at short intervals, in three situations.

    The first changes follow one another at once. Later ones come as soon as the traffic has moved, and while the old
    pods drain.
    """
    first = shop.stable("shop")
    with load("shop", rate=25) as steady:
        wait_until("some answers", lambda: steady.total > 100)
        for version in (2, 1, 2, 1, 2):
            shop.apply("shop", model=version, rollout=ROLLOUT)
            time.sleep(0.5)
        wait_until("the other revision to serve", lambda: shop.stable("shop") not in ("", first), 90)
        second = shop.stable("shop")
        shop.apply("shop", model=1, rollout=ROLLOUT)
        wait_until("the first one to serve again", lambda: shop.stable("shop") == first, 90, every=0.05)
        shop.apply("shop", model=2, rollout=ROLLOUT)
        wait_until("the first one to be parked", lambda: not shop.pods("shop", first), 90, every=0.05)
        shop.apply("shop", model=1, rollout=ROLLOUT)
        shop.wait_ready("shop")
        assert shop.stable("shop") == first
        shop.wait_only("shop", first)
        wait_until("every client to be answered by version 1", lambda: steady.settled_on(1), 30)
    # Which versions a client meets on the way is random. A kept connection to the Service stays with its pod, and that
    # pod is never stopped if the change is reverted while the pod drains.
    steady.check()
    assert {revision["metadata"]["labels"]["sluicegate.dev/revision"] for revision in shop.revisions("shop")} == {
        first,
        second,
    }


def test_version_that_never_gets_ready_leaves_the_old_one_serving(kube, shop, load, registry):
    first = shop.stable("shop")
    model = f"unready-{secrets.token_hex(3)}"
    broken = registry.train("--broken=load", model=model)
    with Watch(kube, "httproute", shop.namespace) as routes, load("shop", rate=25) as steady:
        shop.apply("shop", model=f"models:/{model}/{broken}", rollout=ROLLOUT)
        wait_until(
            "the resource to say why",
            lambda: "a_package_that_is_not_in_the_image" in shop.condition("shop", "Ready").get("message", ""),
            120,
            every=0.5,
        )
        assert shop.condition("shop", "Ready")["status"] == "False"
        assert shop.condition("shop", "Available")["status"] == "True"
        assert shop.stable("shop") == first
        change(shop, steady, 1)
        assert predict(shop.urls("shop")["gateway"]) == 1
    steady.check(1)
    assert {tuple(weights(each.obj)) for each in routes.of("shop")} == {(f"shop-{first}",)}
