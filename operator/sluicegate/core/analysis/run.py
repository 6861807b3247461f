"""What an analysis covers: which step of which rollout, and with which metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.rollout import AnalysisMetric, AnalysisSpec
from sluicegate.core.analysis import counters
from sluicegate.core.analysis.evaluation import QUANTILES
from sluicegate.core.plan import share
from sluicegate.core.snapshot.analysis_result import Reading

LEAST_INTERVAL: Final = 1.0
MOST_TIMEOUT: Final = 60.0
USUAL_TIMEOUT: Final = 5.0
PAIRED: Final = ("Disagreement", "LargestDifference")
_KINDS: Final[Mapping[str, str]] = {
    "ErrorRate": counters.REQUESTS,
    "Drift": counters.PREDICTION,
    "FeatureDrift": counters.FEATURE,
    **dict.fromkeys(QUANTILES, counters.LATENCY),
}


@dataclass(frozen=True, slots=True)
class AnalysisRun:
    """One step of one rollout to analyze.

    Two equal runs share the same measurement data.
    """

    key: tuple[str, str]
    candidate: RevisionHash
    """Hash of the revision that is analyzed."""
    stable: RevisionHash | None
    """Hash of the revision that the candidate is compared with."""
    since: str
    """status.rollout.acceptedAt."""
    spec: AnalysisSpec
    uid: str = ""

    @property
    def interval(self) -> float:
        """Return the seconds between two measurements."""
        return max(LEAST_INTERVAL, duration.seconds(self.spec.interval))

    @property
    def window(self) -> float:
        """Return the seconds that a measurement looks back, at least one interval."""
        return max(self.interval, duration.seconds(self.spec.window))

    @property
    def warm_up(self) -> float:
        """Return the seconds at the start of the step that are not measured."""
        return duration.seconds(self.spec.warm_up)

    @property
    def timeout(self) -> float:
        """Return the seconds that one response may take."""
        timeout = self.spec.source.timeout
        return min(MOST_TIMEOUT, duration.seconds(timeout)) if timeout is not None else USUAL_TIMEOUT

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of counters that the metrics need.

        Requests are always counted.
        """
        return frozenset(
            {counters.REQUESTS, *(_KINDS[metric.type] for metric in self.spec.metrics if metric.type in _KINDS)}
        )

    @property
    def counted(self) -> bool:
        """Tell whether any metric uses counters of pods."""
        return any(metric.type in _KINDS for metric in self.spec.metrics)

    @property
    def paired(self) -> bool:
        """Tell whether any metric compares responses to the same requests."""
        return any(metric.type in PAIRED for metric in self.spec.metrics)

    @property
    def tolerances(self) -> frozenset[float]:
        """Return the differences that metrics of type Disagreement ignore."""
        return frozenset({0.0, *(metric.tolerance or 0.0 for metric in self.spec.metrics if metric.type in PAIRED)})

    @property
    def queries(self) -> tuple[AnalysisMetric, ...]:
        """Return the metrics that are PromQL queries."""
        return tuple(metric for metric in self.spec.metrics if metric.type == "Query")


def analysis_run(resource: ModelDeployment) -> AnalysisRun | None:
    """Return what to analyze of `resource` now, or None."""
    spec, rollout = resource.spec.rollout.analysis, resource.status.rollout
    if spec is None or rollout is None or rollout.candidate is None or rollout.accepted_at is None:
        return None
    if not rollout.phase.moving or resource.metadata.deletion_timestamp is not None:
        return None
    stable = resource.status.stable.revision if resource.status.stable is not None else None
    if stable == rollout.candidate:
        return None
    if not _mirrors(resource):
        spec = replace(spec, metrics=tuple(metric for metric in spec.metrics if metric.type not in PAIRED))
    return AnalysisRun(resource.key, rollout.candidate, stable, rollout.accepted_at, spec, resource.metadata.uid)


def _mirrors(resource: ModelDeployment) -> bool:
    """Tell whether the current step mirrors requests.

    Without a mirror, no request has two responses to compare.
    """
    rollout = resource.status.rollout
    index = rollout.step_index if rollout is not None else None
    steps = resource.spec.rollout.steps or ()
    return index is not None and share.after(steps[: index + 1]).mirror > 0


def filled(query: str, run: AnalysisRun, revision: RevisionHash, window: float) -> str:
    """Fill in the placeholders of a user's PromQL query.

    The values are names of Kubernetes objects, revision hashes and a duration. None of them can end a PromQL string.
    """
    values = {
        "namespace": run.key[0],
        "name": run.key[1],
        "revision": revision,
        "window": f"{max(1, int(window))}s",
    }
    for name, value in values.items():
        query = query.replace("{{" + name + "}}", value).replace("{{ " + name + " }}", value)
    return query


@dataclass(frozen=True, slots=True)
class AnalysisState:
    """The state of the analysis of one step, for users and metrics."""

    run: AnalysisRun
    reading: Reading
    shares: dict[str, float]
    """Percentage of the requests by revision, as the pods counted them within the window."""
