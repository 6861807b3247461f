"""What is judged: which revision against which, since when, by what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from sluicegate.api import duration
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.rollout import AnalysisMetric, AnalysisSpec
from sluicegate.core.analysis import counters
from sluicegate.core.analysis.judge import QUANTILES
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
class Subject:
    """One step of one rollout. Two that are equal are judged from the same evidence."""

    key: tuple[str, str]
    target: str
    """Hash of the revision that is judged."""
    stable: str | None
    """Hash of the revision that it is compared with."""
    since: str
    """status.rollout.acceptedAt."""
    spec: AnalysisSpec
    uid: str = ""

    @property
    def interval(self) -> float:
        """Seconds between two judgements."""
        return max(LEAST_INTERVAL, duration.seconds(self.spec.interval))

    @property
    def window(self) -> float:
        """Seconds that a judgement looks back; an interval at least."""
        return max(self.interval, duration.seconds(self.spec.window))

    @property
    def warm_up(self) -> float:
        """Seconds at the step's beginning that are not judged."""
        return duration.seconds(self.spec.warm_up)

    @property
    def timeout(self) -> float:
        """Seconds that one answer may take."""
        told = self.spec.source.timeout
        return min(MOST_TIMEOUT, duration.seconds(told)) if told is not None else USUAL_TIMEOUT

    @property
    def kinds(self) -> frozenset[str]:
        """Which counters its metrics need; requests are always counted."""
        return frozenset({counters.REQUESTS, *(_KINDS[each.type] for each in self.spec.metrics if each.type in _KINDS)})

    @property
    def counted(self) -> bool:
        """Whether any metric is made from counters of pods."""
        return any(each.type in _KINDS for each in self.spec.metrics)

    @property
    def paired(self) -> bool:
        """Whether any metric compares answers to the same requests."""
        return any(each.type in PAIRED for each in self.spec.metrics)

    @property
    def tolerances(self) -> frozenset[float]:
        """Differences that metrics of type Disagreement take for none."""
        return frozenset({0.0, *(each.tolerance or 0.0 for each in self.spec.metrics if each.type in PAIRED)})

    @property
    def queries(self) -> tuple[AnalysisMetric, ...]:
        """The metrics that are PromQL."""
        return tuple(each for each in self.spec.metrics if each.type == "Query")


def subject_of(resource: ModelDeployment) -> Subject | None:
    """What is to be judged of `resource` now; None where nothing is."""
    spec, rollout = resource.spec.rollout.analysis, resource.status.rollout
    if spec is None or rollout is None or rollout.target is None or rollout.accepted_at is None:
        return None
    if not rollout.phase.moving or resource.metadata.deletion_timestamp is not None:
        return None
    stable = resource.status.stable.revision if resource.status.stable is not None else None
    if stable == rollout.target:
        return None
    if not _mirrors(resource):
        spec = replace(spec, metrics=tuple(each for each in spec.metrics if each.type not in PAIRED))
    return Subject(resource.key, rollout.target, stable, rollout.accepted_at, spec, resource.metadata.uid)


def _mirrors(resource: ModelDeployment) -> bool:
    """Whether requests are copied at the present step: else no request has two answers, and none can be compared."""
    rollout = resource.status.rollout
    index = rollout.step_index if rollout is not None else None
    steps = resource.spec.rollout.steps or ()
    return index is not None and share.after(steps[: index + 1]).mirror > 0


def filled(query: str, subject: Subject, revision: str, window: float) -> str:
    """A user's PromQL with its placeholders filled in; the values are names of Kubernetes, so they cannot end a string."""
    values = {
        "namespace": subject.key[0],
        "name": subject.key[1],
        "revision": revision,
        "window": f"{max(1, int(window))}s",
    }
    for name, value in values.items():
        query = query.replace("{{" + name + "}}", value).replace("{{ " + name + " }}", value)
    return query


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of one step, for people and metrics."""

    subject: Subject
    reading: Reading
    shares: dict[str, float]
    """Percent of the requests by revision, as the pods counted them within the window."""
