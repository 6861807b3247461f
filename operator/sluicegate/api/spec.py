"""`spec` of a ModelDeployment: what a user can ask for.

`kubectl explain` prints every description here. Each says what the field does, its unit, its default and its limits.
The operator applies the defaults and never writes them into the object, so GitOps tools see exactly what was committed.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from sluicegate.api.fields import ApiType, FreeObject, Percent, Rule, doc
from sluicegate.api.gpu import DEFAULT_RESOURCE, GpuSpec
from sluicegate.api.model import ModelOverride, ModelSpec
from sluicegate.api.rollout import RolloutSpec
from sluicegate.api.runtime import Resources, RuntimeSpec
from sluicegate.api.scaling import ScalingSpec
from sluicegate.api.traffic import HeaderMatches, MirrorSpec, TrafficSpec


def _asked_twice(gpu: str, resources: str) -> str:
    """Return CEL that tells whether `resources` repeats the resource of `gpu`.

    The expression looks for the name of the GPU resource in the limits and in the requests of `resources`.
    """
    name = f"(has({gpu}.resource) ? {gpu}.resource : '{DEFAULT_RESOURCE}')"
    maps = (f"{resources}.limits", f"{resources}.requests")
    return "(" + " || ".join(f"(has({map_}) && {name} in {map_})" for map_ in maps) + ")"


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
            "Requests that all go to the canary (A/B test), at most 7 matches. The weight splits the other "
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
            "name. `{$patch: delete}` in place of a value removes a field. The scoring container is called "
            "`model`. The operator rejects fields that the pod API does not define. At most 64 KiB of JSON, together "
            "with scaling.metrics, scaling.behavior and valueFrom. Default: no overlay."
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
