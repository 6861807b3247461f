"""`spec.rollout`: how a new revision takes over, and how the analysis judges it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from sluicegate.api.fields import ApiType, Duration, HttpUrl, ObjectName, Percent, PositiveDuration, Rule, doc
from sluicegate.api.traffic import HeaderMatches, MirrorSpec


class Pause(ApiType, frozen=True):
    """A pause of the rollout, until a promotion or for a limited time."""

    duration: Annotated[
        Duration | None,
        doc(
            "Time after which the rollout continues without an approver, such as 1h. Default: wait until the "
            "annotation sluicegate.dev/promote promotes it."
        ),
    ] = None


class Step(ApiType, frozen=True):
    """One step of a rollout. It sets at least one of weight, pause, match and mirror."""

    RULES: ClassVar = (
        Rule(
            "has(self.weight) || has(self.pause) || has(self.match) || has(self.mirror)",
            "weight is missing: a step needs at least one of weight, pause, match and mirror",
        ),
        Rule(
            "!has(self.hold) || has(self.weight) || has(self.match) || has(self.mirror)",
            "hold requires weight, match or mirror: add one of them, or use pause.duration",
            ".hold",
        ),
    )

    weight: Annotated[
        Percent | None,
        doc(
            "Percent of the requests that the candidate receives from this step on, from 0 to 100. Default: as "
            "before the step."
        ),
    ] = None
    hold: Annotated[
        Duration | None,
        doc(
            "Minimum time at this step while the analysis judges the candidate, such as 5m. Requires weight, match "
            "or mirror. Default: none."
        ),
    ] = None
    pause: Annotated[
        Pause | None,
        doc(
            "Stop at this step until an approver promotes the rollout (`pause: {}`), or until pause.duration is "
            "over. Default: do not stop."
        ),
    ] = None
    match: Annotated[
        HeaderMatches | None,
        doc(
            "Requests that all go to the candidate from this step on, at most 7 matches. The weight splits the "
            "other requests. Default: as before the step."
        ),
    ] = None
    mirror: Annotated[
        MirrorSpec | None,
        doc(
            "Copies of requests that the candidate receives from this step on. Clients never see its responses to "
            "them. Default: as before the step."
        ),
    ] = None


class SourceSecret(ApiType, frozen=True):
    """A Secret in the ModelDeployment's namespace with credentials for a Prometheus server."""

    name: Annotated[
        ObjectName,
        doc(
            "Name of the Secret. Its keys are username and password, or token. Add ca.crt if the system does "
            "not trust the server's certificate authority. Add tls.crt and tls.key for a client certificate."
        ),
    ]


class AnalysisSource(ApiType, frozen=True):
    """The metrics source of an analysis."""

    RULES: ClassVar = (
        Rule(
            "!has(self.address) || (has(self.type) && self.type == 'Prometheus')",
            "address requires type Prometheus: set type: Prometheus, or remove address",
            ".address",
        ),
        Rule(
            "!has(self.secretRef) || has(self.address)",
            "secretRef requires address: set address, or remove secretRef",
            ".secretRef",
        ),
    )

    type: Annotated[
        Literal["Pods", "Prometheus"],
        doc(
            "Metrics source. `Pods`: the operator reads /metrics of the scoring pods. `Prometheus`: the "
            "operator queries a Prometheus server that scrapes the pods. Metrics of type Query always query "
            "Prometheus. Default: Pods."
        ),
    ] = "Pods"
    address: Annotated[
        HttpUrl | None,
        doc(
            "URL of the Prometheus server, such as http://prometheus.monitoring:9090. Requires type Prometheus. "
            "Default: the platform's server."
        ),
    ] = None
    secret_ref: Annotated[
        SourceSecret | None, doc("Secret with the credentials for address. Requires address. Default: no credentials.")
    ] = None
    timeout: Annotated[
        PositiveDuration | None,
        doc(
            "Timeout of one request to a pod or to the Prometheus server, such as 5s. Values above 1m count as 1m. "
            "Default: 5s."
        ),
    ] = None


