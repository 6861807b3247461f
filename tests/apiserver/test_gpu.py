"""`spec.gpu` renders to a pod template that a real API server accepts.

The specs are at the limits of what the CRD permits.
"""

import json
from typing import Any

import pytest
from sluicegate.cli.commands.render import render
from sluicegate.cli.validation.documents import parse
from sluicegate.cli.validation.field_problems import validate
from sluicegate.config.settings import RegistrySettings, Settings

SETTINGS = Settings(registries={"default": RegistrySettings(tracking_uri="http://mlflow.example:5000")})
DOMAIN = ".".join(["a" * 49] * 4)  # With a slash and the longest name, this makes 253 characters.
LIMITS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "slices": {"count": 16, "resource": "nvidia.com/mig-1g.5gb", "products": ["NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"]},
    "longest resource": {
        "resource": f"{DOMAIN[:197]}/{'r' * 55}",
        "products": ["p" * 63],
        "minMemory": "9999999.999Ti",
    },
    "least memory": {"minMemory": "0.001M"},
    "taints": {
        "tolerations": [
            {"operator": "Exists"},
            {"key": f"example.com/{'k' * 63}", "value": "v" * 63, "effect": "PreferNoSchedule"},
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
        ]
    },
    "labels": {"nodeSelector": {f"example.com/{'k' * 63}": "v" * 63, "plain": ""}},
}


@pytest.mark.parametrize("gpu", LIMITS.values(), ids=LIMITS)
@pytest.mark.usefixtures("crd")
def test_the_limits_are_valid_pods(kubectl: Any, namespace: str, gpu: dict[str, Any]) -> None:
    document = {
        "apiVersion": "sluicegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": namespace},
        "spec": {"model": {"uri": "models:/a/1"}, "resources": {"requests": {"cpu": "1"}}, "gpu": gpu},
    }
    assert not validate(parse(json.dumps(document), "test"))
    kubectl("apply", "--dry-run=server", "-f", "-", input=document)
    rendered = render(document, SETTINGS, {"models:/a/1": "1"})
    template = next(each for each in rendered if each["kind"] == "Deployment")["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "m", "namespace": namespace},
        "spec": template["spec"],
    }
    pod["spec"] |= {"serviceAccountName": "default"}
    kubectl("-n", namespace, "create", "serviceaccount", "default", check=False)  # No controller creates it here.
    made = json.loads(kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=pod).out)
    resource, count = gpu.get("resource", "nvidia.com/gpu"), str(gpu.get("count", 1))
    resources = made["spec"]["containers"][0]["resources"]
    assert resources["limits"][resource] == resources["requests"][resource] == count


@pytest.mark.usefixtures("crd")
def test_a_label_that_no_node_can_have_is_refused(kubectl: Any, namespace: str) -> None:
    document = {
        "apiVersion": "sluicegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": namespace},
        "spec": {"model": {"uri": "models:/a/1"}, "gpu": {"nodeSelector": {"not a label": "x"}}},
    }
    assert validate(parse(json.dumps(document), "test"))
    answer = kubectl("apply", "--dry-run=server", "-f", "-", input=document, check=False)
    assert answer.code != 0
    assert "must be labels of nodes" in answer.err
