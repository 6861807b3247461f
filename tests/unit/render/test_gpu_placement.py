"""The effect of `spec.gpu` on scheduling."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.api.gpu import MEMORY_PATTERN, GpuSpec, Toleration
from sluicegate.config.settings import GpuSettings
from sluicegate.render.gpu import InvalidGpu, Requirement, mebibytes, placement


def tolerated(*keys: str) -> tuple[Toleration, ...]:
    return tuple(Toleration(key=key, operator="Exists", effect="NoSchedule") for key in keys)


def test_an_empty_one_is_one_nvidia_gpu() -> None:
    found = placement(GpuSpec(), {})
    assert (found.resource, found.count) == ("nvidia.com/gpu", 1)
    assert (found.requirements, found.node_selector) == ((), {})
    assert found.tolerations == tolerated("nvidia.com/gpu")


@pytest.mark.parametrize(
    ("resource", "labels", "taints"),
    [
        ("nvidia.com/gpu", "nvidia.com/gpu", ["nvidia.com/gpu"]),
        ("nvidia.com/mig-1g.5gb", "nvidia.com/mig-1g.5gb", ["nvidia.com/gpu", "nvidia.com/mig-1g.5gb"]),
        ("nvidia.com/gpu.shared", "nvidia.com/gpu", ["nvidia.com/gpu", "nvidia.com/gpu.shared"]),
        ("amd.com/gpu", "amd.com/gpu", ["amd.com/gpu"]),
    ],
)
def test_labels_and_taints_follow_the_resource(resource: str, labels: str, taints: list[str]) -> None:
    found = placement(GpuSpec(resource=resource, products=("A", "B"), min_memory="20Gi"), {})
    assert found.requirements == (
        Requirement(f"{labels}.product", "In", ("A", "B")),
        Requirement(f"{labels}.memory", "Gt", ("20479",)),
    )
    assert found.tolerations == tolerated(*taints)


def test_the_platform_may_label_and_taint_otherwise() -> None:
    taints = (Toleration(key="sku", value="gpu", effect="NoSchedule"),)
    platform = {"nvidia.com": GpuSettings(product_label="p", memory_label="example.com/m", tolerations=taints)}
    gpu = GpuSpec(resource="nvidia.com/mig-1g.5gb", products=("A",), min_memory="1Gi")
    found = placement(gpu, platform)
    assert [requirement.key for requirement in found.requirements] == ["p", "example.com/m"]
    assert found.tolerations == taints
    assert placement(GpuSpec(resource="amd.com/gpu"), platform).tolerations == tolerated("amd.com/gpu")


def test_what_the_spec_tolerates_is_all_that_is() -> None:
    platform = {"nvidia.com": GpuSettings(tolerations=tolerated("sku"))}
    assert placement(GpuSpec(tolerations=()), platform).tolerations == ()
    assert placement(GpuSpec(tolerations=tolerated("a")), platform).tolerations == tolerated("a")


@pytest.mark.parametrize(
    ("memory", "mib"),
    [
        ("20Gi", 20480),
        ("40000Mi", 40000),
        ("0.5Ti", 524288),
        ("24G", 22889),
        ("1M", 1),
        ("4.5Gi", 4608),
        ("020Gi", 20480),
    ],
)
def test_memory_is_rounded_up_to_mib(memory: str, mib: int) -> None:
    assert mebibytes(memory) == mib


@pytest.mark.parametrize("memory", [20, 0, "20", "-1Gi", "0Gi", "20Gi\n", "1e3", "500m", "many"])
def test_memory_without_a_meaning_is_refused(memory: int | str) -> None:
    with pytest.raises(InvalidGpu, match=r"spec\.gpu\.minMemory"):
        placement(GpuSpec(min_memory=memory), {})


@given(st.from_regex(MEMORY_PATTERN, fullmatch=True, alphabet=st.characters(codec="ascii")), st.integers(1, 10**14))
def test_a_node_fits_exactly_where_it_has_that_much(memory: str, label: int) -> None:
    requirement = placement(GpuSpec(min_memory=memory), {}).requirements[0]
    unit = {"M": 10**6, "G": 10**9, "T": 10**12, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}[memory.lstrip("0123456789.")]
    below = int(requirement.values[0])
    assert 0 <= below < 2**63
    assert (label > below) == (label * 2**20 >= Fraction(memory.rstrip("MGTi")) * unit)
