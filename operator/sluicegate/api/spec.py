"""`spec` of a ModelDeployment: what a user can ask for.

`kubectl explain` prints every description here. Each says what the field does, its unit, its default and its limits.
The operator applies the defaults and never writes them into the object, so GitOps tools see exactly what was committed.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from sluicegate.api.fields import (
    ApiType,
    DnsLabel,
    Duration,
    FreeObject,
    HttpUrl,
    ImageName,
    ObjectName,
    Percent,
    Quantity,
    Rule,
    doc,
    text,
)
from sluicegate.api.gpu import DEFAULT_RESOURCE, GpuSpec
from sluicegate.api.rollout import RolloutSpec
from sluicegate.api.traffic import HeaderMatches, MirrorSpec, TrafficSpec

_TEXT = r"[^\x00-\x1f\x7f]"
_PART = r"[^/\x00-\x1f\x7f]"
_VERSION = "[0-9]{1,10}|(?i:latest|none|staging|production|archived)"
MODEL_URI_PATTERN = (
    rf"^(models:/(m-[A-Za-z0-9_-]+|{_PART}+/({_VERSION})|{_PART}+@[A-Za-z0-9_-]+)"
    rf"|runs:/{_PART}+/{_TEXT}+|mlflow-artifacts:/{_TEXT}+"
    rf"|(s3|gs|az)://{_PART}+/{_TEXT}+|(wasbs?|abfss?)://[a-z0-9$-]+@[A-Za-z0-9.-]+/{_TEXT}+"
    rf"|https?://[A-Za-z0-9.-]+(:[0-9]+)?/[^?#\x00-\x1f\x7f]+"
    rf"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/{_TEXT}*)?|image:///{_TEXT}+)$"
)
MODEL_URI_FORMS = (
    "models:/NAME/VERSION, models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/latest, models:/MODEL-ID, "
    "runs:/RUN-ID/PATH, "
    "mlflow-artifacts:/PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, wasbs:// or "
    "abfss://CONTAINER@ACCOUNT-HOST/PATH, "
    "https://HOST/PATH, pvc://CLAIM/PATH, or image:///PATH"
)

ModelUri = Annotated[
    str,
    text(
        MODEL_URI_PATTERN,
        f"must have one of the forms {MODEL_URI_FORMS}",
        1024,
        (Rule("!self.matches('(^|/)[.][.](/|$)')", "must not have the path segment '..': write the path without it"),),
    ),
    doc(
        "URI of the model to serve. From an MLflow registry: models:/NAME/VERSION, models:/NAME@ALIAS, "
        "models:/NAME/STAGE, models:/NAME/latest, models:/MODEL-ID or runs:/RUN-ID/PATH. From an artifact "
        "store: mlflow-artifacts:/PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, wasbs:// or "
        "abfss://CONTAINER@ACCOUNT-HOST/PATH, or https://HOST/PATH (a folder that the server lists, .zip or "
        ".tar.gz). From a volume: pvc://CLAIM/PATH. From the image in spec.runtime.image: image:///PATH."
    ),
]


class SecretRef(ApiType, frozen=True):
    """A Secret in the ModelDeployment's namespace."""

    name: Annotated[ObjectName, doc("Name of the Secret.")]


class InlineRegistry(ApiType, frozen=True):
    """An MLflow registry that only this resource uses."""

    tracking_uri: Annotated[
        HttpUrl,
        doc("URL of the MLflow tracking server, such as https://mlflow.example.com. It must not contain credentials."),
    ]
    secret_ref: Annotated[
        SecretRef | None,
        doc(
            "Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or with MLFLOW_TRACKING_TOKEN. "
            "For s3://, also with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. The pods that fetch the model "
            "use it. The operator also reads it, if the platform allows that. Default: no credentials."
        ),
    ] = None


_REGISTRY = doc(
    "Name of a registry that the platform team configured. Excludes inlineRegistry. Default: the "
    "platform's default registry, called `default`."
)
_INLINE = doc("Registry for this resource only, instead of a configured one. Excludes registry. Default: none.")
_STALENESS = doc(
    "Time for which the registry may have a newer version than the stable one before the condition Stale "
    "becomes True, such as 24h. Default: never."
)
_AGAINST = doc(
    "Which versions maxStaleness and the newer-version metric count as newer. `Alias`: another version "
    "that uri now resolves to. `Model`: any higher version of the registered model, even if uri does not "
    "resolve to it. Default: Alias."
)
_SIGNATURE = doc(
    "Allow a version to receive traffic even if its signature is not compatible with that of the stable "
    "version. Default: false."
)
_ONE_REGISTRY = Rule(
    "!(has(self.registry) && has(self.inlineRegistry))",
    "set registry (a configured registry's name) or inlineRegistry (a URL), not both",
    ".inlineRegistry",
)
RegistryName = DnsLabel


