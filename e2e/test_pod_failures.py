"""Problems of a change that only its pods meet, after its version was resolved.

The status names each problem, while the old revision serves.
"""

import secrets
import time

import pytest

from e2e.support.load import Load
from e2e.support.registry import MODEL
from e2e.support.workspace import Workspace

URL = "http://mlflow.mlflow.svc:5000"
NO_KEY = [{"name": "LICENCE", "valueFrom": {"secretKeyRef": {"name": "half", "key": "licence"}}}]
# name: (spec of the change, reason, parts of the message)
# The fixture `made` provides {gone}, {memory} and {artifacts}.
CHANGES = {
    "gone": ({"model": "{gone}"}, "ModelFetchFailed", ["no artifacts at mlflow-artifacts:/", "were not deleted"]),
    "memory": (
        {"model": "{memory}", "resources": {"limits": {"memory": "700Mi"}}},
        "OOMKilled",
        ["Container model", "limit of 700Mi", "raise spec.resources.limits.memory"],
    ),
    "pod-secret": (
        {"model": {"uri": "{artifacts}", "inlineRegistry": {"trackingUri": URL, "secretRef": {"name": "nowhere"}}}},
        "SecretNotFound",
        ['Secret "nowhere"', "container fetch", "create it"],
    ),
    "no-key": (
        {"runtime": {"env": NO_KEY}},
        "SecretKeyNotFound",
        ["/half has no key licence", "container model", "add it"],
    ),
}
MENDED = {"pod-secret", "no-key"}


def artifacts(registry, uri):
    """Return the URI of a version's files, in the form that pods get."""
    _, name, version = uri.replace(":", "").split("/")
    artifact_uri = registry.call("GET", f"model-versions/get-download-uri?name={name}&version={version}")[
        "artifact_uri"
    ]
    if artifact_uri.startswith("models:/"):
        artifact_uri = registry.call("GET", f"logged-models/{artifact_uri.removeprefix('models:/')}")["model"]["info"][
            "artifact_uri"
        ]
    return artifact_uri


def filled(value, made):
    """Replace the placeholders of CHANGES in `value`."""
    if isinstance(value, dict):
        return {key: filled(each, made) for key, each in value.items()}
    return made.get(value, value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def made(registry, cluster):
    """Register the versions that CHANGES refers to.

    The files of one version are deleted after it is registered. Another version uses more memory than its limit.
    """
    gone = f"models:/gone/{registry.train(model='gone')}"
    folder = artifacts(registry, gone).removeprefix("mlflow-artifacts:/")
    cluster.kubectl("-n", "mlflow", "exec", "deploy/mlflow", "--", "rm", "-r", f"/data/artifacts/{folder}")
    memory = f"models:/broken-memory/{registry.train('--broken', 'memory', model='broken-memory')}"
    return {"{gone}": gone, "{memory}": memory, "{artifacts}": artifacts(registry, f"models:/{MODEL}/1")}


@pytest.fixture(scope="module")
def serving(cluster, kube, made):
    """Serve version 1 everywhere, then apply each change under load."""
    name = f"e2e-pods-{secrets.token_hex(2)}"
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        space = Workspace(cluster, kube, name)
        kube.call("POST", f"/api/v1/namespaces/{name}/secrets", {"metadata": {"name": "half"}})
        for case in CHANGES:
            space.apply(case, model=1)
        for case in CHANGES:
            space.wait_ready(case, timeout=240)
        urls = {f"{case}/{way}": url for case in CHANGES for way, url in space.urls(case).items()}
        with Load(urls, rate=1) as load:
            for case, (spec, _, _) in CHANGES.items():
                space.apply(case, **filled(spec, made))
            yield space, load, time.monotonic()
    finally:
        kube.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize("name", CHANGES)
def test_change_that_only_its_pods_can_refuse_says_why_while_the_old_revision_serves(serving, name):
    space, load, begun = serving
    _, reason, words = CHANGES[name]
    condition = space.wait_condition(name, "Ready", "False", reason, timeout=120)
    print(f"{name}, after {time.monotonic() - begun:.1f} s: {condition['reason']}: {condition['message']}")
    assert [word for word in words if word not in condition["message"]] == []
    assert space.condition(name, "Available")["status"] == "True"
    (failing,) = [revision for revision in space.status(name)["revisions"] if revision["role"] == "Candidate"]
    assert failing["reason"] == reason
    assert load.failures == []


def test_what_a_secret_lacked_is_taken_up_once_it_is_there(serving):
    space, load, _ = serving
    for name, keys in (("nowhere", {"UNUSED": "x"}), ("half", {"licence": "x"})):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": space.namespace}}
        space.kube.apply("secret", {**secret, "stringData": keys})
    for name in sorted(MENDED):
        space.wait_ready(name, timeout=200)
    load.stop()
    load.check(1)
