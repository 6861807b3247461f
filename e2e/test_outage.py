"""Pods that start during an outage of the registry serve only the pinned version.

SLUICEGATE_E2E_OUTAGE=300 makes each outage last at least five minutes.
By default an outage ends once the test has checked everything.
"""

import json
import os
import time

import pytest

from e2e.support import bucket
from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.registry import MODEL

OUTAGE = float(os.environ.get("SLUICEGATE_E2E_OUTAGE", "0"))
pytestmark = pytest.mark.timeout(900 + OUTAGE, func_only=True)
MOVE = """
import json, sys, urllib.request
name, alias = sys.argv[1:]
body = json.dumps({"name": name, "alias": alias, "version": "2"}).encode()
asked = urllib.request.Request("http://localhost:5000/api/2.0/mlflow/registered-models/alias", body, \
{"Content-Type": "application/json"})
urllib.request.urlopen(asked, timeout=20).close()
"""
"""Runs in the registry's own pod, the only pod that reaches it during an outage."""


class Outage:
    """Takes the registry off the network."""

    def __init__(self, kube, registry):
        self._kube = kube
        self._registry = registry
        self._began = 0.0

    def begin(self):
        self._select("true")
        self._began = time.monotonic()

    def end(self):
        """Reconnect the registry, once the outage has lasted long enough."""
        time.sleep(max(0.0, self._began + OUTAGE - time.monotonic()))
        self.reconnect()
        print(f"the registry was away for {time.monotonic() - self._began:.0f} s")

    def reconnect(self):
        """Reconnect the registry, and wait until it answers.

        A connection that was opened before the node has the Service's new rules is lost, however long it waits.
        """
        self._select(None)
        wait_until("the registry to answer", self._registry.answers, 60)

    def _select(self, app):
        self._kube.merge("service", "mlflow", "mlflow", {"spec": {"selector": {"unplugged": app}}})


@pytest.fixture
def outage(kube, registry):
    """Yield an outage of the registry, and reconnect the registry afterwards."""
    made = Outage(kube, registry)
    yield made
    made.reconnect()


@pytest.fixture
def model(registry, workspace):
    """Yield a function that registers versions of the test's own model.

    `model(uri, uri)` registers a version for each URI, and points the alias `live` to version 1. The function returns
    the model's name.
    """
    name = workspace.namespace

    def registered(*sources):
        registry.call("POST", "registered-models/create", {"name": name})
        for source in sources:
            registry.call("POST", "model-versions/create", {"name": name, "source": source})
        registry.set_alias("live", 1, name)
        return name

    yield registered
    registry.call("DELETE", "registered-models/delete", {"name": name})


def names(space):
    return {pod["metadata"]["name"] for pod in space.pods("shop")}


def ready(space):
    """Return the names of the ready pods."""
    return {
        pod["metadata"]["name"]
        for pod in space.pods("shop")
        if {"type": "Ready", "status": "True"}.items() <= _condition(pod).items()
    }


def _condition(pod):
    return next((condition for condition in pod["status"].get("conditions", []) if condition["type"] == "Ready"), {})


def serve(space, name, **spec):
    """Serve the version that the alias `live` points to."""
    space.apply("shop", model=f"models:/{name}@live", **spec)
    space.wait_ready("shop")


def scale(space, name, replicas, **spec):
    space.apply("shop", model=f"models:/{name}@live", scaling={"replicas": replicas}, **spec)


def told_that_it_is_away(space):
    condition = space.wait_condition("shop", "ModelResolved", "False", "RegistryUnreachable", timeout=90)
    assert "version 1, which it resolved earlier" in condition["message"]


