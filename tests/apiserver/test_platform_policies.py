"""The policies of a strict platform, met by the operator's settings alone.

The namespace has a policy like the security context constraint restricted-v2 of OpenShift, a policy that requires a
label, a LimitRange and a ResourceQuota.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sluicegate.cli.commands.render import render
from sluicegate.config.settings import build

NO_USER = {"runAsUser": None, "runAsGroup": None}
LIMITED = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
REGISTRY = {"registries": {"default": {"trackingUri": "http://mlflow.example:5000"}}}
SETTINGS = {
    **REGISTRY,
    "children": {"inheritedLabels": ["team"]},
    "pods": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "modelSecurityContext": {"allowPrivilegeEscalation": False, **NO_USER},
        "fetch": {"resources": LIMITED, "securityContext": NO_USER},
        "install": {"resources": LIMITED, "securityContext": NO_USER},
    },
}
NO_FIXED_USER = (
    "(!has(object.spec.securityContext) || !has(object.spec.securityContext.fsGroup)) && "
    "(object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : []))"
    ".all(c, !has(c.securityContext) || !has(c.securityContext.runAsUser))"
)
LABEL = "has(object.metadata.labels) && 'team' in object.metadata.labels"
POD = {"apiGroups": [""], "resources": ["pods"]}
POLICIES = {
    "user": (NO_FIXED_USER, "fsGroup and runAsUser are not in the range", [POD]),
    "label": (
        LABEL,
        "label team is required",
        [
            POD,
            {"apiGroups": ["apps"], "resources": ["deployments", "controllerrevisions"]},
            {"apiGroups": [""], "resources": ["services"]},
            {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"]},
            {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"]},
        ],
    ),
}
TEAM = {"team": "risk"}
LIMITS = {"resources": {"limits": {"cpu": "1", "memory": "10Mi"}}}
PROBES: tuple[tuple[dict[str, str], dict[str, Any], str], ...] = (
    (TEAM, {**LIMITS, "securityContext": {"runAsUser": 65532}}, POLICIES["user"][1]),
    ({}, LIMITS, POLICIES["label"][1]),
    (TEAM, {"resources": {"limits": {"memory": "1Gi"}}}, "maximum memory usage per Container is 100Mi"),
    (TEAM, {}, "failed quota: q: must specify limits.cpu"),
)
"""Labels and container of a pod that each policy refuses, and what it says."""


@pytest.fixture
def strict(kubectl: Any, namespace: str) -> Iterator[str]:
    """Return a namespace with all policies in effect."""
    api = "admissionregistration.k8s.io/v1"
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    kubectl("-n", namespace, "create", "serviceaccount", "default", check=False)
    for name, (expression, message, resources) in POLICIES.items():
        metadata = {"name": f"{namespace}-{name}"}
        rules = [{**each, "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"]} for each in resources]
        spec: dict[str, Any] = {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": expression, "message": message}],
        }
        kubectl(
            "apply",
            "-f",
            "-",
            input={"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": spec},
        )
        spec = {
            "policyName": metadata["name"],
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        }
        kubectl(
            "apply",
            "-f",
            "-",
            input={"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata, "spec": spec},
        )
    limits = {"limits": [{"type": "Container", "max": {"memory": "100Mi"}}]}
    kubectl(
        "-n",
        namespace,
        "apply",
        "-f",
        "-",
        input={"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": limits},
    )
    kubectl("-n", namespace, "create", "quota", "q", "--hard=limits.cpu=4,limits.memory=1Gi")
    deadline = time.monotonic() + 60  # The API server applies a new policy, and a quota counts, after a few seconds.
    for labels, container, message in PROBES:
        metadata = {"name": "probe", "namespace": namespace, "labels": labels}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        pod["spec"] = {"containers": [{"name": "probe", "image": "example/probe:1", **container}]}
        while message not in refusal(kubectl, pod):
            assert time.monotonic() < deadline, f"no policy says: {message}"
            time.sleep(0.5)
    yield namespace
    for name in POLICIES:
        kubectl(
            "delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", f"{namespace}-{name}", check=False
        )


def errors(kubectl: Any, namespace: str, settings: dict[str, Any], labels: dict[str, str]) -> str:
    """Return what the API server says against the children and the pods of a model with these settings."""
    document = {
        "metadata": {"name": "m", "namespace": namespace, "labels": labels},
        "spec": {
            "model": {"uri": "models:/m/1"},
            "runtime": {"dependencies": "Install"},
            "scaling": {"min": 1, "max": 2},
            "resources": {"limits": {"cpu": "1", "memory": "100Mi"}},
        },
    }
    children = list(render(document, build([("test", settings)]), {}))
    assert len(children) == 6
    template = next(child for child in children if child["kind"] == "Deployment")["spec"]["template"]
    metadata = {**template["metadata"], "name": "m", "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    return "\n".join(filter(None, (refusal(kubectl, each) for each in (*children, pod))))


def refusal(kubectl: Any, manifest: dict[str, Any]) -> str:
    """Return what the API server says against a manifest, or an empty text."""
    result = kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=manifest, check=False)
    return str(result.err) if result.code else ""


def test_settings_alone_meet_the_policies_of_a_platform(kubectl: Any, strict: str) -> None:
    assert errors(kubectl, strict, SETTINGS, TEAM) == ""
    assert errors(kubectl, strict, SETTINGS, {}).count("label team is required") == 7
    assert errors(kubectl, strict, REGISTRY, TEAM), "the default settings meet them too"