class ModelSpec(ApiType, frozen=True):
    """The model and the registry it comes from."""

    RULES: ClassVar = (_ONE_REGISTRY,)

    uri: ModelUri
    registry: Annotated[RegistryName | None, _REGISTRY] = None
    inline_registry: Annotated[InlineRegistry | None, _INLINE] = None
    max_staleness: Annotated[Duration | None, _STALENESS] = None
    stale_against: Annotated[Literal["Alias", "Model"] | None, _AGAINST] = None
    allow_signature_change: Annotated[bool, _SIGNATURE] = False


class ModelOverride(ApiType, frozen=True):
    """What a canary changes about the model. An absent field has the value of spec.model."""

    RULES: ClassVar = (_ONE_REGISTRY,)

    uri: Annotated[
        ModelUri | None,
        doc(
            "URI of the model that the canary serves, in the forms of spec.model.uri. Default: the value of "
            "spec.model.uri."
        ),
    ] = None
    registry: Annotated[
        RegistryName | None,
        doc(
            "Name of a registry that the platform team configured. Excludes inlineRegistry. Default: the registry "
            "of spec.model."
        ),
    ] = None
    inline_registry: Annotated[
        InlineRegistry | None,
        doc(
            "Registry for the canary only, instead of a configured one. Excludes registry. Default: the registry "
            "of spec.model."
        ),
    ] = None
    allow_signature_change: Annotated[
        bool | None,
        doc(
            "Allow the canary to receive traffic even if its signature is not compatible with that of the "
            "stable version. Default: the value of spec.model.allowSignatureChange."
        ),
    ] = None


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


class ScalingSpec(ApiType, frozen=True):
    """The number of pods of a revision: a fixed number, or a range for a HorizontalPodAutoscaler."""

    RULES: ClassVar = (
        Rule(
            "!(has(self.replicas) && (has(self.min) || has(self.max) || has(self.metrics) || has(self.behavior)))",
            "set replicas (a fixed number) or min, max, metrics and behavior (autoscaled), not both: remove one of "
            "them",
            ".replicas",
        ),
        Rule(
            "!has(self.min) || has(self.max)",
            "max is missing: autoscaling requires a maximum number of pods",
            ".max",
        ),
        Rule("!(has(self.min) && has(self.max)) || self.min <= self.max", "min must not be larger than max", ".min"),
        Rule(
            "!(has(self.metrics) || has(self.behavior)) || has(self.max)",
            "max is missing: metrics and behavior require it",
            ".max",
        ),
    )

    replicas: Annotated[
        Annotated[int, Meta(ge=0, le=1000)] | None,
        doc(
            "Fixed number of pods, from 0 to 1000. `kubectl scale` sets it. Excludes min, max, metrics and "
            "behavior. Default: 1."
        ),
    ] = None
    min: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        doc("Minimum number of pods for the autoscaler, from 1 to 1000. Requires max. Excludes replicas. Default: 1."),
    ] = None
    max: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        doc(
            "Maximum number of pods for the autoscaler, from 1 to 1000. Setting it enables the autoscaler. "
            "Excludes replicas. Default: no autoscaler."
        ),
    ] = None
    metrics: Annotated[
        Annotated[tuple[FreeObject, ...], Meta(max_length=16)] | None,
        doc(
            "Metrics of the HorizontalPodAutoscaler (autoscaling/v2 MetricSpec), at most 16. Requires max. "
            "Excludes replicas. Default: CPU at 70% of its request."
        ),
    ] = None
    behavior: Annotated[
        FreeObject | None,
        doc(
            "Scaling behavior of the HorizontalPodAutoscaler (autoscaling/v2). Requires max. Excludes replicas. "
            "Default: the cluster's behavior."
        ),
    ] = None

    @property
    def autoscaled(self) -> bool:
        """Tell whether an HPA controls the number of pods."""
        return self.max is not None


def _asked_twice(gpu: str, resources: str) -> str:
    """Return CEL that tells whether `resources` repeats the resource of `gpu`.

    The expression looks for the name of the GPU resource in the limits and in the requests of `resources`.
    """
    name = f"(has({gpu}.resource) ? {gpu}.resource : '{DEFAULT_RESOURCE}')"
    maps = (f"{resources}.limits", f"{resources}.requests")
    return "(" + " || ".join(f"(has({each}) && {name} in {each})" for each in maps) + ")"


_GPU_TWICE = "resources contains the resource that gpu requests: remove it from resources, or set gpu.count instead"


