"""The operator's own Prometheus metrics.

`docs/reference/metrics.md` is generated from these definitions.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.core.analysis.run import AnalysisState
from sluicegate.core.snapshot import staleness
from sluicegate.core.status.events import rollback, version_changes
from sluicegate.runtime.supervise import contained

WRITES = frozenset({"apply", "patch", "create", "update", "delete"})


class Metrics:
    """All metrics of one process, in their own metrics registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Histogram(
            "sluicegate_reconcile_duration_seconds",
            "Time of one reconcile, by outcome (done, retry, error).",
            ["outcome"],
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.requests = Counter(
            "sluicegate_api_requests_total",
            "Requests to the API server, by verb, kind and outcome.",
            ["verb", "kind", "outcome"],
            registry=self.registry,
        )
        self.writes = Counter(
            "sluicegate_writes_total",
            "Writes to the API server, by kind and outcome.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self.polls = Counter(
            "sluicegate_registry_polls_total",
            "Polls of followed models, by registry and outcome.",
            ["registry", "outcome"],
            registry=self.registry,
        )
        self.registry_up = Gauge(
            "sluicegate_registry_up",
            "1 while a followed registry responds, otherwise 0.",
            ["registry"],
            registry=self.registry,
        )
        self.webhooks = Counter(
            "sluicegate_webhooks_total",
            "Webhook deliveries from registries, by registry and outcome.",
            ["registry", "outcome"],
            registry=self.registry,
        )
        self.webhook_registered = Gauge(
            "sluicegate_webhook_registered",
            "1 while a registry has the webhook subscription that `registerWebhook` asks for, otherwise 0.",
            ["registry"],
            registry=self.registry,
        )
        self.model_changes = Counter(
            "sluicegate_model_changes_total",
            "Changes of the version that a followed URI resolves to.",
            registry=self.registry,
        )
        self.notifications = Counter(
            "sluicegate_notifications_total",
            "Notifications by destination and outcome: sent, retried (an attempt failed), refused, "
            "expired (failed for an hour), dropped (too many were waiting), lost (the operator stopped).",
            ["destination", "outcome"],
            registry=self.registry,
        )
        self.rollbacks = Counter(
            "sluicegate_rollbacks_total",
            "Rollouts that were rolled back, by cause: the metric of the analysis, or Crash.",
            ["namespace", "name", "by"],
            registry=self.registry,
        )
        self.leading = Gauge("sluicegate_leading", "1 while this process holds the Lease.", registry=self.registry)

    def on_request(self, verb: str, kind: str, outcome: str, seconds: float) -> None:
        """Count one request to the API server. The client calls this as its observer."""
        del seconds
        self.requests.labels(verb, kind, outcome).inc()
        if verb in WRITES:
            self.writes.labels(kind, outcome).inc()

    def on_poll(self, registry: str, outcome: str, up: bool) -> None:
        """Count one poll of a registry. The follower calls this as its observer."""
        self.polls.labels(registry, outcome).inc()
        self.registry_up.labels(registry).set(up)

    def on_webhook(self, registry: str, outcome: str) -> None:
        """Count one webhook delivery."""
        self.webhooks.labels(registry, outcome).inc()

    def on_subscription(self, registry: str, present: bool) -> None:
        """Record whether a registry has the operator's webhook subscription."""
        self.webhook_registered.labels(registry).set(present)

    def on_notification(self, destination: str, outcome: str) -> None:
        """Count the outcome of a notification or of one attempt."""
        self.notifications.labels(destination, outcome).inc()

    def on_status(self, resource: ModelDeployment, after: ModelDeploymentStatus) -> None:
        """Count rollbacks and version changes. The status writer calls this as an observer."""
        if (cause := rollback(resource.status, after)) is not None:
            self.rollbacks.labels(*resource.key, cause).inc()
        for _ in version_changes(resource.status, after):
            self.model_changes.inc()

    def watch_queue(self, depth: Callable[[], int], oldest: Callable[[], float]) -> None:
        """Export the depth and the oldest age of the work queue at each scrape."""
        Gauge("sluicegate_queue_depth", "Resources that wait to be reconciled.", registry=self.registry).set_function(
            lambda: float(depth())
        )
        Gauge(
            "sluicegate_queue_oldest_seconds",
            "Time that the resource at the head of the queue has waited.",
            registry=self.registry,
        ).set_function(oldest)

    def watch_resources(self, resources: Callable[[], Iterable[ModelDeployment]]) -> None:
        """Export resources by condition, and the age of served versions, at each scrape."""
        self.registry.register(_Conditions(resources))
        self.registry.register(_Ages(resources))

    def watch_undecodable(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Export the number of skipped objects of each kind at each scrape."""
        self.registry.register(_Undecodable(count))

    def watch_peers(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Export the number of resources that other operators act on at each scrape."""
        self.registry.register(_Peers(counts))

    def watch_analyses(self, states: Callable[[], Iterable[AnalysisState]]) -> None:
        """Export the measurements of the running analyses at each scrape.

        The series of a step end with the step.
        """
        self.registry.register(_Analyses(states))


class _Undecodable(Collector):
    def __init__(self, count: Callable[[], Mapping[str, int]]) -> None:
        self._count = count

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "sluicegate_undecodable_objects",
            "Objects that the operator skips because it cannot decode them, by kind. The log names each object.",
            labels=["kind"],
        )
        for kind, count in self._count().items():
            family.add_metric([kind], count)
        yield family


class _Peers(Collector):
    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "sluicegate_standing_back_resources",
            "ModelDeployments that another operator acts on instead of this one. The label operator has the namespace "
            "and name of its Lease.",
            labels=["operator"],
        )
        for operator, count in self._counts().items():
            family.add_metric([operator], count)
        yield family


