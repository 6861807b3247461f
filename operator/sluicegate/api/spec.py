"""`spec` of a ModelDeployment: what a user may ask for.

Every description here is what `kubectl explain` prints: it says what the field does, its unit, its default and its limits.
Defaults are the operator's and are never written into the object, so that GitOps tools see exactly what was committed.
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
    rf"^(models:/(m-[A-Za-z0-9_-]+|{_PART}+/({_VERSION})|{_PART}+@[A-Za-z0-9_-]+)|runs:/{_PART}+/{_TEXT}+|mlflow-artifacts:/{_TEXT}+"
    rf"|(s3|gs|az)://{_PART}+/{_TEXT}+|(wasbs?|abfss?)://[a-z0-9$-]+@[A-Za-z0-9.-]+/{_TEXT}+|https?://[A-Za-z0-9.-]+(:[0-9]+)?/[^?#\x00-\x1f\x7f]+|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/{_TEXT}*)?|image:///{_TEXT}+)$"
)
MODEL_URI_FORMS = (
    "models:/NAME/VERSION, models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/latest, models:/MODEL-ID, runs:/RUN-ID/PATH, "
    "mlflow-artifacts:/PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, az://CONTAINER/PATH, wasbs:// or abfss://CONTAINER@ACCOUNT-HOST/PATH, "
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
        "Which model to serve: models:/NAME/VERSION, models:/NAME@ALIAS, models:/NAME/STAGE, models:/NAME/latest or models:/MODEL-ID of an "
        "MLflow registry; runs:/RUN-ID/PATH; artifacts at mlflow-artifacts:/PATH, s3://BUCKET/PATH, gs://BUCKET/PATH, "
        "az://CONTAINER/PATH, wasbs:// or abfss://CONTAINER@ACCOUNT-HOST/PATH, or https://HOST/PATH (a folder that is listed, .zip or .tar.gz); "
        "a volume, pvc://CLAIM/PATH; or image:///PATH for a model baked into the image."
    ),
]


class SecretRef(ApiType, frozen=True):
    """A Secret of the ModelDeployment's own namespace."""

    name: Annotated[ObjectName, doc("Name of the Secret.")]


class InlineRegistry(ApiType, frozen=True):
    """An MLflow registry that only this resource uses."""

    tracking_uri: Annotated[
        HttpUrl,
        doc("URL of the MLflow tracking server, such as https://mlflow.example.com, without credentials in it."),
    ]
    secret_ref: Annotated[
        SecretRef | None,
        doc(
            "Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; for s3:// also AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. The pods that fetch the model "
            "use it; the operator reads it too, where the platform lets it. Default: no credentials."
        ),
    ] = None


