"""`spec.gpu` in the pod template.

No spec can produce an invalid pod, and spec.podTemplate still overrides everything.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.api.gpu import KEY_PATTERN, MEMORY_PATTERN, RESOURCE_PATTERN
from sluicegate.api.resource import decode
from sluicegate.config.settings import GpuSettings, RegistrySettings, Settings
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.snapshot.revision_spec import intent_of
from sluicegate.render import schema
from sluicegate.render.pod import InvalidSpec, pod_template

MODEL = ResolvedModel("models:/a/1", "mlflow-artifacts:/1", "a", "1")
RUNTIME = "name: model\nports: [{name: http, containerPort: 8080}]\nresources: {{ resources }}\n"

LINUX = {"kubernetes.io/os": "linux"}


def pod(gpu: dict[str, Any] | None, platform: dict[str, GpuSettings] | None = None, **spec: Any) -> dict[str, Any]:
    fields = {"model": {"uri": "models:/a/1"}, **({"gpu": gpu} if gpu is not None else {}), **spec}
    resource = decode({"metadata": {"name": "a", "namespace": "b"}, "spec": fields})
    chosen = Settings(registries={"default": RegistrySettings(tracking_uri="http://m")}, gpu=platform or {})
    template = pod_template(resource, intent_of(resource, MODEL, "default"), chosen)
    assert schema.problems("PodTemplateSpec", template) == []
    return dict(template["spec"])


def expressions(spec: dict[str, Any]) -> list[dict[str, Any]]:
    required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return [expression for term in required["nodeSelectorTerms"] for expression in term["matchExpressions"]]


def ascii_of(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))


VALUE = st.sampled_from(["NVIDIA-L4", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "x"])
TOLERATION = st.fixed_dictionaries({"operator": st.just("Exists")}, optional={"key": ascii_of(KEY_PATTERN)})
GPUS = st.fixed_dictionaries(
    {},
    optional={
        "count": st.integers(1, 16),
        "resource": ascii_of(RESOURCE_PATTERN),
        "products": st.lists(VALUE, min_size=1, max_size=3),
        "minMemory": ascii_of(MEMORY_PATTERN),
        "nodeSelector": st.dictionaries(ascii_of(KEY_PATTERN), VALUE, max_size=3),
        "tolerations": st.lists(TOLERATION, max_size=3),
    },
)


@given(GPUS)
def test_every_spec_gives_a_valid_pod(gpu: dict[str, Any]) -> None:
    spec = pod(gpu, resources={"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}})
    model, fetch = spec["containers"][0], spec["initContainers"][0]
    resource = gpu.get("resource", "nvidia.com/gpu")
    assert model["resources"] == {
        "requests": {"cpu": "1"},
        "limits": {"memory": "1Gi", resource: str(gpu.get("count", 1))},
    }
    assert resource not in str(fetch), "only the scoring container has it"
    assert spec["nodeSelector"] == {**LINUX, **gpu.get("nodeSelector", {})}
    assert ("affinity" in spec) == bool({"products", "minMemory"} & set(gpu))
    for expression in expressions(spec) if "affinity" in spec else ():
        assert expression["operator"] in ("In", "Gt")
        assert len(expression["key"].rpartition("/")[2]) <= 63
        assert expression["operator"] == "In" or (len(expression["values"]) == 1 and int(expression["values"][0]) >= 0)
    if "tolerations" in gpu:
        assert spec.get("tolerations", []) == gpu["tolerations"]
    else:
        assert resource in [toleration["key"] for toleration in spec["tolerations"]]


def test_without_gpu_a_node_needs_only_linux() -> None:
    found = pod(None)
    assert not {"affinity", "tolerations"} & set(found)
    assert found["nodeSelector"] == LINUX


def test_node_selectors_merge_and_the_overlay_wins() -> None:
    found = pod({"nodeSelector": {"pool": "a", "zone": "1"}}, podTemplate={"spec": {"nodeSelector": {"zone": "2"}}})
    assert found["nodeSelector"] == {**LINUX, "pool": "a", "zone": "2"}


@pytest.mark.parametrize(
    ("more", "keys"), [([{"key": "x"}], ["nvidia.com/gpu", "x"]), (None, []), ([], ["nvidia.com/gpu"])]
)
def test_tolerations_add_up_unless_taken_away(more: Any, keys: list[str]) -> None:
    found = pod({}, podTemplate={"spec": {"tolerations": more}})
    assert [toleration["key"] for toleration in found.get("tolerations", [])] == keys


def test_one_that_is_there_already_is_not_repeated() -> None:
    same = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert pod({}, podTemplate={"spec": {"tolerations": [same]}})["tolerations"] == [same]


def test_node_affinity_of_the_overlay_takes_the_place_of_ours_and_the_rest_merges() -> None:
    term = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    gpu = {"products": ["NVIDIA-L4"]}
    found = pod(gpu, podTemplate={"spec": {"affinity": {"nodeAffinity": required}}})
    assert [expression["key"] for expression in expressions(found)] == ["a"]
    found = pod(gpu, podTemplate={"spec": {"affinity": {"podAffinity": {}}}})
    assert [expression["key"] for expression in expressions(found)] == ["nvidia.com/gpu.product"]


def test_the_overlay_may_change_the_count() -> None:
    change = [{"name": "model", "resources": {"limits": {"nvidia.com/gpu": "2"}}}]
    found = pod({}, podTemplate={"spec": {"containers": change}})
    assert found["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "2"}}


def test_the_platforms_labels() -> None:
    found = pod({"products": ["l4"]}, {"nvidia.com": GpuSettings(product_label="cloud.example/accelerator")})
    assert [expression["key"] for expression in expressions(found)] == ["cloud.example/accelerator"]


def test_what_an_older_crd_let_pass_is_refused_by_name() -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.gpu\.minMemory: 20 is not an amount of memory"):
        pod({"minMemory": 20})
