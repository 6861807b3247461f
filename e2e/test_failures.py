"""Each kind of failure is reported within seconds, with its reason and a fix.

The tests apply all cases at once, and then check each.
"""

import secrets

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import predict
from e2e.support.workspace import Workspace

MODEL = "models:/recommendation-engine"
MISSING = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "key"}}}]
CRASH = "import sys; sys.exit('no licence, password=hunter2')"
COMMAND = [{"name": "model", "command": ["python3", "-c", CRASH]}]
# name: (spec, reason, parts of the message)
CASES = {
    "image-tag": ({"runtime": {"image": "localhost/sluicegate-scorer:nope"}}, "ImagePullFailed", ["scorer:nope"]),
    "crash": ({"podTemplate": {"spec": {"containers": COMMAND}}}, "CrashLoopBackOff", ["no licence", "***"]),
    "oom": ({"resources": {"limits": {"memory": "64Mi"}}}, "OOMKilled", ["64Mi", "spec.resources.limits.memory"]),
    "huge": ({"resources": {"requests": {"cpu": "500"}}}, "Unschedulable", ["Insufficient cpu", "add a node"]),
    "no-model": ({"model": "models:/nobody/1"}, "ModelNotFound", ["nobody", "spec.model.uri"]),
    "no-version": ({"model": f"{MODEL}/999"}, "VersionNotFound", ["999", "newest"]),
    "no-alias": ({"model": f"{MODEL}@nobody"}, "AliasNotFound", ["set_registered_model_alias"]),
    "no-stage": ({"model": f"{MODEL}/Archived"}, "StageEmpty", ["Archived"]),
    "no-run": ({"model": f"runs:/{'0' * 32}/model"}, "RunNotFound", ["0" * 32]),
    "closed": (
        {"model": {"uri": f"{MODEL}/1", "inlineRegistry": {"trackingUri": "http://127.0.0.1:9"}}},
        "RegistryUnreachable",
        ["127.0.0.1:9"],
    ),
    "no-secret": ({"runtime": {"env": MISSING}}, "SecretNotFound", ['"nowhere"', "create it"]),
    "no-claim": ({"model": "pvc://nowhere/model"}, "VolumeNotFound", ['"nowhere"', "create it"]),
    "no-gateway": (
        {"traffic": {"gateway": {"parentRefs": [{"name": "nowhere"}]}}},
        "GatewayNotFound",
        ["nowhere", "create it"],
    ),
    "install": (
        {"runtime": {"name": "custom", "image": "any:1", "dependencies": "Install"}},
        "InvalidRuntime",
        ["spec.runtime.dependencies", "custom"],
    ),
    "overlay": ({"podTemplate": {"spec": {"nonsense": 1}}}, "InvalidPodTemplate", ["nonsense", "Correct or remove"]),
}


@pytest.fixture(scope="module")
def space(cluster, kube):
    name = f"e2e-failures-{secrets.token_hex(2)}"
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        space = Workspace(cluster, kube, name)
        for case, (spec, _, _) in CASES.items():
            space.apply(case, **spec)
        yield space
    finally:
        kube.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize("name", CASES)
def test_first_revision_that_fails_says_why(space, name):
    _, reason, words = CASES[name]
    condition = space.wait_condition(name, "Ready", "False", reason, timeout=45)
    print(f"{name}: {condition['reason']}: {condition['message']}")
    assert [word for word in words if word not in condition["message"]] == []
    assert "hunter2" not in str(space.status(name))
    if reason == "ImagePullFailed":  # It depends on the code that the container runtime reports.
        return
    stalled = "False" if reason in ("RegistryUnreachable", "Unschedulable", "VolumeNotFound") else "True"
    wait_until("Stalled", lambda: space.condition(name, "Stalled")["status"] == stalled, 10)


# Problems with a change to a resource that serves.
# name: (spec of the change, reason)
CHANGES = {
    "then-image": ({"runtime": {"image": "localhost/sluicegate-scorer:nope"}}, "ImagePullFailed"),
    "then-crash": ({"podTemplate": {"spec": {"containers": COMMAND}}}, "CrashLoopBackOff"),
    "then-huge": ({"resources": {"requests": {"cpu": "500"}}}, "Unschedulable"),
    "then-no-alias": ({"model": f"{MODEL}@nobody"}, "AliasNotFound"),
    "then-no-secret": ({"runtime": {"env": MISSING}}, "SecretNotFound"),
}
RESOLVED = {"then-no-alias"}
"""Changes that fail before their revision exists."""


