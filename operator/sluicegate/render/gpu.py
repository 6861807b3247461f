"""Scheduling of pods with accelerators, from `spec.gpu`.

The defaults are those of NVIDIA's gpu-feature-discovery. It labels a node with RESOURCE.product and RESOURCE.memory for
each resource RESOURCE (nvidia.com/gpu, or nvidia.com/mig-1g.5gb with the MIG strategy `mixed`). Its README calls the
unit of memory "Mb". Its code divides the driver's bytes by 1024 * 1024, so the unit is MiB. Sources:
https://github.com/NVIDIA/k8s-device-plugin/tree/main/docs/gpu-feature-discovery, internal/lm/resource.go,
internal/resource/nvml-device.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from sluicegate.api.gpu import DEFAULT_RESOURCE, MEMORY_PATTERN, GpuSpec, Toleration
from sluicegate.config.settings import GpuSettings

_UNITS = {"M": 10**6, "G": 10**9, "T": 10**12, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_MEBIBYTE = 2**20
_NVIDIA = "nvidia.com/"
_SHARED = ".shared"
"""Suffix that time-slicing appends to a resource's name if it is set to rename the resource. The labels keep the name
without the suffix."""


class InvalidGpu(ValueError):
    """`spec.gpu` is not valid. The message names the field.

    The CRD already rejects such a spec, unless the CRD is an older one.
    """


@dataclass(frozen=True, slots=True)
class Requirement:
    """A requirement on a node's label, as a term of node affinity."""

    key: str
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    """What `spec.gpu` requires from the container and from the node."""

    resource: str
    count: int
    requirements: tuple[Requirement, ...]
    """Requirements that must all be met."""
    node_selector: Mapping[str, str]
    tolerations: tuple[Toleration, ...]


def placement(gpu: GpuSpec, settings: Mapping[str, GpuSettings]) -> Placement:
    """Return the placement that `gpu` requires on this platform.

    Args:
        gpu: The spec.gpu of a resource.
        settings: GPU settings by the domain of the resource name.

    Raises:
        InvalidGpu: minMemory is not an amount of memory.
    """
    resource = gpu.resource or DEFAULT_RESOURCE
    gpu_settings = settings.get(resource.partition("/")[0], GpuSettings())
    labelled = resource.removesuffix(_SHARED)
    requirements = []
    if gpu.products is not None:
        requirements.append(Requirement(gpu_settings.product_label or f"{labelled}.product", "In", gpu.products))
    if gpu.min_memory is not None:
        below = str(mebibytes(gpu.min_memory) - 1)  # node affinity has Gt, but no "at least"
        requirements.append(Requirement(gpu_settings.memory_label or f"{labelled}.memory", "Gt", (below,)))
    tolerations = gpu.tolerations if gpu.tolerations is not None else gpu_settings.tolerations
    return Placement(
        resource=resource,
        count=gpu.count or 1,
        requirements=tuple(requirements),
        node_selector=gpu.node_selector or {},
        tolerations=tolerations if tolerations is not None else _tolerated(resource),
    )


def mebibytes(memory: int | str) -> int:
    """Return an amount of memory in whole MiB, rounded up.

    Raises:
        InvalidGpu: The amount has no unit, or is not above zero.
    """
    match = re.fullmatch(MEMORY_PATTERN, str(memory))
    if match is None:
        raise InvalidGpu(f"spec.gpu.minMemory: {memory} is not an amount of memory with a unit, such as 20Gi.")
    return math.ceil(Fraction(match[1]) * _UNITS[match[3]] / _MEBIBYTE)


def _tolerated(resource: str) -> tuple[Toleration, ...]:
    """Return tolerations for the usual taints on the nodes of `resource`.

    By convention these taints keep all other pods off the nodes. Such a taint has the resource's own name, as in the
    admission plugin ExtendedResourceToleration and on GKE's nodes. Nodes with MIG slices have the same taint as other
    NVIDIA nodes.
    """
    keys = [DEFAULT_RESOURCE] if resource.startswith(_NVIDIA) else []
    keys += [resource] if resource not in keys else []
    return tuple(Toleration(key=key, operator="Exists", effect="NoSchedule") for key in keys)