_REGISTRY = doc(
    "Name of a registry that the platform configured. Default: the platform's default registry, called `default`."
)
_INLINE = doc("A registry of this resource's own, instead of a configured one. Excludes `registry`. Default: none.")
_STALENESS = doc(
    "How long the registry may have a newer version than the one served before the condition Stale is True, such as 24h. Default: never."
)
_AGAINST = doc(
    "What maxStaleness and the metric of newer versions count as newer: Alias, another version that uri has come to mean; or Model, any higher "
    "version of the registered model, whether uri means it or not. Default: Alias."
)
_SIGNATURE = doc(
    "Let a version take traffic though its signature is not compatible with the served one's. Default: false."
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
    """What a canary changes about the model; a field that is absent is the base's."""

    RULES: ClassVar = (_ONE_REGISTRY,)

    uri: Annotated[
        ModelUri | None, doc("Which model the canary serves, in the forms of spec.model.uri. Default: the base's.")
    ] = None
    registry: Annotated[
        RegistryName | None, doc("Name of a registry that the platform configured. Default: the base's registry.")
    ] = None
    inline_registry: Annotated[
        InlineRegistry | None, doc("A registry of the canary's own, instead of a configured one. Default: the base's.")
    ] = None
    allow_signature_change: Annotated[
        bool | None,
        doc(
            "Let the canary take traffic though its signature is not compatible with the served one's. Default: the base's."
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
            "must be the name of an environment variable: letters, digits, '_', '-' and '.', not beginning with a digit",
            253,
        ),
        doc("Name of the variable, each once."),
    ]
    value: Annotated[
        Annotated[str, Meta(max_length=32768)] | None,
        doc("Its value, taken as text: quote numbers and booleans. At most 32768 characters. Default: empty."),
    ] = None
    value_from: Annotated[
        FreeObject | None,
        doc(
            "Where the value comes from, as in a pod: secretKeyRef, configMapKeyRef, fieldRef or resourceFieldRef. Default: none."
        ),
    ] = None


Env = Annotated[
    tuple[EnvVar, ...],
    Meta(max_length=128, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
]


class RuntimeSpec(ApiType, frozen=True):
    """The program that serves the model."""

    name: Annotated[
        DnsLabel | None,
        doc(
            "`mlflow` (Sluicegate's scoring image), `mlserver`, `custom`, or a runtime that the platform added. Default: mlflow."
        ),
    ] = None
    image: Annotated[
        ImageName | None,
        doc(
            "Container image, by tag or digest. The runtime `custom` has none, so it needs this. Default: the runtime's."
        ),
    ] = None
    args: Annotated[
        Annotated[tuple[Annotated[str, Meta(max_length=4096)], ...], Meta(max_length=64)] | None,
        doc("Arguments of the scoring container, at most 64. Default: the runtime's."),
    ] = None
    env: Annotated[
        Env | None, doc("Environment variables added to the scoring container's; at most 128. Default: none.")
    ] = None
    dependencies: Annotated[
        Literal["Image", "Install"] | None,
        doc(
            "Where the model's Python requirements come from. `Image`: the image has them, and differences are reported. `Install`: exactly "
            "they are installed before the server starts, for the runtime mlflow. Default: Image."
        ),
    ] = None


QuantityMap = Annotated[dict[str, Quantity], Meta(max_length=12)]
"""At most 12: the API server multiplies the cost of a rule by the size of the map, and 16 are just over its budget."""


class Resources(ApiType, frozen=True):
    """Compute resources of the scoring container."""

    requests: Annotated[
        QuantityMap | None,
        doc(
            "What the scheduler sets aside for each pod, such as cpu: 500m (half a core) and memory: 1Gi. Fractions are written in m or in quotes. Default: the limits."
        ),
    ] = None
    limits: Annotated[
        QuantityMap | None,
        doc("What the container may use at most. More memory than this and it is OOMKilled. Default: no limit."),
    ] = None


class ScalingSpec(ApiType, frozen=True):
    """How many pods a revision has: a fixed number, or a range that an HPA moves in."""

    RULES: ClassVar = (
        Rule(
            "!(has(self.replicas) && (has(self.min) || has(self.max) || has(self.metrics) || has(self.behavior)))",
            "set replicas (a fixed number) or min, max, metrics and behavior (autoscaled), not both: remove one of them",
            ".replicas",
        ),
        Rule(
            "!has(self.min) || has(self.max)",
            "max is missing: an autoscaled model needs the largest number of pods",
            ".max",
        ),
        Rule("!(has(self.min) && has(self.max)) || self.min <= self.max", "min must not be larger than max", ".min"),
        Rule(
            "!(has(self.metrics) || has(self.behavior)) || has(self.max)",
            "max is missing: metrics and behavior are for the autoscaler, which needs max",
            ".max",
        ),
    )

    replicas: Annotated[
        Annotated[int, Meta(ge=0, le=1000)] | None,
        doc("A fixed number of pods, 0 to 1000. `kubectl scale` writes it. Default: 1."),
    ] = None
    min: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        doc("Fewest pods of the autoscaler, 1 to 1000. Excludes replicas. Default: 1."),
    ] = None
    max: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        doc(
            "Most pods of the autoscaler, 1 to 1000; setting it turns the autoscaler on. Excludes replicas. Default: no autoscaler."
        ),
    ] = None
    metrics: Annotated[
        Annotated[tuple[FreeObject, ...], Meta(max_length=16)] | None,
        doc(
            "Metrics of the HorizontalPodAutoscaler (autoscaling/v2 MetricSpec), at most 16. Default: CPU at 70 % of its request."
        ),
    ] = None
    behavior: Annotated[
        FreeObject | None,
        doc("Scaling behavior of the HorizontalPodAutoscaler (autoscaling/v2). Default: the cluster's."),
    ] = None

    @property
    def autoscaled(self) -> bool:
        """Whether an HPA owns the number of pods."""
        return self.max is not None