@pytest.fixture(scope="module")
def serving(cluster, kube):
    name = f"e2e-changes-{secrets.token_hex(2)}"
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        space = Workspace(cluster, kube, name)
        for case in CHANGES:
            space.apply(case, model=1)
        first = {}
        for case in CHANGES:
            space.wait_ready(case, timeout=180)
            first[case] = space.stable(case)
        for case, (spec, _) in CHANGES.items():
            space.apply(case, **spec)
        yield space, first
    finally:
        kube.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize("name", CHANGES)
def test_change_that_fails_says_why_while_the_old_revision_serves(serving, name):
    space, first = serving
    _, reason = CHANGES[name]
    space.wait_condition(name, "Ready", "False", reason, timeout=60)
    status = space.status(name)
    assert space.condition(name, "Available")["status"] == "True"
    assert space.stable(name) == first[name]
    failing = {revision["reason"] for revision in status["revisions"] if revision["role"] == "Candidate"}
    assert failing == (set() if name in RESOLVED else {reason})
    for url in space.urls(name).values():
        assert predict(url) == 1


def test_it_goes_on_by_itself_once_the_cause_is_mended(serving):
    space, first = serving
    secret = {"metadata": {"name": "nowhere"}, "stringData": {"key": "value"}}
    space.kube.call("POST", f"/api/v1/namespaces/{space.namespace}/secrets", secret)
    space.wait_ready("then-no-secret", timeout=180)
    assert space.stable("then-no-secret") != first["then-no-secret"]


def test_quota_and_pod_security_are_told_in_the_api_servers_words(workspace):
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    workspace.kube.call("POST", f"/api/v1/namespaces/{workspace.namespace}/resourcequotas", quota)
    workspace.apply("crowded")
    condition = workspace.wait_condition("crowded", "Ready", "False", "QuotaExceeded", timeout=60)
    assert "pods=1" in condition["message"]
    path = f"/api/v1/namespaces/{workspace.namespace}"
    workspace.kube.call("DELETE", f"{path}/resourcequotas/none")
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    workspace.kube.call("PATCH", path, labels, "application/merge-patch+json")
    workspace.apply("plain")
    privileged = [{"name": "model", "securityContext": {"privileged": True, "allowPrivilegeEscalation": True}}]
    workspace.apply("privileged", podTemplate={"spec": {"containers": privileged}})
    condition = workspace.wait_condition("privileged", "Ready", "False", "PodRefused", timeout=60)
    assert "privileged" in condition["message"]
    workspace.wait_ready("plain", timeout=180)  # the scoring pods meet the strictest standard


def test_model_that_cannot_be_loaded_and_autoscaler_without_metrics(workspace, registry):
    broken = registry.train("--broken", "load", model="broken-load")
    workspace.apply("broken", model=f"models:/broken-load/{broken}")
    workspace.apply("blind", scaling={"min": 1, "max": 2})
    condition = workspace.wait_condition("broken", "Ready", "False", "ModelLoadFailed", timeout=120)
    assert "a_package_that_is_not_in_the_image" in condition["message"]
    condition = workspace.wait_condition("blind", "Ready", "False", "AutoscalerWithoutMetrics", timeout=120)
    assert "spec.resources.requests.cpu" in condition["message"]
    workspace.wait_condition("blind", "Available", "True")


@pytest.fixture
def neighbour(cluster, kube, namespace):
    """Yield a second namespace."""
    name = f"{namespace}-b"
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    yield Workspace(cluster, kube, name)
    kube.call("DELETE", f"/api/v1/namespaces/{name}")


def test_path_belongs_to_its_first_claimant_across_namespaces(workspace, neighbour):
    """Refuse a prefix below that of another namespace, until the other ModelDeployment is deleted."""
    prefix = f"/{workspace.namespace}/same"
    workspace.apply("older", traffic={"gateway": {"pathPrefix": prefix}})
    url = workspace.wait_ready("older", timeout=180)["url"]
    neighbour.apply("younger", model=2, traffic={"gateway": {"pathPrefix": f"{prefix}/deeper"}})
    condition = neighbour.wait_condition("younger", "Ready", "False", "RouteConflict", timeout=120)
    assert f"{workspace.namespace}/older" in condition["message"]
    assert workspace.condition("older", "Ready")["status"] == "True"
    assert predict(url) == 1
    workspace.kube.delete("mdep", "older", workspace.namespace)
    assert predict(neighbour.wait_ready("younger")["url"]) == 2
