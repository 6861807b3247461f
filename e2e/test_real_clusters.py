"""What real clusters do to a rollout: no node yet, refused writes, and a node that restarts.

Whatever happens, the version that serves keeps every request, and the status says what the rollout waits for.
"""

import contextlib
import os
import signal

import pytest

from e2e.support import nodes, rollouts
from e2e.support.kube import wait_until
from e2e.support.operator import processes
from e2e.support.rollouts import FIRST, GOOD, uri

ADMISSION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@pytest.fixture
def shop(workspace):
    """Serve version 1."""
    workspace.apply("shop", model=1)
    workspace.wait_ready("shop")
    return workspace


def waits(space, reason):
    """Wait until the change waits for `reason`, and return the message.

    The version that serves is available, and nothing is Stalled, because no user has to act yet.
    """
    message = space.wait_condition("shop", "Ready", "False", reason)["message"]
    assert space.condition("shop", "Available")["status"] == "True"
    assert space.condition("shop", "Reconciling")["status"] == "True"
    assert space.condition("shop", "Stalled")["status"] == "False"
    print(f"{reason}: {message}")
    return message


def test_waiting_for_a_node_is_reconciling(shop, kube, load):
    """Ask for a node that the cluster autoscaler adds only later."""
    node = kube.call("GET", nodes.NODES)["items"][0]["metadata"]["name"]
    template = {"spec": {"nodeSelector": {"pool": "from-zero"}}}
    with load("shop") as steady:
        shop.apply("shop", model=2, podTemplate=template)
        waits(shop, "Unschedulable")
        try:
            nodes.label(kube, node, {"pool": "from-zero"})
            shop.wait_changed("shop", steady, 2)
        finally:
            nodes.label(kube, node, {"pool": None})
    steady.check(1, 2)


@contextlib.contextmanager
def dead_webhook(space):
    """Register a webhook on the namespace's Deployments whose server does not exist."""
    webhook = {
        "name": "dead.ops.example",
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 2,
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"namespace": space.namespace, "name": "nowhere", "path": "/"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.namespace}},
        "rules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}
        ],
    }
    space.kube.call("POST", ADMISSION, {"metadata": {"name": space.namespace}, "webhooks": [webhook]})
    try:
        yield
    finally:
        space.kube.call("DELETE", f"{ADMISSION}/{space.namespace}")


@pytest.mark.usefixtures("odd_versions")
def test_refused_writes_are_named_and_lose_no_request(shop, kubectl, load):
    """Meet a dead admission webhook, and a full quota of Deployments that a lower historyLimit makes room in."""
    with load("shop") as steady:
        with dead_webhook(shop):
            shop.apply("shop", model=2)
            assert "dead.ops.example" in waits(shop, "ApplyRefused")
        shop.wait_changed("shop", steady, 2)
        kubectl("-n", shop.namespace, "create", "quota", "deployments", "--hard=count/deployments.apps=2")
        shop.apply("shop", model=uri(FIRST))
        assert "exceeded quota: deployments" in waits(shop, "ApplyRefused")
        shop.apply("shop", model=uri(FIRST), rollout={"scaleDownDelay": "3s", "historyLimit": 0})
        shop.wait_changed("shop", steady, FIRST)
    steady.check(1, 2, 1)


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("odd_versions")
def test_node_that_restarts_is_not_held_against_the_version(cluster, shop, load, sluicegate):
    """Stop kubelet and containerd in the middle of a step, kill the candidate's processes, and start both again."""
    steps = [{"weight": 0, "pause": {}}, {"weight": 50, "hold": "3s"}]
    rollout = {"steps": steps, "scaleDownDelay": "3s"}
    with load("shop") as steady:
        shop.apply("shop", model=uri(GOOD), rollout=rollout)
        candidate = rollouts.wait_at(shop, 0, "Paused")["candidate"]
        [pod] = shop.pods("shop", candidate)
        with node_down(cluster):
            kill(pod)
        wait_until("the container to have restarted", lambda: restarts(shop, candidate) > 0, 90)
        rollouts.wait_at(shop, 0, "Paused")
        assert sluicegate("promote", "shop")[0] == 0
        shop.wait_changed("shop", steady, GOOD)
        assert shop.stable("shop") == candidate
    steady.check()


@contextlib.contextmanager
def node_down(cluster):
    """Stop kubelet and containerd. Containers continue to run, as containerd's shims hold them."""
    try:
        cluster.kill("kubelet")
        cluster.kill("containerd")
        yield
    finally:
        cluster.start("containerd")
        cluster.start("kubelet")


def kill(pod):
    """Kill the pod's processes and their shim, as a reboot does."""
    pids = processes(pod["metadata"]["uid"])
    shims = {parent(pid) for pid in pids} - set(pids)
    for pid in [*shims, *pids]:
        os.kill(pid, signal.SIGKILL)


def parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def restarts(space, revision):
    return sum(
        status["restartCount"]
        for pod in space.pods("shop", revision)
        for status in pod["status"].get("containerStatuses", ())
    )