def test_new_pods_start_from_object_storage_and_serve_the_pinned_version(workspace, kubectl, model, outage, load):
    """Add and replace pods while the alias already points to version 2.

    The pods serve version 1 until the operator reaches the registry again.
    """
    name, overlay = model(*bucket.fill(workspace, 1, 2)), {"podTemplate": bucket.POD_TEMPLATE}
    serve(workspace, name, **overlay)
    (old,) = names(workspace)
    with load("shop", rate=10) as steady:
        outage.begin()
        told_that_it_is_away(workspace)
        assert workspace.condition("shop", "Ready")["status"] == "True"
        kubectl("-n", "mlflow", "exec", "-i", "deploy/mlflow", "--", "python3", "-", name, "live", input=MOVE)
        began = time.monotonic()
        scale(workspace, name, 2, **overlay)
        wait_until("an added pod to be ready", lambda: len(ready(workspace)) == 2, 240)
        print(f"registry away: an added pod is ready after {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        workspace.kube.delete("pod", old, workspace.namespace)
        wait_until("another in its place", lambda: len(ready(workspace) - {old}) == 2, 240)
        print(f"registry away: a replaced pod is ready after {time.monotonic() - began:.1f} s")
        workspace.wait_ready("shop")
        steady.check(1, 1)
        outage.end()
        began = time.monotonic()
        wait_until("every client to be answered by version 2", lambda: steady.settled_on(2), 240)
        print(f"registry back: version 2 answers everybody after {time.monotonic() - began:.1f} s")
    steady.check(1, 2)


def test_new_pods_wait_for_artifacts_that_come_through_the_registry_and_go_on_by_themselves(
    workspace, model, outage, load
):
    """Check pods whose artifacts come through the registry.

    No pod can fetch them during the outage. Running pods continue to serve, and the status names the waiting pod.
    After the outage the pod starts without any action of a user.
    """
    name = model(f"models:/{MODEL}/1")
    serve(workspace, name)
    with load("shop", rate=10) as steady:
        outage.begin()
        told_that_it_is_away(workspace)
        scale(workspace, name, 2)
        said = workspace.wait_condition("shop", "Ready", "False", "ModelFetchFailed", timeout=90)
        print(f"registry away: {said['message']}")
        assert "http://mlflow.mlflow.svc:5000" in said["message"]
        assert workspace.condition("shop", "Available")["status"] == "True"
        (waiting,) = names(workspace) - ready(workspace)
        wait_until("it to try again", lambda: running_again(workspace, waiting), 60)
        outage.end()
        began = time.monotonic()
        wait_until("the pod to have fetched", lambda: fetched(workspace, waiting), 240)
        print(f"registry back: the pod that waited has its model after {time.monotonic() - began:.1f} s")
        workspace.wait_ready("shop")
        assert names(workspace) == ready(workspace) > {waiting}
    steady.check(1, 1)


def _fetch(space, pod):
    found = space.get("pod", pod) or {"status": {}}
    return next(
        (status for status in found["status"].get("initContainerStatuses", []) if status["name"] == "fetch"), {}
    )


def running_again(space, pod):
    """Tell whether a failed fetch is running again and waits for the registry."""
    status = _fetch(space, pod)
    return status.get("restartCount", 0) >= 1 and "running" in status.get("state", {})


def fetched(space, pod):
    ended = _fetch(space, pod).get("state", {}).get("terminated", {})
    return ended.get("exitCode") == 0 and json.loads(ended["message"])["files"] > 0


def test_a_container_that_restarts_meanwhile_serves_the_pinned_version(workspace, kubectl, model, outage):
    serve(workspace, model(f"models:/{MODEL}/1", f"models:/{MODEL}/2"))
    outage.begin()
    told_that_it_is_away(workspace)
    (pod,) = names(workspace)
    there = ("-n", workspace.namespace, "exec", pod, "-c", "model")
    kubectl(*there, "--", "python3", "-c", "import os; os.kill(1, 15)")
    wait_until("the container to be another", lambda: restarts(workspace) == 1, 60)
    wait_until("it to serve", lambda: answers(workspace), 60)
    assert workspace.status("shop")["model"]["version"] == "1"
    outage.end()


def restarts(space):
    return space.pods("shop")[0]["status"]["containerStatuses"][0]["restartCount"]


def answers(space):
    try:
        return predict(space.urls("shop")["gateway"]) == 1
    except (AssertionError, OSError):
        return False
