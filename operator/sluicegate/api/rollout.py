"""`spec.rollout`: how a new version takes over, and what it is judged by."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from sluicegate.api.fields import ApiType, Duration, HttpUrl, ObjectName, Percent, PositiveDuration, Rule, doc
from sluicegate.api.traffic import HeaderMatches, MirrorSpec


class Pause(ApiType, frozen=True):
    """Wait for a person."""

    duration: Annotated[
        Duration | None,
        doc(
            "Go on by itself after this time, such as 1h. Default: wait until promoted by the annotation sluicegate.dev/promote."
        ),
    ] = None


class Step(ApiType, frozen=True):
    """One step of a rollout."""

    RULES: ClassVar = (
        Rule(
            "has(self.weight) || has(self.pause) || has(self.match) || has(self.mirror)",
            "weight is missing: a step needs at least one of weight, pause, match and mirror",
        ),
        Rule(
            "!has(self.hold) || has(self.weight) || has(self.match) || has(self.mirror)",
            "hold has nothing to hold: give the step a weight, match or mirror, or use pause.duration",
            ".hold",
        ),
    )

    weight: Annotated[
        Percent | None,
        doc("Percent of the requests for the new version from this step on, 0 to 100. Default: as before the step."),
    ] = None
    hold: Annotated[
        Duration | None, doc("Time to stay at this step while the analysis judges it, such as 5m. Default: none.")
    ] = None
    pause: Annotated[
        Pause | None, doc("Stop here until a person goes on (`pause: {}`), or for a time. Default: do not stop.")
    ] = None
    match: Annotated[
        HeaderMatches | None,
        doc(
            "Requests that go wholly to the new version from this step on, at most 8 matches. Default: as before the step."
        ),
    ] = None
    mirror: Annotated[
        MirrorSpec | None, doc("Copies of requests to the new version from this step on. Default: as before the step.")
    ] = None


class SourceSecret(ApiType, frozen=True):
    """A Secret in the ModelDeployment's namespace that logs the operator in to a Prometheus server."""

    name: Annotated[
        ObjectName,
        doc(
            "Name of the Secret: username and password, or token; ca.crt where the server's authority is not the system's; tls.crt and tls.key for a client certificate."
        ),
    ]


class AnalysisSource(ApiType, frozen=True):
    """Where measurements come from."""

    RULES: ClassVar = (
        Rule(
            "!has(self.address) || (has(self.type) && self.type == 'Prometheus')",
            "address belongs to type Prometheus: set type: Prometheus, or remove address",
            ".address",
        ),
        Rule(
            "!has(self.secretRef) || has(self.address)",
            "secretRef belongs to address: the platform's own Prometheus has its Secret in the settings; set address, or remove secretRef",
            ".secretRef",
        ),
    )

    type: Annotated[
        Literal["Pods", "Prometheus"],
        doc(
            "`Pods`: the scoring pods' own /metrics, read by the operator. `Prometheus`: a Prometheus server that scrapes the pods. "
            "Metrics of type Query always ask Prometheus. Default: Pods."
        ),
    ] = "Pods"
    address: Annotated[
        HttpUrl | None,
        doc("URL of the Prometheus server, such as http://prometheus.monitoring:9090. Default: the platform's."),
    ] = None
    secret_ref: Annotated[SourceSecret | None, doc("What logs in at address. Default: no credentials.")] = None
    timeout: Annotated[
        PositiveDuration | None,
        doc("Longest time that one answer may take, a pod's or the server's; at most 1m counts. Default: 5s."),
    ] = None


