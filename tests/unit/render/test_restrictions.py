"""What the platform team's settings forbid to spec.podTemplate."""

from typing import Any, get_args

import pytest
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import decode
from sluicegate.config.settings import InvalidSettings, Settings, build
from sluicegate.config.tenant_settings import PodRestriction
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.render.pod import InvalidSpec, pod_template

ALL = list(get_args(PodRestriction))
MODEL = "initContainers[fetch]"


def settings(*names: str, **more: Any) -> Settings:
    return build([("file", {"tenants": {"podTemplateRestrictions": list(names)}, **more})])


def pod(chosen: Settings, overlay: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return the pod template of a fetched model whose podTemplate has the pod spec `overlay`."""
    spec = {"model": {"uri": "models:/m/1"}, "podTemplate": {"spec": overlay}, **spec}
    resource = decode({"metadata": {"name": "a", "namespace": "b"}, "spec": spec})
    return pod_template(resource, intent_of(resource, ResolvedModel("models:/m/1", "s3://a/b"), None), chosen)


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "model", **fields}]}


CASES = [
    ("HostNetwork", {"hostNetwork": True}, "hostNetwork"),
    ("HostPID", {"hostPID": True}, "hostPID"),
    ("HostIPC", {"hostIPC": True}, "hostIPC"),
    ("HostPath", {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, "volumes[x].hostPath"),
    (
        "HostPath",
        {"volumes": [{"name": "tmp", "emptyDir": None, "hostPath": {"path": "/"}}]},
        "volumes[tmp].hostPath",
    ),
    ("HostPort", container(ports=[{"containerPort": 1, "hostPort": 2}]), "containers[model].ports[1].hostPort"),
    ("Privileged", container(securityContext={"privileged": True}), "containers[model].securityContext.privileged"),
    (
        "Privileged",
        {"initContainers": [{"name": "x", "image": "x", "securityContext": {"privileged": True}}]},
        "initContainers[x].securityContext.privileged",
    ),
    (
        "Privileged",
        {"securityContext": {"windowsOptions": {"hostProcess": True}}},
        "securityContext.windowsOptions.hostProcess",
    ),
    (
        "Capabilities",
        container(securityContext={"capabilities": {"add": ["SYS_ADMIN"]}}),
        "containers[model].securityContext.capabilities.add",
    ),
    ("ServiceAccountName", {"serviceAccountName": "admin"}, "serviceAccountName"),
    ("ServiceAccountName", {"serviceAccount": "admin"}, "serviceAccount"),
    ("HelperContainers", {"initContainers": [{"name": "fetch", "image": "x"}]}, MODEL),
    ("HelperContainers", {"initContainers": [{"name": "fetch", "$patch": "delete"}]}, MODEL),
    ("HelperContainers", {"initContainers": None}, MODEL),
    ("HelperContainers", {"initContainers": {"$patch": "delete"}}, MODEL),
    ("HelperContainers", {"initContainers": [{"name": "x", "image": "x"}, {"name": "x", "image": "x"}]}, MODEL),
]


@pytest.mark.parametrize(("name", "overlay", "path"), CASES)
def test_refuses_a_restricted_field_with_its_path(name: str, overlay: dict[str, Any], path: str) -> None:
    for chosen in (settings(name), settings(*ALL)):
        with pytest.raises(InvalidSpec) as caught:
            pod(chosen, overlay)
        assert caught.value.problem.reason == Reason.INVALID_POD_TEMPLATE
        assert f"spec.podTemplate.spec.{path} " in caught.value.problem.message
        assert "tenants.podTemplateRestrictions" in caught.value.problem.message


@pytest.mark.parametrize(("name", "overlay", "path"), CASES)
def test_allows_what_is_not_restricted(name: str, overlay: dict[str, Any], path: str) -> None:
    pod(settings(), overlay)
    pod(settings(*(other for other in ALL if other != name)), overlay)


@pytest.mark.parametrize(
    "overlay",
    [
        {},
        {"hostNetwork": False, "hostPID": None},
        {"volumes": [{"name": "x", "emptyDir": {}}]},
        container(securityContext={"privileged": False, "capabilities": {"drop": ["ALL"]}}),
        container(ports=[{"containerPort": 1}]),
        {"initContainers": [{"name": "x", "image": "x"}]},
        {"initContainers": [{"name": "fetch"}]},
        {"nodeSelector": {"pool": "models"}},
    ],
)
def test_allows_other_fields_with_all_restrictions(overlay: dict[str, Any]) -> None:
    pod(settings(*ALL), overlay)


def test_allows_what_the_platform_itself_sets() -> None:
    context = {"privileged": True, "capabilities": {"add": ["NET_ADMIN"]}}
    chosen = settings(*ALL, pods={"modelSecurityContext": context})
    (model,) = pod(chosen, container(resources={"limits": {"memory": "1Gi"}}))["spec"]["containers"]
    assert model["securityContext"]["privileged"]


def test_unknown_restriction_is_an_error() -> None:
    with pytest.raises(InvalidSettings, match="podTemplateRestrictions"):
        settings("Everything")