class AnalysisMetric(ApiType, frozen=True):
    """One metric of an analysis, and the values that it allows."""

    RULES: ClassVar = (
        Rule(
            "(self.type == 'Query') == has(self.query)",
            "query and type Query require each other: set both, or neither",
            ".query",
        ),
        Rule(
            "self.type == 'ErrorRate' || !has(self.errorClasses)",
            "errorClasses requires type ErrorRate: remove it",
            ".errorClasses",
        ),
        Rule(
            "!(self.type in ['ErrorRate', 'Disagreement']) || !has(self.limit) || (self.limit >= 0.0 && self.limit "
            "<= 1.0)",
            "limit must be a share from 0 to 1 for types ErrorRate and Disagreement, such as 0.01 for 1%",
            ".limit",
        ),
        Rule(
            "!self.type.startsWith('Latency') || !has(self.limit) || (self.limit > 0.0 && self.limit <= 60.0)",
            "limit must be a number of seconds above 0 and at most 60 for a latency, such as 0.25",
            ".limit",
        ),
        Rule(
            "!(self.type in ['Drift', 'FeatureDrift', 'LargestDifference']) || !has(self.limit) || self.limit >= 0.0",
            "limit must not be negative for types Drift, FeatureDrift and LargestDifference",
            ".limit",
        ),
        Rule(
            "!(self.type in ['Drift', 'FeatureDrift']) || !has(self.statistic) || self.statistic != 'KS' || "
            "!has(self.limit) || self.limit <= 1.0",
            "limit must be from 0 to 1 for statistic KS, such as 0.1",
            ".limit",
        ),
        Rule(
            "self.type in ['Drift', 'FeatureDrift'] || !has(self.statistic)",
            "statistic requires type Drift or FeatureDrift: remove it",
            ".statistic",
        ),
        Rule(
            "!(self.type in ['Drift', 'FeatureDrift', 'Disagreement', 'LargestDifference']) || !has(self.ratio)",
            "ratio is not allowed for a type that already compares with stable: use limit",
            ".ratio",
        ),
        Rule(
            "self.type == 'Disagreement' || !has(self.tolerance)",
            "tolerance requires type Disagreement: remove it",
            ".tolerance",
        ),
        Rule(
            "has(self.limit) || has(self.ratio)",
            "limit is missing: a metric needs limit (absolute) or ratio (relative to stable), or both",
        ),
    )

    name: Annotated[
        str,
        Meta(min_length=1, max_length=63),
        doc("Name of the metric in status, 1 to 63 characters. Each name must be unique."),
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
            "What the analysis measures. ErrorRate: share of failed requests. LatencyP50, LatencyP95, "
            "LatencyP99: latency of the requests, in seconds. A latency limit is rounded up to the next bucket "
            "bound of the pods' histogram. Drift, FeatureDrift: distance between the predictions (features) of "
            "the candidate and of stable, for the column that differs most. Disagreement: share of the "
            "mirrored requests whose responses differ between the two revisions. LargestDifference: largest "
            "difference between two numbers in those responses. Query: result of a PromQL query."
        ),
    ]
    error_classes: Annotated[
        Annotated[tuple[Literal["client", "model", "server", "timeout", "overload"], ...], Meta(max_length=5)] | None,
        doc(
            "For ErrorRate: the classes of failures that count. overload is a 429 response because the server "
            "had no capacity. Default: model, server and timeout."
        ),
    ] = None
    statistic: Annotated[
        Literal["PSI", "KS"] | None,
        doc(
            "For Drift and FeatureDrift: PSI is the population stability index (0.1 is little, 0.25 is much). "
            "KS is the Kolmogorov-Smirnov distance, from 0 to 1. Default: PSI."
        ),
    ] = None
    limit: Annotated[
        float | None,
        doc(
            "Largest value allowed. The unit depends on type: a share from 0 to 1, seconds, or the query's own "
            "unit. At least one of limit and ratio is required. Default: no absolute limit."
        ),
    ] = None
    ratio: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        doc(
            "Largest multiple of stable's value over the same window, above 0, such as 1.2. If limit is set "
            "too, both must hold. Not for Drift, FeatureDrift, Disagreement and LargestDifference, which "
            "compare with stable already. Default: no relative limit."
        ),
    ] = None
    tolerance: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        doc(
            "For Disagreement: numbers that differ by no more than this count as equal. The unit is that of "
            "the prediction. At least 0. Default: 0."
        ),
    ] = None
    min_samples: Annotated[
        int,
        Meta(ge=1, le=1000000),
        doc(
            "Minimum number of requests for a Passed or Failed outcome, from 1 to 1000000. For drift, the "
            "number of rows. For Disagreement and LargestDifference, the number of compared requests. If the "
            "metric compares with stable, stable needs as many. With fewer samples, the metric is Inconclusive "
            "and the rollout holds. Does not apply to Query. Default: 100."
        ),
    ] = 100
    query: Annotated[
        Annotated[str, Meta(min_length=1, max_length=4096)] | None,
        doc(
            "PromQL for type Query, 1 to 4096 characters. The operator fills in {{namespace}}, {{name}}, "
            "{{revision}} and {{window}}. The result must be one number. Default: none."
        ),
    ] = None
    dry_run: Annotated[
        bool,
        doc(
            "Measure and show the metric, but do not let it affect the rollout. Use it to try out a limit. "
            "Default: false."
        ),
    ] = False