class AnalysisMetric(ApiType, frozen=True):
    """One measurement and what it may be."""

    RULES: ClassVar = (
        Rule(
            "(self.type == 'Query') == has(self.query)",
            "query and type Query belong together: set both, or neither",
            ".query",
        ),
        Rule(
            "self.type == 'ErrorRate' || !has(self.errorClasses)",
            "errorClasses belongs to type ErrorRate: remove it",
            ".errorClasses",
        ),
        Rule(
            "!(self.type in ['ErrorRate', 'Disagreement']) || !has(self.limit) || (self.limit >= 0.0 && self.limit <= 1.0)",
            "limit must be a share from 0 to 1 for types ErrorRate and Disagreement, such as 0.01 for one request in a hundred",
            ".limit",
        ),
        Rule(
            "!self.type.startsWith('Latency') || !has(self.limit) || (self.limit > 0.0 && self.limit <= 60.0)",
            "limit must be seconds for a latency, above 0 and at most 60, such as 0.25",
            ".limit",
        ),
        Rule(
            "!(self.type in ['Drift', 'FeatureDrift', 'LargestDifference']) || !has(self.limit) || self.limit >= 0.0",
            "limit must not be negative for types Drift, FeatureDrift and LargestDifference",
            ".limit",
        ),
        Rule(
            "!(self.type in ['Drift', 'FeatureDrift']) || !has(self.statistic) || self.statistic != 'KS' || !has(self.limit) || self.limit <= 1.0",
            "limit must be from 0 to 1 for statistic KS, such as 0.1",
            ".limit",
        ),
        Rule(
            "self.type in ['Drift', 'FeatureDrift'] || !has(self.statistic)",
            "statistic belongs to types Drift and FeatureDrift: remove it",
            ".statistic",
        ),
        Rule(
            "!(self.type in ['Drift', 'FeatureDrift', 'Disagreement', 'LargestDifference']) || !has(self.ratio)",
            "ratio does not belong to a type that compares with stable already: use limit",
            ".ratio",
        ),
        Rule(
            "self.type == 'Disagreement' || !has(self.tolerance)",
            "tolerance belongs to type Disagreement: remove it",
            ".tolerance",
        ),
        Rule(
            "has(self.limit) || has(self.ratio)",
            "limit is missing: a metric needs limit (absolute) or ratio (to stable), or both",
        ),
    )

    name: Annotated[
        str,
        Meta(min_length=1, max_length=63),
        doc("Name of the metric, as status shows it, 1 to 63 characters, each name once."),
    ]
    type: Annotated[
        Literal[
            "ErrorRate",
            "LatencyP50",
            "LatencyP95",
            "LatencyP99",
            "Drift",
            "FeatureDrift",
            "Disagreement",
            "LargestDifference",
            "Query",
        ],
        doc(
            "What is measured. ErrorRate: share of failed requests. LatencyP50, LatencyP95, LatencyP99: seconds, limits being taken at the next bound of the pods' histogram. Drift, FeatureDrift: distance between the new version's "
            "predictions (features) and stable's, the column that differs most. Disagreement, LargestDifference: share of the mirrored requests that the two versions answer differently, "
            "and the largest difference between two numbers. Query: PromQL."
        ),
    ]
    error_classes: Annotated[
        Annotated[tuple[Literal["client", "model", "server", "timeout", "overload"], ...], Meta(max_length=5)] | None,
        doc(
            "For ErrorRate: which failures count; overload is 429, for want of room. Default: model, server and timeout."
        ),
    ] = None
    statistic: Annotated[
        Literal["PSI", "KS"] | None,
        doc(
            "For Drift and FeatureDrift: population stability index (0.1 is little, 0.25 is much), or the Kolmogorov-Smirnov distance, from 0 to 1. Default: PSI."
        ),
    ] = None
    limit: Annotated[
        float | None,
        doc(
            "Largest value allowed: a share from 0 to 1, seconds, or the query's own unit. Default: no absolute limit."
        ),
    ] = None
    ratio: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        doc(
            "Largest multiple of stable's value over the same window, such as 1.2; above 0. With limit both must hold. Default: no relative limit."
        ),
    ] = None
    tolerance: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        doc(
            "For Disagreement: numbers that are no further apart than this count as the same, in the prediction's own unit; at least 0. Default: 0."
        ),
    ] = None
    min_samples: Annotated[
        int,
        Meta(ge=1, le=1000000),
        doc(
            "Requests needed for a verdict (rows, for drift), of stable too where it is compared with; 1 to 1000000; with fewer the metric is Inconclusive and the rollout holds. Not for Query. Default: 100."
        ),
    ] = 100
    query: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4096)] | None,
        doc(
            "PromQL for type Query, at most 4096 characters, with {{namespace}}, {{name}}, {{revision}} and {{window}} filled in; one number must come of it. Default: none."
        ),
    ] = None
    dry_run: Annotated[
        bool, doc("Measure it and show what it came to, and decide nothing by it: for trying a limit. Default: false.")
    ] = False


class AnalysisSpec(ApiType, frozen=True):
    """How a new version is judged while it takes traffic."""

    source: Annotated[AnalysisSource, doc("Where measurements come from. Default: the pods themselves.")] = (
        AnalysisSource()
    )
    interval: Annotated[PositiveDuration, doc("Time between two judgements; at least 1s counts. Default: 15s.")] = "15s"
    window: Annotated[
        PositiveDuration,
        doc(
            "Time that a judgement looks back. It grows, up to the beginning of the step, while it has less than minSamples. Default: 1m."
        ),
    ] = "1m"
    warm_up: Annotated[
        Duration,
        doc("Time at the beginning of each step whose requests are not judged: caches fill. Default: 15s."),
    ] = "15s"
    failure_limit: Annotated[
        int,
        Meta(ge=1, le=100),
        doc(
            "Failed judgements of one metric in a row that roll back, 1 to 100; an Inconclusive one between them does not count. Default: 2."
        ),
    ] = 2
    metrics: Annotated[
        tuple[AnalysisMetric, ...],
        Meta(
            max_length=16, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
        doc(
            "What is measured, at most 16. One metric that fails failureLimit times in a row rolls back. Default: none."
        ),
    ] = ()


class RolloutSpec(ApiType, frozen=True):
    """How a new version takes over."""

    RULES: ClassVar = (
        Rule(
            "!has(self.analysis) || !has(self.analysis.metrics) || !self.analysis.metrics.exists(m, m.type in ['Disagreement', 'LargestDifference']) || "
            "(has(self.steps) && self.steps.exists(s, has(s.mirror) && (!has(s.mirror.percent) || s.mirror.percent > 0)))",
            "types Disagreement and LargestDifference compare the answers to mirrored requests, and no step mirrors any: add mirror to a step",
            ".analysis",
        ),
    )

    steps: Annotated[
        Annotated[tuple[Step, ...], Meta(max_length=32)] | None,
        doc("Steps by which the operator moves the weight, at most 32. Default: one, to 100."),
    ] = None
    analysis: Annotated[
        AnalysisSpec | None, doc("What the new version is judged by at every step. Default: only whether it is ready.")
    ] = None
    progress_deadline: Annotated[
        PositiveDuration,
        doc(
            "Longest time a revision may take until its pods are ready, such as 10m, loading included. Then it is reported as failed; what served serves on. Default: 10m."
        ),
    ] = "10m"
    scale_down_delay: Annotated[
        Duration,
        doc("How long the old revision's pods stay after the traffic has left them, such as 30s. Default: 30s."),
    ] = "30s"
    when_full: Annotated[
        Literal["Wait", "Replace"] | None,
        doc(
            "When no node has room (or a free GPU) for a second revision: wait for it, or replace in place, which costs downtime. Default: Wait."
        ),
    ] = None
    history_limit: Annotated[
        int, Meta(ge=0, le=50), doc("Old revisions kept at zero pods for an instant rollback, 0 to 50. Default: 5.")
    ] = 5
