"""Fields that spec.podTemplate removes, through each way of applying a resource."""

import json
from typing import Any

import pytest
from sluicegate.cli.commands.render import render
from sluicegate.config.settings import Settings

DELETE = {"$patch": "delete"}


@pytest.mark.parametrize(
    ("nothing", "options", "removed"),
    [
        (None, ["--server-side"], True),
        (DELETE, ["--server-side"], True),
        (DELETE, [], True),
        (None, [], False),
    ],
    ids=["null on the server", "directive on the server", "directive by the client", "null by the client"],
)
@pytest.mark.usefixtures("crd")
def test_fields_are_removed(kubectl: Any, namespace: str, nothing: Any, options: list[str], removed: bool) -> None:
    document = {
        "apiVersion": "sluicegate.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": namespace},
        "spec": {
            "model": {"uri": "pvc://claim/m"},
            "gpu": {"count": 1},
            "podTemplate": {"spec": {"tolerations": nothing, "securityContext": {"fsGroup": nothing}}},
        },
    }
    kubectl("apply", *options, "-f", "-", input=document)
    stored = json.loads(kubectl("-n", namespace, "get", "mdep", "m", "-o", "json").out)
    pod = next(each for each in render(stored, Settings(), {}) if each["kind"] == "Deployment")["spec"]["template"]
    assert ("tolerations" in pod["spec"]) is not removed
    assert ("fsGroup" in pod["spec"]["securityContext"]) is not removed
