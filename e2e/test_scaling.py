"""The number of pods: the autoscaler under real load, and changes of the owner.

The tests watch every value of the number.
"""

import threading

import pytest

from e2e.support import rollouts
from e2e.support.kube import wait_until
from e2e.support.load import Lane
from e2e.support.watch import Watch

SMALL = {"requests": {"cpu": "50m"}}
QUICK = {
    "scaleUp": {"stabilizationWindowSeconds": 0},
    "scaleDown": {"stabilizationWindowSeconds": 5, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 5}]},
}


@pytest.fixture
def deployments(kube, workspace):
    with Watch(kube, "deployment", workspace.namespace) as seen:
        yield seen


def uids(space, name="shop"):
    return {pod["metadata"]["uid"] for pod in space.pods(name)}


def ready_pods(space, name, number):
    """Tell whether there are exactly this many pods, all of them ready."""
    pods = space.pods(name)
    ready = [
        each
        for each in pods
        if any(cond["type"] == "Ready" and cond["status"] == "True" for cond in each["status"].get("conditions") or ())
    ]
    return len(pods) == len(ready) == number


def owner_of_replicas(deployment):
    """Return the field managers that own spec.replicas."""
    return {
        entry["manager"]
        for entry in deployment["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }


def scaled(space, revision, number):
    return space.child("deployment", "shop", revision)["spec"]["replicas"] == number


def test_autoscaler_follows_load_and_hands_over_without_a_step(apply, wait_ready, workspace, load, deployments):
    ranged = {"min": 1, "max": 3, "behavior": QUICK}
    apply("shop", scaling=ranged, resources=SMALL)
    wait_ready("shop")
    revision = workspace.stable("shop")
    child = f"shop-{revision}"

    with load("shop", rate=30) as steady:
        wait_until("three pods under load", lambda: scaled(workspace, revision, 3), 150, every=0.3)
        wait_until("all three to be ready", lambda: ready_pods(workspace, "shop", 3), 90, every=0.3)
        assert "sluicegate" not in owner_of_replicas(workspace.child("deployment", "shop", revision))
        before, position = uids(workspace), len(deployments.of(child))

        # From the autoscaler to a fixed number and back, at the current size. No pod may be affected.
        apply("shop", scaling={"replicas": 3}, resources=SMALL)
        wait_until("the autoscaler to go", lambda: not workspace.list("hpa"))
        wait_ready("shop")
        apply("shop", scaling=ranged, resources=SMALL)
        wait_until("the autoscaler to be back", lambda: workspace.list("hpa"))
        wait_ready("shop")
        wait_until("the autoscaler to have looked", lambda: looked(workspace), 60, every=0.3)
        assert {each.obj["spec"]["replicas"] for each in deployments.of(child)[position:]} <= {3}
        assert uids(workspace) == before
    steady.check(1)

    url = workspace.urls("shop")["gateway"]
    stop, gentle = threading.Event(), Lane("gentle", url, keep_alive=False, rate=2)
    thread = threading.Thread(target=gentle.run, args=(stop,))
    thread.start()
    try:
        wait_until("one pod again", lambda: scaled(workspace, revision, 1), 120, every=0.3)
        wait_until("one pod to be left", lambda: len(workspace.all_pods("shop")) == 1, 60, every=0.3)
    finally:
        stop.set()
        thread.join()
    assert not gentle.failures, gentle.failures


def looked(space):
    (found,) = space.list("hpa")
    return (found.get("status") or {}).get("currentReplicas") is not None and found["status"].get("desiredReplicas")


def test_fixed_to_autoscaled_to_fixed_never_passes_through_fewer(apply, wait_ready, workspace, deployments):
    """Check that no change of owner removes a pod in passing.

    The number never drops below the smaller of the old and the new number. It never passes through 1. Pods that both
    numbers allow stay.
    """
    apply("shop", scaling={"replicas": 3}, resources=SMALL)
    wait_ready("shop")
    wait_until("three pods", lambda: ready_pods(workspace, "shop", 3))
    revision = workspace.stable("shop")
    child = f"shop-{revision}"
    before = uids(workspace)

    for scaling in ({"min": 2, "max": 4}, {"replicas": 3}, {"min": 3, "max": 3}, {"replicas": 3}):
        apply("shop", scaling=scaling, resources=SMALL)
        expected = 0 if "replicas" in scaling else 1
        wait_until("the autoscaler as declared", lambda n=expected: len(workspace.list("hpa")) == n)
        if expected:
            wait_until("the autoscaler to have looked", lambda: looked(workspace), 60, every=0.3)
        wait_ready("shop")
        assert uids(workspace) == before, scaling
    assert deployments.replicas(child)[-1] == 3
    assert set(deployments.replicas(child)) == {3}

    # Here the autoscaler writes the number itself. From then on the operator does not own it.
    apply("shop", scaling={"min": 4, "max": 5}, resources=SMALL)
    wait_until("four pods", lambda: ready_pods(workspace, "shop", 4), 90)
    assert before < uids(workspace)
    apply("shop", scaling={"replicas": 2}, resources=SMALL)
    wait_until("two pods", lambda: ready_pods(workspace, "shop", 2), 60)
    wait_ready("shop")
    assert deployments.replicas(child) == [3, 4, 2]
    assert all(each.obj["status"].get("readyReplicas", 0) >= 2 for each in after_first_ready(deployments.of(child), 2))


def after_first_ready(versions, number):
    """Return the versions of a Deployment since it first had this many ready pods."""
    first = next(index for index, each in enumerate(versions) if each.obj["status"].get("readyReplicas", 0) >= number)
    return versions[first:]


def test_kubectl_scale(apply, wait_ready, workspace, kubectl):
    apply("shop")
    wait_ready("shop")
    first = uids(workspace)
    kubectl("-n", workspace.namespace, "scale", "mdep", "shop", "--replicas=2")
    status = wait_ready("shop")
    wait_until("two pods", lambda: ready_pods(workspace, "shop", 2))
    assert first < uids(workspace)
    wait_until("the status to tell", lambda: workspace.status("shop")["replicas"] == 2)
    wait_ready("shop")
    selected = kubectl("-n", workspace.namespace, "get", "pods", "-l", status["selector"], "-o", "name").split()
    assert len(selected) == 2

    kubectl("-n", workspace.namespace, "scale", "mdep", "shop", "--current-replicas=2", "--replicas=0")
    wait_until("no pods", lambda: not workspace.pods("shop"))
    kubectl("-n", workspace.namespace, "scale", "mdep", "shop", "--replicas=1")
    wait_ready("shop")


def test_version_that_appears_at_zero_passes_its_steps(apply, wait_ready, workspace, kubectl):
    rollout = {"steps": [{"weight": 10, "pause": {}}], "scaleDownDelay": "3s"}
    apply("shop", rollout=rollout, scaling={"replicas": 1}, resources=SMALL)
    wait_ready("shop")
    first = workspace.stable("shop")
    kubectl("-n", workspace.namespace, "scale", "mdep", "shop", "--replicas=0")
    wait_until("no pods", lambda: not workspace.all_pods("shop"))
    apply("shop", model=2, rollout=rollout, scaling={"replicas": 0}, resources=SMALL)
    wait_until("version 2 to wait", lambda: rollouts.state(workspace).get("reason") == "ScaledToZero")
    workspace.wait_condition("shop", "Ready", "True", "ScaledToZero")
    assert workspace.stable("shop") == first
    kubectl("-n", workspace.namespace, "scale", "mdep", "shop", "--replicas=1")
    rollouts.wait_at(workspace, 0, "Paused")
    assert workspace.stable("shop") == first
    weights = {revision["model"]: revision["weight"] for revision in workspace.status("shop")["revisions"]}
    assert sorted(weights.values()) == [10, 90], weights


def test_takeover_under_autoscaler_starts_at_the_size_of_the_predecessor(kube, workspace, load, deployments):
    apply, wait_ready = workspace.apply, workspace.wait_ready
    apply("shop", scaling={"replicas": 3}, resources=SMALL)
    wait_ready("shop")
    wait_until("three pods", lambda: ready_pods(workspace, "shop", 3))
    first = workspace.stable("shop")
    ranged = {"min": 1, "max": 4}  # the autoscaler waits five minutes before it removes pods
    apply("shop", scaling=ranged, resources=SMALL)
    wait_until("the autoscaler to have looked", lambda: workspace.list("hpa") and looked(workspace), 60, every=0.3)
    wait_ready("shop")

    with Watch(kube, "httproute", workspace.namespace) as routes, load("shop", rate=10) as steady:
        apply("shop", model=2, scaling=ranged, resources=SMALL)
        wait_ready("shop")
        second = workspace.stable("shop")
        assert second != first
        workspace.wait_only("shop", second)
    steady.check(1, 2)

    sizes = deployments.replicas(f"shop-{second}")
    assert sizes[0] == 3, sizes
    assert min(sizes) == 3, sizes
    moved = next(each for each in routes.of("shop") if backends(each.obj) == {f"shop-{second}"})
    ready = next(each for each in deployments.of(f"shop-{second}") if each.obj["status"].get("readyReplicas") == 3)
    assert ready.version < moved.version


def backends(route):
    return {ref["name"] for ref in route["spec"]["rules"][0]["backendRefs"] if ref["weight"]}
