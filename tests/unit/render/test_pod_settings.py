"""What a platform team sets for every pod: no resource needs spec.podTemplate for it."""

from typing import Any

import pytest
from sluicegate.api.resource import decode
from sluicegate.config.settings import InvalidSettings, Settings, build
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.render.pod import InvalidSpec, pod_template

NO_USER = {"runAsUser": None, "runAsGroup": None}
OPENSHIFT = {
    "securityContext": {"runAsNonRoot": True, "fsGroup": None},
    "modelSecurityContext": NO_USER,
    "fetch": {"securityContext": NO_USER},
    "install": {"securityContext": NO_USER},
}


def settings(**pods: Any) -> Settings:
    return build([("file", {"pods": pods})])


def pod(chosen: Settings, **spec: Any) -> dict[str, Any]:
    """Return the pod template of a model that is fetched."""
    resource = decode({"metadata": {"name": "a", "namespace": "b"}, "spec": {"model": {"uri": "models:/m/1"}, **spec}})
    intent = intent_of(resource, ResolvedModel("models:/m/1", "s3://a/b"), None)
    return pod_template(resource, intent, chosen)


def users(value: Any) -> list[Any]:
    """Return every user and group in a pod, at any depth."""
    if isinstance(value, list):
        return [found for item in value for found in users(item)]
    if not isinstance(value, dict):
        return []
    own = [value[key] for key in ("runAsUser", "runAsGroup", "fsGroup") if key in value]
    return [*own, *(found for item in value.values() for found in users(item))]


@pytest.mark.parametrize(
    "runtime", [{}, {"dependencies": "Install"}, {"name": "mlserver", "image": "x"}, {"name": "custom", "image": "x"}]
)
def test_no_user_is_set_where_the_platform_chooses_it(runtime: dict[str, Any]) -> None:
    assert users(pod(settings(), runtime=runtime))
    assert users(pod(settings(**OPENSHIFT), runtime=runtime)) == []


def test_other_images_keep_their_own_user() -> None:
    (model,) = pod(settings(), runtime={"name": "mlserver", "image": "x"})["spec"]["containers"]
    assert users(model) == []


@pytest.mark.parametrize("name", ["fetch", "install"])
def test_helper_containers_have_the_resources_of_the_settings(name: str) -> None:
    resources = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}
    template = pod(settings(**{name: {"resources": resources}}), runtime={"dependencies": "Install"})
    found = {container["name"]: container["resources"] for container in template["spec"]["initContainers"]}
    assert found[name] == resources
    assert len(found) == 2


def test_autoscaler_may_evict_every_local_volume_of_the_operator() -> None:
    template = pod(settings(), runtime={"dependencies": "Install"})
    allowed = template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"]
    volumes = [volume["name"] for volume in template["spec"]["volumes"] if "emptyDir" in volume]
    assert allowed.split(",") == volumes


def test_resource_has_precedence_over_the_settings() -> None:
    chosen = settings(priorityClassName="low", nodeSelector={"zone": "a"}, annotations={"x": "1", "y": "1"})
    own = {
        "metadata": {"annotations": {"x": "2"}},
        "spec": {"priorityClassName": "high", "nodeSelector": {"zone": "b"}},
    }
    template = pod(chosen, podTemplate=own)
    assert template["spec"]["priorityClassName"] == "high"
    assert template["spec"]["nodeSelector"] == {"zone": "b"}
    assert template["metadata"]["annotations"] == {"x": "2", "y": "1"}


@pytest.mark.parametrize("field", ["labels", "annotations"])
@pytest.mark.parametrize("key", ["sluicegate.dev/revision", "app.kubernetes.io/managed-by"])
def test_keys_of_the_operator_are_refused(field: str, key: str) -> None:
    with pytest.raises(InvalidSettings, match=key):
        settings(**{field: {key: "x"}})


def test_wrong_settings_are_not_blamed_on_the_resource() -> None:
    with pytest.raises(InvalidSpec, match=r"the operator's settings do not produce a valid pod: .*runAsUsr"):
        pod(settings(securityContext={"runAsUsr": 1}), podTemplate={"spec": {"priorityClassName": "x"}})
