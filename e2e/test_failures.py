"""Each way to fail is named, with its reason and what to do, within seconds. All are applied at once, then looked at."""

import secrets

import pytest

from e2e.support.kube import wait_until
from e2e.support.workspace import Workspace

MODEL = "models:/recommendation-engine"
MISSING = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "nowhere", "key": "key"}}}]
CRASH = "import sys; sys.exit('no licence, password=hunter2')"
COMMAND = [{"name": "model", "command": ["python3", "-c", CRASH]}]
# name: (spec, reason, what the sentence says)
CASES = {
    "image-tag": ({"runtime": {"image": "localhost/sluicegate-scorer:nope"}}, "ImagePullFailed", ["scorer:nope"]),
    "crash": ({"podTemplate": {"spec": {"containers": COMMAND}}}, "CrashLoopBackOff", ["no licence", "***"]),
    "oom": ({"resources": {"limits": {"memory": "64Mi"}}}, "OOMKilled", ["64Mi", "spec.resources.limits.memory"]),
    "huge": ({"resources": {"requests": {"cpu": "500"}}}, "Unschedulable", ["Insufficient cpu"]),
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
    "canary": ({"canary": {"weight": 10, "model": {"uri": f"{MODEL}/2"}}}, "Unsupported", ["spec.canary"]),
    "overlay": ({"podTemplate": {"spec": {"nonsense": 1}}}, "InvalidPodTemplate", ["nonsense"]),
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
    found = space.wait_condition(name, "Ready", "False", reason, timeout=45)
    print(f"{name}: {found['reason']}: {found['message']}")
    assert [each for each in words if each not in found["message"]] == []
    assert "hunter2" not in str(space.status(name))
    stalled = "False" if reason == "RegistryUnreachable" else "True"
    wait_until("Stalled", lambda: space.condition(name, "Stalled")["status"] == stalled, 10)