class CanarySpec(ApiType, frozen=True):
    """A second revision that receives the share of traffic that the user sets."""

    weight: Annotated[
        Percent,
        doc(
            "Percent of the requests that go to the canary, from 0 to 100. With 0, the canary's pods run "
            "without traffic (dark launch)."
        ),
    ]
    model: Annotated[ModelOverride | None, doc("Differences from spec.model. Default: none.")] = None
    runtime: Annotated[RuntimeSpec | None, doc("Differences from spec.runtime. Default: none.")] = None
    resources: Annotated[
        Resources | None,
        doc("CPU and memory of the canary, instead of spec.resources. Default: the value of spec.resources."),
    ] = None
    gpu: Annotated[
        GpuSpec | None, doc("GPUs of the canary's pods, instead of spec.gpu. Default: the value of spec.gpu.")
    ] = None
    scaling: Annotated[
        ScalingSpec | None,
        doc("Number of pods of the canary, instead of spec.scaling. Default: the value of spec.scaling."),
    ] = None
    match: Annotated[
        HeaderMatches | None,
        doc(
            "Requests that all go to the canary (A/B test), at most 8 matches. The weight splits the other "
            "requests. Default: none."
        ),
    ] = None
    mirror: Annotated[
        MirrorSpec | None,
        doc(
            "Copies of requests that the canary receives (shadow traffic). Clients never see its responses to "
            "them. Default: none."
        ),
    ] = None


class ModelDeploymentSpec(ApiType, frozen=True):
    """The model to serve, how to serve it, and how clients reach it."""

    RULES: ClassVar = (
        Rule(
            "!(has(self.canary) && has(self.rollout) && has(self.rollout.steps) && size(self.rollout.steps) > 0)",
            "set canary (you change the weight) or rollout.steps (the operator changes it), not both: remove one of "
            "them",
            ".canary",
        ),
        Rule(
            "!has(self.runtime) || !has(self.runtime.name) || self.runtime.name != 'custom' || has(self.runtime.image)",
            "runtime.image is missing: the runtime `custom` has no default image",
            ".runtime",
        ),
        Rule(
            "!has(self.canary) || !has(self.canary.runtime) || !has(self.canary.runtime.name) || "
            "self.canary.runtime.name != 'custom' "
            "|| has(self.canary.runtime.image) || (has(self.runtime) && has(self.runtime.image))",
            "canary.runtime.image is missing: the runtime `custom` has no default image",
            ".canary.runtime",
        ),
        Rule(
            "!self.model.uri.startsWith('image:') || (has(self.runtime) && (has(self.runtime.image) || "
            "(has(self.runtime.name) && !(self.runtime.name in ['mlflow', 'mlserver']))))",
            "runtime.image is missing: a model.uri of the form image:///PATH names a path in that image",
            ".runtime",
        ),
        Rule(
            f"!has(self.gpu) || !has(self.resources) || !{_asked_twice('self.gpu', 'self.resources')}",
            _GPU_TWICE,
            ".resources",
        ),
        Rule(
            "!has(self.canary) || !has(self.canary.resources) || "
            f"(has(self.canary.gpu) ? !{_asked_twice('self.canary.gpu', 'self.canary.resources')} : "
            f"!has(self.gpu) || !{_asked_twice('self.gpu', 'self.canary.resources')})",
            f"canary.{_GPU_TWICE}",
            ".canary.resources",
        ),
        Rule(
            "!has(self.canary) || !has(self.canary.gpu) || has(self.canary.resources) || !has(self.resources) || "
            f"!{_asked_twice('self.canary.gpu', 'self.resources')}",
            "resources, which the canary inherits, contains the resource that canary.gpu requests: remove it from "
            "resources",
            ".canary.gpu",
        ),
    )

    model: Annotated[ModelSpec, doc("The model to serve and the registry it comes from.")]
    runtime: Annotated[RuntimeSpec, doc("The model server. Default: Sluicegate's MLflow scoring image.")] = (
        RuntimeSpec()
    )
    resources: Annotated[
        Resources,
        doc("CPU and memory of the scoring container. Must not contain the resource that gpu requests. Default: none."),
    ] = Resources()
    gpu: Annotated[GpuSpec | None, doc("GPUs of each pod, and the nodes that have them. Default: none.")] = None
    pod_template: Annotated[
        FreeObject | None,
        doc(
            "Overlay for the pod template, for everything that no other field covers: metadata and spec as in "
            "a Deployment's template. Objects merge. Lists of named items (containers, volumes, env) merge by "
            "name. The scoring container is called `model`. The operator rejects fields that the pod API does "
            "not define. Default: no overlay."
        ),
    ] = None
    scaling: Annotated[ScalingSpec, doc("Number of pods of each revision. Default: one.")] = ScalingSpec()
    traffic: Annotated[
        TrafficSpec, doc("How clients reach the model. Default: the platform's gateway at /NAMESPACE/NAME.")
    ] = TrafficSpec()
    canary: Annotated[
        CanarySpec | None,
        doc("A second revision that receives a weight that you set. Excludes rollout.steps. Default: none."),
    ] = None
    rollout: Annotated[
        RolloutSpec, doc("How a new revision takes over. Default: all at once, as soon as it is ready.")
    ] = RolloutSpec()
    paused: Annotated[
        bool,
        doc("Stop acting on changes of the spec. The traffic stays as it is. Default: false."),
    ] = False
