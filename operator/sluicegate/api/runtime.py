"""`spec.runtime` and `spec.resources`: the model server, and the resources of its container."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from sluicegate.api.fields import ApiType, DnsLabel, FreeObject, ImageName, Quantity, Rule, doc, text


class EnvVar(ApiType, frozen=True):
    """An environment variable of the scoring container."""

    RULES: ClassVar = (
        Rule("!(has(self.value) && has(self.valueFrom))", "set value or valueFrom, not both", ".valueFrom"),
    )

    name: Annotated[
        str,
        text(
            r"^[-._a-zA-Z][-._a-zA-Z0-9]*$",
            "must be the name of an environment variable: letters, digits, '_', '-' and '.', not beginning with a "
            "digit",
            253,
        ),
        doc("Name of the variable. Each name must be unique."),
    ]
    value: Annotated[
        Annotated[str, Meta(max_length=32768)] | None,
        doc(
            "Value of the variable, a string: quote numbers and booleans. At most 32768 characters. Excludes "
            "valueFrom. Default: empty."
        ),
    ] = None
    value_from: Annotated[
        FreeObject | None,
        doc(
            "Source of the value, as in a pod: secretKeyRef, configMapKeyRef, fieldRef or resourceFieldRef. "
            "Excludes value. Default: none."
        ),
    ] = None


Env = Annotated[
    tuple[EnvVar, ...],
    Meta(max_length=128, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
]


class RuntimeSpec(ApiType, frozen=True):
    """The model server."""

    name: Annotated[
        DnsLabel | None,
        doc(
            "Name of the runtime: `mlflow` (Sluicegate's scoring image), `mlserver`, `custom`, or a runtime "
            "that the platform team added. Default: mlflow."
        ),
    ] = None
    image: Annotated[
        ImageName | None,
        doc(
            "Container image, with a tag or a digest. Required for the runtime `custom`, which has no default "
            "image. Default: the runtime's image."
        ),
    ] = None
    args: Annotated[
        Annotated[tuple[Annotated[str, Meta(max_length=4096)], ...], Meta(max_length=64)] | None,
        doc("Arguments of the scoring container, at most 64. Default: the runtime's arguments."),
    ] = None
    env: Annotated[
        Env | None, doc("Environment variables to add to the scoring container, at most 128. Default: none.")
    ] = None
    dependencies: Annotated[
        Literal["Image", "Install"] | None,
        doc(
            "Where the model's Python requirements come from. `Image`: the image contains them, and the "
            "scoring image reports differences. `Install`: an init container installs exactly these "
            "requirements before the server starts. Install requires the runtime mlflow. Default: Image."
        ),
    ] = None


QuantityMap = Annotated[dict[str, Quantity], Meta(max_length=12)]
"""At most 12 entries: the API server multiplies the cost of a rule by the size of the map, and 16 are just over its
budget.
"""


class Resources(ApiType, frozen=True):
    """Compute resources of the scoring container."""

    requests: Annotated[
        QuantityMap | None,
        doc(
            "Resources that the scheduler reserves for each pod, such as cpu: 500m (half a core) and memory: "
            "1Gi. Write a fraction with the suffix m, or in quotes. Default: the limits."
        ),
    ] = None
    limits: Annotated[
        QuantityMap | None,
        doc(
            "Maximum resources that the container may use. A container that uses more memory is OOMKilled. "
            "Default: no limit."
        ),
    ] = None