def _asked_twice(gpu: str, resources: str) -> str:
    """CEL: whether the resource that `gpu` asks for stands in the limits or requests of `resources` too."""
    name = f"(has({gpu}.resource) ? {gpu}.resource : '{DEFAULT_RESOURCE}')"
    maps = (f"{resources}.limits", f"{resources}.requests")
    return "(" + " || ".join(f"(has({each}) && {name} in {each})" for each in maps) + ")"


_GPU_TWICE = "resources names what gpu asks for already: remove it from resources, or set gpu.count instead"


class CanarySpec(ApiType, frozen=True):
    """A second revision beside the base, with the share of traffic that the user gives it."""

    weight: Annotated[
        Percent,
        doc(
            "Percent of the requests that go to the canary, 0 to 100. 0 is a dark launch: its pods run and get no traffic."
        ),
    ]
    model: Annotated[ModelOverride | None, doc("What differs from spec.model. Default: nothing.")] = None
    runtime: Annotated[RuntimeSpec | None, doc("What differs from spec.runtime. Default: nothing.")] = None
    resources: Annotated[Resources | None, doc("Instead of spec.resources. Default: the same.")] = None
    gpu: Annotated[GpuSpec | None, doc("Instead of spec.gpu. Default: the same.")] = None
    scaling: Annotated[ScalingSpec | None, doc("Instead of spec.scaling. Default: the same.")] = None
    match: Annotated[
        HeaderMatches | None,
        doc("Requests that go wholly to the canary (A/B test); the weight splits the rest. At most 8. Default: none."),
    ] = None
    mirror: Annotated[
        MirrorSpec | None,
        doc("Copies of requests to the canary, its answers discarded (shadow traffic). Default: none."),
    ] = None


class ModelDeploymentSpec(ApiType, frozen=True):
    """What is to be served, with what, for whom."""

    RULES: ClassVar = (
        Rule(
            "!(has(self.canary) && has(self.rollout) && has(self.rollout.steps) && size(self.rollout.steps) > 0)",
            "set canary (you move the weight) or rollout.steps (the operator moves it), not both: remove one of them",
            ".canary",
        ),
        Rule(
            "!has(self.runtime) || !has(self.runtime.name) || self.runtime.name != 'custom' || has(self.runtime.image)",
            "runtime.image is missing: the runtime `custom` has no image of its own",
            ".runtime",
        ),
        Rule(
            "!has(self.canary) || !has(self.canary.runtime) || !has(self.canary.runtime.name) || self.canary.runtime.name != 'custom' "
            "|| has(self.canary.runtime.image) || (has(self.runtime) && has(self.runtime.image))",
            "canary.runtime.image is missing: the runtime `custom` has no image of its own",
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
            "resources, which the canary has too, names what canary.gpu asks for already: remove it from resources",
            ".canary.gpu",
        ),
    )

    model: Annotated[ModelSpec, doc("The model to serve and where it comes from.")]
    runtime: Annotated[RuntimeSpec, doc("The program that serves it. Default: Sluicegate's MLflow scoring image.")] = (
        RuntimeSpec()
    )
    resources: Annotated[Resources, doc("CPU and memory of the scoring container. Default: none set.")] = Resources()
    gpu: Annotated[GpuSpec | None, doc("GPUs of each pod and the nodes that have them. Default: none.")] = None
    pod_template: Annotated[
        FreeObject | None,
        doc(
            "Laid over the pod template for everything else: metadata and spec as in a Deployment's template. Objects merge; lists of named "
            "items (containers, volumes, env) merge by name; the scoring container is called `model`. Fields the pod API does not know are refused by the operator. Default: nothing."
        ),
    ] = None
    scaling: Annotated[ScalingSpec, doc("Number of pods of each revision. Default: one.")] = ScalingSpec()
    traffic: Annotated[
        TrafficSpec, doc("How clients reach the model. Default: the platform's gateway at /NAMESPACE/NAME.")
    ] = TrafficSpec()
    canary: Annotated[
        CanarySpec | None, doc("A second revision beside this one, by weight. Excludes rollout.steps. Default: none.")
    ] = None
    rollout: Annotated[
        RolloutSpec, doc("How a new version takes over. Default: as soon as it is ready, all at once.")
    ] = RolloutSpec()
    paused: Annotated[bool, doc("Stop acting on changes of the spec: what serves goes on serving. Default: false.")] = (
        False
    )