class _Analyses(Collector):
    def __init__(self, states: Callable[[], Iterable[AnalysisState]]) -> None:
        self._states = states

    def collect(self) -> Iterator[Metric]:
        labels = ["namespace", "name", "metric"]
        value = GaugeMetricFamily(
            "sluicegate_analysis_value",
            "Value of a metric of a running analysis, in its own unit. The side is candidate or stable.",
            labels=[*labels, "side"],
        )
        limit = GaugeMetricFamily(
            "sluicegate_analysis_limit", "Largest value of a metric of a running analysis that passes.", labels=labels
        )
        samples = GaugeMetricFamily(
            "sluicegate_analysis_samples",
            "Number of requests, rows or pairs of the candidate that the value comes from.",
            labels=labels,
        )
        outcome = GaugeMetricFamily(
            "sluicegate_analysis_outcome",
            "1 for the outcome of the metric: Passed, Failed or Inconclusive.",
            labels=[*labels, "outcome"],
        )
        share = GaugeMetricFamily(
            "sluicegate_rollout_requests_share",
            "Percent of the requests of the candidate and the stable revision that a revision served in the "
            "analysis's window.",
            labels=["namespace", "name", "revision"],
        )
        for state in self._states():
            key = state.run.key
            for measurement in state.reading.measurements:
                names = [*key, measurement.metric]
                for side, number in (("candidate", measurement.value), ("stable", measurement.stable)):
                    if number is not None:
                        value.add_metric([*names, side], number)
                if measurement.limit is not None:
                    limit.add_metric(names, measurement.limit)
                samples.add_metric(names, measurement.samples)
                outcome.add_metric([*names, measurement.outcome.value], 1)
            for revision, percent in state.shares.items():
                share.add_metric([*key, revision], percent)
        yield from (value, limit, samples, outcome, share)


class _Conditions(Collector):
    def __init__(self, resources: Callable[[], Iterable[ModelDeployment]]) -> None:
        self._resources = resources

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "sluicegate_resources",
            "ModelDeployments by condition, status and reason.",
            labels=["condition", "status", "reason"],
        )
        tally = Tally(
            (condition.type, condition.status, condition.reason)
            for resource in self._resources()
            for condition in resource.status.conditions
        )
        for key, count in tally.items():
            family.add_metric(list(key), count)
        yield family


class _Ages(Collector):
    """Two series for each resource that serves a version of a registered model."""

    def __init__(self, resources: Callable[[], Iterable[ModelDeployment]]) -> None:
        self._resources = resources

    def collect(self) -> Iterator[Metric]:
        age = GaugeMetricFamily(
            "sluicegate_served_version_age_seconds",
            "Time since the registration of the version that a ModelDeployment serves.",
            labels=["namespace", "name"],
        )
        behind = GaugeMetricFamily(
            "sluicegate_newer_version_seconds",
            "Time since the registry got a newer version than a ModelDeployment serves (spec.model.staleAgainst). "
            "0 if it has none.",
            labels=["namespace", "name"],
        )
        now = datetime.now(UTC)
        for resource in self._resources():
            # A status may contain an invalid time. It must not prevent the metrics of all other resources.
            with contained("the age of {}/{}".format(*resource.key)):
                for family, value in (
                    (age, staleness.age(resource.status, now)),
                    (behind, staleness.behind(resource.status, resource.spec.model.stale_against, now)),
                ):
                    if value is not None:
                        family.add_metric(list(resource.key), value)
        yield age
        yield behind
