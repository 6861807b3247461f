"""Faults that must not affect requests.

The operator dies, the API server is unavailable, and other users change the children.
"""

import signal

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.watch import Watch


@pytest.fixture
def shop(apply, wait_ready, workspace):
    """Serve version 1."""
    apply("shop", model=1)
    wait_ready("shop")
    return workspace


def deployments(space):
    return {deployment["metadata"]["name"]: deployment["spec"]["replicas"] for deployment in space.list("deployment")}


def weights(space):
    route = space.get("httproute", "shop")
    return {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]} if route else {}


def kill_operator(operator):
    operator.kill(operator.wait_leading())


def test_operator_killed_in_the_middle_of_a_change_loses_no_request(shop, load, operator):
    """Kill the operator twice during a change.

    The first time is while the new pods start. The second time is on the way back, when the traffic has just moved.
    """
    first = shop.stable("shop")
    with load("shop") as steady:
        shop.apply("shop", model=2)
        wait_until("the new revision's pods", lambda: len(deployments(shop)) == 2, every=0.02)
        kill_operator(operator)
        shop.wait_changed("shop", steady, 2)
        shop.apply("shop", model=1)
        wait_until("the route to move", lambda: weights(shop) == {f"shop-{first}": 100}, every=0.02)
        kill_operator(operator)
        shop.wait_changed("shop", steady, 1)
        assert shop.stable("shop") == first
    steady.check(1, 2, 1)


def test_api_server_restarted_in_the_middle_of_a_change_loses_no_request(cluster, shop, load):
    first = shop.stable("shop")
    with load("shop") as steady:
        shop.apply("shop", model=2)
        wait_until("the new revision's pods", lambda: len(deployments(shop)) == 2, every=0.02)
        cluster.restart("kube-apiserver")
        shop.wait_changed("shop", steady, 2)
        shop.apply("shop", model=1)
        wait_until("the route to move", lambda: weights(shop) == {f"shop-{first}": 100}, every=0.02)
        cluster.kill("kube-apiserver")
        wait_until("answers while no API server is there", answers_more(steady, 200), 60)
        cluster.restart("kube-apiserver")
        shop.wait_changed("shop", steady, 1)
    steady.check(1, 2, 1)


def answers_more(steady, number):
    enough = steady.total + number
    return lambda: steady.total >= enough


def test_what_others_change_in_our_fields_is_put_back(shop, kubectl, kube):
    revision = shop.stable("shop")
    child = f"shop-{revision}"
    pods = {pod["metadata"]["uid"] for pod in shop.pods("shop")}

    kubectl("-n", shop.namespace, "scale", "deployment", child, "--replicas=3")
    wait_until("the number of pods to be put back", lambda: shop.get("deployment", child)["spec"]["replicas"] == 1)
    kubectl("-n", shop.namespace, "set", "image", f"deployment/{child}", "model=localhost/foreign:1")
    image = "localhost/sluicegate-scorer:dev"
    wait_until("the image to be put back", lambda: container(shop.get("deployment", child))["image"] == image)
    wait_until("the first pod alone to be left", lambda: {pod["metadata"]["uid"] for pod in shop.pods("shop")} == pods)

    route = shop.get("httproute", "shop")
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = 0
    kube.merge("httproute", "shop", shop.namespace, {"spec": {"rules": route["spec"]["rules"]}})
    wait_until("the weight to be put back", lambda: weights(shop) == {child: 100})
    kube.merge("service", "shop", shop.namespace, {"spec": {"selector": {"sluicegate.dev/revision": "other"}}})
    wait_until("the selector to be put back", lambda: selector(shop) == revision)

    for kind, name in (("httproute", "shop"), ("service", "shop"), ("service", child), ("pdb", child)):
        old = shop.get(kind, name)["metadata"]["uid"]
        shop.kube.delete(kind, name, shop.namespace)
        wait_until(
            f"{kind} {name} to be made again",
            lambda k=kind, n=name, o=old: (found := shop.get(k, n)) and found["metadata"]["uid"] != o,
        )
    shop.kube.delete("deployment", child, shop.namespace)
    wait_until("the Deployment to be made again", lambda: shop.get("deployment", child))
    shop.wait_ready("shop")
    for url in shop.urls("shop").values():
        wait_until(f"{url} to answer", lambda u=url: answers(u), 60)


def answers(url):
    try:
        return predict(url) == 1
    except (OSError, AssertionError):
        return False


def container(deployment):
    return deployment["spec"]["template"]["spec"]["containers"][0]


