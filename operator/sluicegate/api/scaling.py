"""`spec.scaling`: the number of pods of a revision."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from sluicegate.api.fields import ApiType, FreeObject, Rule, doc


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
