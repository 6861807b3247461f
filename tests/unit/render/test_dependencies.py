"""`spec.runtime.dependencies` in the pod template.

The tests cover which container installs, where to, and which settings of the platform team it uses.
"""

from typing import Any

import pytest
from sluicegate.api.resource import decode
from sluicegate.config.settings import DependencySettings, InvalidSettings, Settings, build
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.render import schema
from sluicegate.render.pod import InvalidSpec, pod_template

SOURCES = ["mlflow-artifacts:/1", "pvc://models/a/1", "image:///opt/model"]


def pod(runtime: dict[str, Any], chosen: DependencySettings | None = None, source: str = SOURCES[0]) -> dict[str, Any]:
    resource = decode(
        {"metadata": {"name": "a", "namespace": "b"}, "spec": {"model": {"uri": source}, "runtime": runtime}}
    )
    settings = Settings(dependencies=chosen or DependencySettings())
    template = pod_template(resource, intent_of(resource, ResolvedModel(source, source), None), settings)
    assert schema.problems("PodTemplateSpec", template) == []
    return dict(template["spec"])


def volume(spec: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in spec["volumes"] if each["name"] == name]
    return {key: value for key, value in found.items() if key != "name"}


@pytest.mark.parametrize("source", SOURCES)
def test_the_servers_own_image_installs_before_it_starts(source: str) -> None:
    spec = pod({"image": "team/scorer:2", "dependencies": "Install"}, source=source)
    *_, install = spec["initContainers"]
    (server,) = spec["containers"]
    assert (install["name"], install["image"]) == ("install", server["image"])
    path = "/opt/model" if source.startswith("image:") else "/mnt/model"
    assert install["args"] == ["install", path, "/mnt/environments", "--link", "/tmp/environment", "--timeout", "300"]
    assert {"name": "SLUICEGATE_ENVIRONMENT", "value": "/tmp/environment"} in server["env"]
    assert volume(spec, "environments") == {"emptyDir": {"sizeLimit": "20Gi"}}
    mounts = {mount["name"]: mount for mount in install["volumeMounts"]}
    assert mounts["tmp"] in server["volumeMounts"], "the link is in what both share"
    assert {**mounts["environments"], "readOnly": True} in server["volumeMounts"]
    assert [mounts.get("model")] == [
        mount for mount in server["volumeMounts"] if mount["name"] == "model"
    ] or path != "/mnt/model"
    for each in (install, server):
        safe = each["securityContext"]
        assert (safe["runAsUser"], safe["readOnlyRootFilesystem"], safe["allowPrivilegeEscalation"]) == (
            65532,
            True,
            False,
        )
        assert safe["capabilities"] == {"drop": ["ALL"]}


def test_index_proxy_secret_cache_and_limits_are_the_platforms() -> None:
    chosen = DependencySettings(
        index_url="https://pypi.example/simple",
        extra_index_urls=("https://a.example", "https://b.example"),
        pod_secret="index",
        env={"HTTPS_PROXY": "http://proxy:3128"},
        cache_claim="environments",
        timeout=900,
        check="refuse",
    )
    spec = pod({"dependencies": "Install"}, chosen)
    install = spec["initContainers"][-1]
    assert {each["name"]: each["value"] for each in install["env"]} == {
        "UV_DEFAULT_INDEX": "https://pypi.example/simple",
        "UV_INDEX": "https://a.example https://b.example",
        "HTTPS_PROXY": "http://proxy:3128",
    }
    assert install["envFrom"] == [{"secretRef": {"name": "index"}}]
    assert install["args"][-1] == "900"
    assert volume(spec, "environments") == {"persistentVolumeClaim": {"claimName": "environments"}}
    (server,) = spec["containers"]
    assert {"name": "SLUICEGATE_DEPENDENCIES", "value": "refuse"} in server["env"]
    assert "envFrom" not in server


@pytest.mark.parametrize("runtime", [{}, {"dependencies": "Image"}])
def test_without_it_nothing_is_installed(runtime: dict[str, Any]) -> None:
    spec = pod(runtime)
    assert [container["name"] for container in spec["initContainers"]] == ["fetch"]
    assert {each["name"] for each in spec["volumes"]} == {"tmp", "model"}
    known = {each["name"] for each in spec["containers"][0]["env"]}
    assert not known & {"SLUICEGATE_ENVIRONMENT", "SLUICEGATE_DEPENDENCIES"}


@pytest.mark.parametrize("name", ["mlserver", "custom"])
def test_other_runtimes_refuse_it_by_name(name: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        pod({"name": name, "image": "x:1", "dependencies": "Install"})
    assert refused.value.problem.reason == "InvalidRuntime"
    assert f'install the packages into the image of the runtime "{name}"' in refused.value.problem.message


@pytest.mark.parametrize(
    "wrong", [{"indexUrl": "https://me:secret@pypi.example"}, {"check": "perhaps"}, {"timeout": 0}, {"indexURL": "x"}]
)
def test_wrong_settings_end_the_operator_at_its_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=r"dependencies|indexURL"):
        build([("file", {"dependencies": wrong})])