def selector(space):
    return space.get("service", "shop")["spec"]["selector"].get("sluicegate.dev/revision")


def test_what_others_add_is_left_alone(shop, kube, kubectl):
    """Add an annotation, a label, a port, a field that no template has, and a Service with the labels of a child."""
    revision = shop.stable("shop")
    child = f"shop-{revision}"
    meta = {"annotations": {"example.com/note": "mine"}, "labels": {"example.com/team": "mine"}}
    for kind, name in (("deployment", child), ("service", "shop"), ("httproute", "shop"), ("pdb", child)):
        kube.merge(kind, name, shop.namespace, {"metadata": meta})
    kube.merge("deployment", child, shop.namespace, {"spec": {"minReadySeconds": 1}})
    port = {"name": "extra", "port": 9090, "targetPort": 9090, "protocol": "TCP"}
    target = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "namespace": shop.namespace}}
    kube.apply("service", {**target, "spec": {"ports": [port]}}, manager="somebody-else")

    with Watch(kube, "service", shop.namespace) as services, Watch(kube, "deployment", shop.namespace) as seen:
        # This makes the operator reconcile and write each of them.
        kube.merge("service", "shop", shop.namespace, {"spec": {"selector": {"sluicegate.dev/revision": "other"}}})
        wait_until("the selector to be put back", lambda: selector(shop) == revision)
        shop.apply("shop", scaling={"replicas": 2})
        shop.wait_ready("shop")
        wait_until("two pods", lambda: len(shop.pods("shop")) == 2)
    for each in services.of("shop"):
        assert {"http", "extra"} == {port["name"] for port in each.obj["spec"]["ports"]}
    for each in seen.of(child):
        assert each.obj["spec"]["minReadySeconds"] == 1
    for kind, name in (("deployment", child), ("service", "shop"), ("httproute", "shop"), ("pdb", child)):
        metadata = shop.get(kind, name)["metadata"]
        assert metadata["annotations"]["example.com/note"] == "mine", kind
        assert metadata["labels"]["example.com/team"] == "mine", kind

    kubectl("-n", shop.namespace, "expose", "deployment", child, "--name=mine", "--port=80", "--target-port=8080")
    shop.apply("shop", model=2, rollout={"scaleDownDelay": "1s", "historyLimit": 0})
    shop.wait_ready("shop")
    wait_until("the first revision to be deleted", lambda: shop.get("deployment", child) is None, 60)
    assert shop.get("service", "mine"), "kubectl expose copies the labels of the Deployment"


@pytest.fixture
def two_operators(operator):
    """Wait until a leader and a standby are ready, as the chart runs them."""
    wait_until("two operators", lambda: len(operator.ready_pods()) == 2)
    return operator


def test_standby_takes_over_from_a_leader_that_hangs(two_operators, shop):
    """Stop the leader's process without ending it.

    It wakes later and still believes that it leads. It must give up, and write nothing.
    """
    old = two_operators.wait_leading()
    two_operators.kill(old, signal.SIGSTOP)
    try:
        new = two_operators.wait_leading(other_than=two_operators.container(old))
        assert new["metadata"]["name"] != old["metadata"]["name"]
        shop.apply("shop", model=2)
        shop.wait_ready("shop")
        shop.wait_answers("shop", 2)
    finally:
        two_operators.kill(old, signal.SIGCONT)
    wait_until("the old leader to end", lambda: ended(two_operators, old))
    assert two_operators.wait_leading()["metadata"]["name"] == new["metadata"]["name"]
    assert predict(shop.urls("shop")["gateway"]) == 2


def ended(operator, pod):
    """Tell whether the pod is gone or runs a different process."""
    now = [each for each in operator.pods() if each["metadata"]["name"] == pod["metadata"]["name"]]
    return not now or operator.container(now[0]) not in ("", operator.container(pod))


def test_deleted_leader_hands_over(two_operators, shop, kubectl):
    old = two_operators.wait_leading()
    for pod in two_operators.ready_pods():
        leads = pod["metadata"]["name"] == old["metadata"]["name"]
        assert f"sluicegate_leading {1.0 if leads else 0.0}" in two_operators.metrics(pod)
    kubectl("-n", "sluicegate-system", "delete", "pod", old["metadata"]["name"], "--wait=false")
    new = two_operators.wait_leading(other_than=two_operators.container(old))
    assert new["metadata"]["name"] != old["metadata"]["name"]
    shop.apply("shop", model=2)
    shop.wait_ready("shop")
