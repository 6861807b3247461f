"""`spec.rollout`: how a new version takes over, and what it is judged by."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from sluicegate.api.fields import ApiType, Duration, Percent, Rule, doc
from sluicegate.api.traffic import HeaderMatches, MirrorSpec


class Pause(ApiType):
    """Wait for a person."""

    duration: Annotated[Duration | None, doc("Go on by itself after this time. Default: wait until promoted by the annotation sluicegate.dev/promote.")] = None


class Step(ApiType):
    """One step of a rollout."""

    RULES: ClassVar = (
        Rule(
            "has(self.weight) || has(self.pause) || has(self.match) || has(self.mirror)",
            "a step needs a weight, a pause, a match or a mirror",
        ),
        Rule("!has(self.hold) || has(self.weight) || has(self.match) || has(self.mirror)", "hold needs a weight, match or mirror to hold", ".hold"),
    )

    weight: Annotated[Percent | None, doc("Percent of the requests for the new version from this step on.")] = None
    hold: Annotated[Duration | None, doc("Time to stay at this step while the analysis judges it, such as 5m. Default: none.")] = None
    pause: Annotated[Pause | None, doc("Stop here until a person goes on, or for a time.")] = None
    match: Annotated[HeaderMatches | None, doc("Requests that go wholly to the new version from this step on.")] = None
    mirror: Annotated[MirrorSpec | None, doc("Copies of requests to the new version from this step on.")] = None


class AnalysisSource(ApiType):
    """Where measurements come from."""

    type: Annotated[Literal["Pods", "Prometheus"], doc("`Pods`: the scoring pods' own /metrics. `Prometheus`: a Prometheus server.")] = "Pods"
    address: Annotated[Annotated[str, Meta(max_length=1024, pattern=r"^https?://\S+$")] | None, doc("URL of the Prometheus server. Default: the platform's.")] = None


class AnalysisMetric(ApiType):
    """One measurement and what it may be."""

    RULES: ClassVar = (
        Rule("(self.type == 'Query') == has(self.query)", "query belongs to type Query, and type Query needs one", ".query"),
        Rule("has(self.limit) || has(self.ratio)", "a metric needs limit (absolute) or ratio (to stable), or both"),
    )

    name: Annotated[str, Meta(min_length=1, max_length=63), doc("Name of the metric, as status shows it.")]
    type: Annotated[
        Literal["ErrorRate", "LatencyP50", "LatencyP95", "LatencyP99", "Drift", "Query"],
        doc("What is measured: a share of failed requests, a latency in seconds, drift of the predictions between new version and stable, or a PromQL query."),
    ]
    error_classes: Annotated[
        Annotated[tuple[Literal["client", "model", "server", "timeout"], ...], Meta(max_length=4)] | None,
        doc("For ErrorRate: which failures count. Default: model, server and timeout."),
    ] = None
    limit: Annotated[float | None, doc("Largest value allowed: a share from 0 to 1, seconds, or the query's own unit.")] = None
    ratio: Annotated[Annotated[float, Meta(gt=0)] | None, doc("Largest multiple of stable's value over the same window, such as 1.2.")] = None
    min_samples: Annotated[int, Meta(ge=1, le=1000000), doc("Requests needed for a verdict; with fewer the metric is Inconclusive and the rollout holds. Default: 100.")] = 100
    query: Annotated[Annotated[str, Meta(min_length=1, max_length=4096)] | None, doc("PromQL with {{namespace}}, {{revision}} and {{window}} filled in.")] = None


class AnalysisSpec(ApiType):
    """How a new version is judged while it takes traffic."""

    source: Annotated[AnalysisSource, doc("Where measurements come from. Default: the pods themselves.")] = AnalysisSource()
    interval: Annotated[Duration, doc("Time between two judgements. Default: 15s.")] = "15s"
    window: Annotated[Duration, doc("Time that a judgement looks back. Default: 1m.")] = "1m"
    metrics: Annotated[
        tuple[AnalysisMetric, ...],
        Meta(max_length=16, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
        doc("What is measured, at most 16. One Failed metric rolls back."),
    ] = ()


class RolloutSpec(ApiType):
    """How a new version takes over."""

    steps: Annotated[Annotated[tuple[Step, ...], Meta(max_length=32)] | None, doc("Steps by which the operator moves the weight, at most 32. Default: one, to 100.")] = None
    analysis: Annotated[AnalysisSpec | None, doc("What the new version is judged by at every step. Default: only whether it is ready.")] = None
    progress_deadline: Annotated[
        Duration, doc("Longest time a revision may take until its pods are ready, loading included. Then it is reported as failed; what served serves on. Default: 10m.")
    ] = "10m"
    scale_down_delay: Annotated[Duration, doc("How long the old revision's pods stay after the traffic has left them. Default: 30s.")] = "30s"
    when_full: Annotated[
        Literal["Wait", "Replace"] | None,
        doc("When no node has room (or a free GPU) for a second revision: wait for it, or replace in place, which costs downtime. Default: Wait."),
    ] = None
    history_limit: Annotated[int, Meta(ge=0, le=50), doc("Old revisions kept at zero pods for an instant rollback, 0 to 50. Default: 5.")] = 5
