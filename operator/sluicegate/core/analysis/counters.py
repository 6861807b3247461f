"""Counters of scoring pods, converted to counts for a span of time.

The counters of a pod begin at zero when its container starts, and pods come and go. So only the growth of each pod's
own counters between two reads counts. The growths of a revision's pods add up to a total. The counts of a span are the
difference of two totals. They are never negative.
"""

from __future__ import annotations

import bisect
import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Series: TypeAlias = tuple[str, ...]
"""What a counter counts: ("requests", class), ("latency", upper bound), or ("feature" | "prediction", name, bin)."""
Counts: TypeAlias = Mapping[Series, float]

REQUESTS, LATENCY, FEATURE, PREDICTION = "requests", "latency", "feature", "prediction"


@dataclass(frozen=True, slots=True)
class PodCounts:
    """The counters of one pod at one moment."""

    counts: Counts
    started: float = 0.0
    """When the process of the pod started. Another value means that the counters began again."""


def growth(before: PodCounts, after: PodCounts) -> Counts:
    """Return what a pod counted between two reads.

    This is all of `after` if the counters began again in between. A counter that did not grow is included with 0,
    because a bucket without requests is still a bound of the histogram.
    """
    old = before.counts
    if before.started != after.started or any(after.counts.get(series, 0.0) < value for series, value in old.items()):
        return after.counts
    return {series: value - old.get(series, 0.0) for series, value in after.counts.items()}


def added(left: Counts, right: Counts) -> Counts:
    """Return the sum of two sets of counts."""
    total = dict(left)
    for series, value in right.items():
        total[series] = total.get(series, 0.0) + value
    return total


def since(earlier: Counts, later: Counts) -> Counts:
    """Return what was added to a total between two moments."""
    return {series: value - earlier.get(series, 0.0) for series, value in later.items()}


@dataclass(frozen=True, slots=True)
class Side:
    """Counts of one revision in the two spans that a measurement looks at."""

    recent: Counts = field(default_factory=dict)
    """Within the window. Profiles are not included, because a distribution needs all available rows."""
    step: Counts = field(default_factory=dict)
    """Since the measured part of the step began."""


_MARKS = 16
"""Number of totals to keep for one window, however short the interval is."""


@dataclass(slots=True)
class Ledger:
    """Counts of the pods of one revision since the measured part of a step began.

    It keeps the last counters of each pod, and a few totals within `window` seconds. A measurement needs no more.
    """

    window: float
    pods: dict[str, PodCounts] = field(default_factory=dict)
    total: Counts = field(default_factory=dict)
    marks: deque[tuple[float, Counts]] = field(default_factory=deque)
    """(time, total without profiles). The first one is as old as the window, or is the first total of all."""

    def look(self, at: float, seen: Mapping[str, PodCounts]) -> None:
        """Record the counters of the pods that responded at the time `at`.

        The first read of a pod only records where its counters are. What they counted before may belong to another
        step. A pod that did not respond keeps its entry. A pod that no longer exists loses it (see `forget`).
        """
        for pod, counted in seen.items():
            before = self.pods.get(pod)
            if before is not None:
                self.total = added(self.total, growth(before, counted))
            self.pods[pod] = counted
        if not self.marks or at - self.marks[-1][0] >= self.window / _MARKS:
            self.marks.append((at, _without_profiles(self.total)))
        while len(self.marks) > 1 and self.marks[1][0] <= at - self.window:
            self.marks.popleft()

    def forget(self, existing_pods: Iterable[str]) -> None:
        """Drop the pods that are not in `existing_pods`, and keep what they counted."""
        for gone in self.pods.keys() - set(existing_pods):
            del self.pods[gone]

    @property
    def side(self) -> Side:
        """Return the counts in the window and in the step."""
        recent = since(self.marks[0][1], _without_profiles(self.total)) if self.marks else {}
        return Side(recent, self.total)


def _without_profiles(counts: Counts) -> Counts:
    return {series: value for series, value in counts.items() if series[0] in (REQUESTS, LATENCY)}


def requests(counts: Counts) -> float:
    """Return the number of requests that got a response."""
    return sum(value for series, value in counts.items() if series[0] == REQUESTS)


def failed(counts: Counts, classes: Iterable[str]) -> float:
    """Return the number of requests that failed with one of `classes`.

    An error class without a counter adds nothing.
    """
    return sum(counts.get((REQUESTS, error_class), 0.0) for error_class in classes)


def columns(counts: Counts, kind: str) -> dict[str, dict[str, float]]:
    """Return the binned columns of a kind, as name -> bin -> number of values."""
    bins: dict[str, dict[str, float]] = {}
    for series, value in counts.items():
        if series[0] == kind:
            bins.setdefault(series[1], {})[series[2]] = value
    return bins


@dataclass(frozen=True, slots=True)
class Histogram:
    """Distribution of the request latencies."""

    bounds: tuple[float, ...]
    """Upper bounds in seconds, ascending. The last one is infinite."""
    within: tuple[float, ...]
    """Number of requests that took no longer than each bound."""

    @classmethod
    def of(cls, counts: Counts) -> Histogram:
        """Return the histogram in `counts`.

        The buckets are cumulative, as in Prometheus.
        """
        rising = sorted((float(series[1]), value) for series, value in counts.items() if series[0] == LATENCY)
        # The pods' counts never fall from one bucket to the next, because a restarted pod is counted in whole.
        # Sums that Prometheus computes may fall, because of rounding.
        return cls(
            tuple(bound for bound, _ in rising), tuple(itertools.accumulate((value for _, value in rising), max))
        )

    @property
    def total(self) -> float:
        """Return the number of all requests in the histogram."""
        return self.within[-1] if self.within else 0.0

    def slower(self, bound: float) -> float:
        """Return the number of requests that certainly took longer than `bound`.

        `bound` need not be one of the histogram's bounds.
        """
        place = bisect.bisect_left(self.bounds, bound)
        return self.total - self.within[place] if place < len(self.bounds) else 0.0

    def next_bound(self, value: float) -> float:
        """Return the smallest bound that is not below `value`, or infinity.

        The histogram can tell only its bounds from other values.
        """
        place = bisect.bisect_left(self.bounds, value)
        return self.bounds[place] if place < len(self.bounds) else float("inf")

    def last_bound(self, value: float) -> float:
        """Return the largest bound that is not above `value`, or 0 if there is none."""
        place = bisect.bisect_right(self.bounds, value)
        return self.bounds[place - 1] if place else 0.0

    def quantile(self, share: float) -> float | None:
        """Return the latency that `share` of the requests did not exceed.

        The latencies are assumed to be evenly distributed within a bucket. The result is None if there are no requests.
        """
        if self.total <= 0:
            return None
        rank = share * self.total
        place = bisect.bisect_left(self.within, rank)
        lower = self.bounds[place - 1] if place else 0.0
        if self.bounds[place] == float("inf"):
            return lower
        before = self.within[place - 1] if place else 0.0
        return lower + (self.bounds[place] - lower) * (rank - before) / (self.within[place] - before)