class AnalysisSpec(ApiType, frozen=True):
    """How the analysis judges a candidate while it receives traffic."""

    source: Annotated[AnalysisSource, doc("Metrics source. Default: the pods themselves.")] = AnalysisSource()
    interval: Annotated[
        PositiveDuration, doc("Time between two measurements, such as 15s. Values below 1s count as 1s. Default: 15s.")
    ] = "15s"
    window: Annotated[
        PositiveDuration,
        doc(
            "Period that a measurement covers, such as 1m, but at least interval. If its requests do not "
            "decide the outcome, all requests of the step since warmUp count. Default: 1m."
        ),
    ] = "1m"
    warm_up: Annotated[
        Duration,
        doc(
            "Time at the start of each step whose requests are not measured, such as 15s, because caches are still "
            "cold. Default: 15s."
        ),
    ] = "15s"
    failure_limit: Annotated[
        int,
        Meta(ge=1, le=100),
        doc(
            "Number of consecutive Failed outcomes of one metric after which the operator rolls back, from 1 "
            "to 100. Inconclusive outcomes in between neither count nor reset the count. Default: 2."
        ),
    ] = 2
    metrics: Annotated[
        tuple[AnalysisMetric, ...],
        Meta(
            max_length=16, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
        doc(
            "Metrics to measure, at most 16. The operator rolls back when one metric fails failureLimit times "
            "in a row. Default: none."
        ),
    ] = ()


class RolloutSpec(ApiType, frozen=True):
    """How a new revision, the candidate, replaces the stable revision."""

    RULES: ClassVar = (
        Rule(
            "!has(self.analysis) || !has(self.analysis.metrics) || !self.analysis.metrics.exists(m, m.type in "
            "['Disagreement', 'LargestDifference']) || "
            "(has(self.steps) && self.steps.exists(s, has(s.mirror) && (!has(s.mirror.percent) || s.mirror.percent "
            "> 0)))",
            "types Disagreement and LargestDifference compare responses to mirrored requests: add mirror to a step",
            ".analysis",
        ),
    )

    steps: Annotated[
        Annotated[tuple[Step, ...], Meta(max_length=32)] | None,
        doc(
            "Steps in which the operator shifts traffic to the candidate, at most 32. Excludes spec.canary. "
            "Default: one step, to weight 100."
        ),
    ] = None
    analysis: Annotated[
        AnalysisSpec | None, doc("How the candidate is judged at every step. Default: only whether it is ready.")
    ] = None
    progress_deadline: Annotated[
        PositiveDuration,
        doc(
            "Maximum time until a revision's pods are ready, including the time to load the model, such as "
            "10m. After that the operator reports the revision as failed, and the previous revision keeps "
            "serving. Default: 10m."
        ),
    ] = "10m"
    scale_down_delay: Annotated[
        Duration,
        doc(
            "Time that the pods of the old revision keep running after its traffic is gone, such as 30s. Default: 30s."
        ),
    ] = "30s"
    when_full: Annotated[
        Literal["Wait", "Replace"] | None,
        doc(
            "What to do when no node has capacity (or a free GPU) for a second revision. `Wait`: wait for "
            "capacity. `Replace`: replace the old pods in place, which can cause downtime. Default: Wait."
        ),
    ] = None
    history_limit: Annotated[
        int,
        Meta(ge=0, le=50),
        doc("Number of old revisions to keep at zero pods for an instant rollback, from 0 to 50. Default: 5."),
    ] = 5
