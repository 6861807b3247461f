"""Pods stop and start under load for reasons of their own.

No request is lost.
"""

import concurrent.futures
import secrets
import time

import pytest

from e2e.support.kube import Kube, Refused, wait_until
from e2e.support.load import predict

PODS = 2
LONG_REQUEST = 45
"""Seconds, below the default of spec.traffic.timeout and above any fixed grace period of a server."""


@pytest.fixture
def slow(apply, registry):
    """Start a model that takes 45 seconds to respond, with two pods, and do not wait for it."""
    name = f"slow-{secrets.token_hex(3)}"
    version = registry.train(f"--slow={LONG_REQUEST}", model=name)
    apply("slow", model=f"models:/{name}/{version}", scaling={"replicas": PODS})


@pytest.fixture
def shop(apply, wait_ready, workspace):
    """Serve version 1 with two pods."""
    apply("shop", model=1, scaling={"replicas": PODS})
    wait_ready("shop")
    wait_until("both pods", lambda: len(ready(workspace)) == PODS)
    return workspace


def ready(space, name="shop"):
    """Return the names of the pods that serve and are not being deleted, by UID."""
    found = {}
    for pod in space.pods(name):
        conditions = {one["type"]: one["status"] for one in pod["status"].get("conditions", ())}
        if conditions.get("Ready") == "True":
            found[pod["metadata"]["uid"]] = pod["metadata"]["name"]
    return found


def replaced(space, old):
    return lambda: len(ready(space)) == PODS and not old & set(ready(space))


def test_deleted_pods_finish_what_they_have(slow, kubectl, shop, load):
    """Delete each pod in turn, and scale down pods in the middle of a long request.

    The kubelet waits for the preStop hook, then the server drains.
    """
    with load("shop") as steady:
        wait_until("some answers", lambda: steady.total > 100)
        for uid, name in ready(shop).items():
            kubectl("-n", shop.namespace, "delete", "pod", name, "--wait=false")
            wait_until("another pod in its place", replaced(shop, {uid}), 120)
    steady.check(1)

    wait_until("both slow pods", lambda: len(ready(shop, "slow")) == PODS, 180)
    addresses = [f"http://{pod['status']['podIP']}:8080" for pod in shop.pods("slow")]
    with concurrent.futures.ThreadPoolExecutor(PODS) as clients:
        answers = [clients.submit(predict, address, LONG_REQUEST + 30) for address in addresses]
        time.sleep(2)
        shop.kube.merge("mdep", "slow", shop.namespace, {"spec": {"scaling": {"replicas": 1}}})
        wait_until("one slow pod to stop", lambda: len(shop.pods("slow")) == 1)
        assert [answer.result() for answer in answers] == [1] * PODS


def test_evictions_wait_for_another_pod(cluster, shop, load):
    """Evict each pod, as `kubectl drain` does.

    The PodDisruptionBudget allows one at a time.
    """
    old = ready(shop)
    impatient = Kube(cluster.kubeconfig, patience=0)
    refused = []

    def evict(name):
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": shop.namespace},
        }
        try:
            impatient.call("POST", impatient.path("pod", shop.namespace, name) + "/eviction", eviction)
        except Refused as error:
            assert error.code == 429, error
            refused.append(name)
            return False
        return True

    try:
        with load("shop") as steady:
            wait_until("some answers", lambda: steady.total > 100)
            for name in old.values():
                wait_until(f"{name} to be let go", lambda name=name: evict(name), 120)
            wait_until("two other pods", replaced(shop, set(old)), 120)
    finally:
        impatient.close()
    assert refused, "both pods were let go at once"
    steady.check(1)


def test_rolled_by_the_annotation_under_load(kubectl, shop, load):
    """Restart the same model in new pods.

    The annotation does what `kubectl rollout restart` does for a Deployment.
    """
    old = set(ready(shop))
    with load("shop") as steady:
        wait_until("some answers", lambda: steady.total > 100)
        kubectl("-n", shop.namespace, "annotate", "mdep", "shop", "sluicegate.dev/roll=1")
        wait_until("other pods to serve", replaced(shop, old), 180)
        shop.wait_ready("shop")
    steady.check(1)
