"""`spec.gpu`: how many accelerators a pod gets, and which nodes have suitable ones."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from sluicegate.api.fields import RULES, ApiType, LabelValue, Rule, doc, text

DEFAULT_RESOURCE = "nvidia.com/gpu"

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
RESOURCE_PATTERN = rf"^{_SUBDOMAIN}/[A-Za-z0-9]([-A-Za-z0-9_.]{{0,53}}[A-Za-z0-9])?$"
"""The name is short enough to append `.product`: the name part of a label has at most 63 characters."""
KEY_PATTERN = rf"^({_SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"

MEMORY_PATTERN = r"^0*([1-9][0-9]{0,6}([.][0-9]{1,3})?|0[.][0-9]{0,2}[1-9][0-9]{0,2})([MGT]i?)$"
"""At most seven digits: the scheduler compares whole numbers of MiB as 64-bit integers."""

_NOT_KUBERNETES = Rule(
    "!self.matches('kubernetes[.]io/|^requests[.]')",
    "must not be in the domain kubernetes.io or begin with requests.: Kubernetes reserves these names",
)

MemorySize = Annotated[
    int | str,
    Meta(
        extra_json_schema={
            "x-kubernetes-int-or-string": True,
            RULES: (
                Rule(
                    f"type(self) == string && self.matches('{MEMORY_PATTERN}')",
                    "must be an amount of memory above zero with its unit Mi, Gi, Ti, M, G or T, such as 20Gi",
                ),
            ),
        }
    ),
]
"""A quantity with a unit. The schema accepts a number too, so that the message of the rule says what to write."""


NodeLabels = Annotated[
    dict[str, LabelValue],
    Meta(
        max_length=32,
        extra_json_schema={
            RULES: (
                Rule(
                    f"self.all(key, size(key) <= 316 && key.matches('{KEY_PATTERN}'))",
                    "keys must be labels of nodes, such as pool or example.com/pool",
                ),
            )
        },
    ),
]

Product = Annotated[
    str,
    text(
        r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "must be a value of the node's product label, such as NVIDIA-L4: letters, digits, '-', '_' and '.'",
        63,
    ),
]


class Toleration(ApiType, frozen=True):
    """A node taint that the pods tolerate."""

    RULES: ClassVar = (
        Rule(
            "!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
            "value requires operator Equal: remove value, or use Equal",
            ".value",
        ),
        Rule(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "key is missing: it is optional only with operator Exists",
            ".key",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds requires effect NoExecute: set effect: NoExecute, or remove it",
            ".tolerationSeconds",
        ),
    )

    key: Annotated[
        Annotated[
            str,
            text(
                KEY_PATTERN,
                "must be a taint key such as nvidia.com/gpu",
                316,
            ),
        ]
        | None,
        doc("Taint key, such as nvidia.com/gpu. Default: all keys, with operator Exists."),
    ] = None
    operator: Annotated[Literal["Exists", "Equal"] | None, doc("How to compare the value. Default: Equal.")] = None
    value: Annotated[LabelValue | None, doc("Taint value, for operator Equal. Default: empty.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, doc("Taint effect to tolerate. Default: all.")
    ] = None
    toleration_seconds: Annotated[
        int | None, doc("For effect NoExecute: number of seconds that the pod stays on the node. Default: forever.")
    ] = None


class GpuSpec(ApiType, frozen=True):
    """Accelerators of each pod, and the nodes that have suitable ones."""

    count: Annotated[
        Annotated[int, Meta(ge=1, le=16)] | None, doc("Number of GPUs for each pod, from 1 to 16. Default: 1.")
    ] = None
    resource: Annotated[
        Annotated[
            str,
            text(
                RESOURCE_PATTERN,
                "must be an extended resource with its domain, such as nvidia.com/gpu or nvidia.com/mig-1g.5gb",
                253,
                (_NOT_KUBERNETES,),
            ),
        ]
        | None,
        doc(
            "Extended resource to request. It can be a MIG slice, such as nvidia.com/mig-1g.5gb. The operator "
            "adds it to the limits of the scoring container. Default: nvidia.com/gpu."
        ),
    ] = None
    products: Annotated[
        Annotated[tuple[Product, ...], Meta(min_length=1, max_length=16)] | None,
        doc(
            "Accepted values of the node label RESOURCE.product (nvidia.com/gpu.product), such as NVIDIA-L4, 1 "
            "to 16 of them. The platform team may have configured another label. Default: any."
        ),
    ] = None
    min_memory: Annotated[
        MemorySize | None,
        doc(
            "Minimum memory of one GPU, such as 20Gi. It is compared with the node label RESOURCE.memory "
            "(nvidia.com/gpu.memory), which has the memory that the driver reports. That is somewhat less than "
            "the product name says. Default: any."
        ),
    ] = None
    node_selector: Annotated[
        NodeLabels | None,
        doc("Additional labels that a node must have, at most 32, such as pool: inference. Default: none."),
    ] = None
    tolerations: Annotated[
        Annotated[tuple[Toleration, ...], Meta(max_length=16)] | None,
        doc(
            "Taints that the pods tolerate, at most 16. An empty list means none. Default: nvidia.com/gpu, "
            "Exists, NoSchedule; for another resource its own name."
        ),
    ] = None
