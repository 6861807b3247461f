"""The policies of a strict platform, met by the operator's settings alone: `examples/platform`.

`e2e/test_helm.py` serves a model under them.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sluicegate.cli.commands.render import render
from sluicegate.config.settings import build

from tests.golden.chart import template

PLATFORM = Path(__file__).parents[2] / "examples/platform"
REGISTRY = "settings.registries.default.trackingUri=http://mlflow.example:5000"
TEAM = {"team": "risk"}
LIMITS = {"resources": {"limits": {"cpu": "1", "memory": "10Mi"}}}
PROBES: tuple[tuple[dict[str, str], dict[str, Any], str], ...] = (
    (TEAM, {**LIMITS, "securityContext": {"runAsUser": 65532}}, "fsGroup and runAsUser are not in the range"),
    ({}, LIMITS, "label team is required"),
    (TEAM, {"resources": {"limits": {"memory": "3Gi"}}}, "maximum memory usage per Container is 2Gi"),
    (TEAM, {}, "failed quota: strict: must specify limits.cpu"),
)
"""Labels and container of a pod that each policy refuses, and what it says."""


@pytest.fixture
def strict(kubectl: Any, namespace: str) -> Iterator[str]:
    """Return a namespace with all policies in effect."""
    kubectl("-n", namespace, "create", "serviceaccount", "default", check=False)
    kubectl("label", "namespace", namespace, "policies=strict")
    kubectl("-n", namespace, "apply", "-f", PLATFORM / "policies.yaml")
    deadline = time.monotonic() + 60  # The API server applies a new policy, and a quota counts, after a few seconds.
    for labels, container, message in PROBES:
        metadata = {"name": "probe", "namespace": namespace, "labels": labels}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        pod["spec"] = {"containers": [{"name": "probe", "image": "example/probe:1", **container}]}
        while message not in refusal(kubectl, pod):
            assert time.monotonic() < deadline, f"no policy says: {message}"
            time.sleep(0.5)
    yield namespace
    kubectl("-n", namespace, "delete", "-f", PLATFORM / "policies.yaml")


def errors(kubectl: Any, namespace: str, values: tuple[object, ...], labels: dict[str, str]) -> str:
    """Return what the API server says against the children and the pods of a model with these values of the chart."""
    document = {
        "metadata": {"name": "m", "namespace": namespace, "labels": labels},
        "spec": {
            "model": {"uri": "models:/m/1"},
            "runtime": {"dependencies": "Install"},
            "scaling": {"min": 1, "max": 2},
            "resources": {"limits": {"cpu": "1", "memory": "100Mi"}},
        },
    }
    children = list(render(document, build([("test", settings(*values))]), {}))
    assert len(children) == 6
    pod_template = next(child for child in children if child["kind"] == "Deployment")["spec"]["template"]
    metadata = {**pod_template["metadata"], "name": "m", "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_template["spec"]}
    return "\n".join(filter(None, (refusal(kubectl, each) for each in (*children, pod))))


def settings(*values: object) -> dict[str, Any]:
    """Return the settings file that the chart renders."""
    manifests = template("--set", REGISTRY, *values)
    file = next(each["data"] for each in manifests if each["kind"] == "ConfigMap")
    parsed: dict[str, Any] = yaml.safe_load(next(iter(file.values())))
    return parsed


def refusal(kubectl: Any, manifest: dict[str, Any]) -> str:
    """Return what the API server says against a manifest, or an empty text."""
    result = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=manifest, check=False)
    return str(result.err) if result.code else ""


def test_settings_alone_meet_the_policies_of_a_platform(kubectl: Any, strict: str) -> None:
    values = ("--values", PLATFORM / "values.yaml")
    assert errors(kubectl, strict, values, TEAM) == ""
    assert errors(kubectl, strict, values, {}).count("label team is required") == 7
    assert errors(kubectl, strict, (), TEAM), "the default settings meet them too"
