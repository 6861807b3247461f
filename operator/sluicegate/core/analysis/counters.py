"""Counters of scoring pods, made into what happened in a span of time.

A pod's counters begin at zero when its container starts, and pods come and go. So only the growth of each pod's own counters between
two looks counts; the growths of a side's pods add up to a total, and a span is the difference of two totals. Nothing here is ever
negative.
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
    """One pod's counters at one moment."""

    counts: Counts
    started: float = 0.0
    """When its process started: another value is another life of the counters."""


def growth(before: PodCounts, after: PodCounts) -> Counts:
    """What was counted between two looks at a pod; all of `after` where the counters began anew in between.

    What did not grow is there with 0: a bucket without requests is a bound all the same.
    """
    old = before.counts
    if before.started != after.started or any(after.counts.get(each, 0.0) < value for each, value in old.items()):
        return after.counts
    return {each: value - old.get(each, 0.0) for each, value in after.counts.items()}


def added(left: Counts, right: Counts) -> Counts:
    """The sum of two."""
    total = dict(left)
    for each, value in right.items():
        total[each] = total.get(each, 0.0) + value
    return total


def since(earlier: Counts, later: Counts) -> Counts:
    """What came to a total between two moments."""
    return {each: value - earlier.get(each, 0.0) for each, value in later.items()}


@dataclass(frozen=True, slots=True)
class Side:
    """What one revision counted, in the two spans that a judgement looks at."""

    recent: Counts = field(default_factory=dict)
    """Within the window. Profiles are not in it: a distribution needs all the rows that there are."""
    step: Counts = field(default_factory=dict)
    """Since the step's judged time began."""


_MARKS = 16
"""Totals kept for one window, however short the interval is."""


@dataclass(slots=True)
class Ledger:
    """What the pods of one revision have counted since a step's judged time began.

    It keeps each pod's last counters, and a few totals within `window` seconds: what a judgement needs, and no more.
    """

    window: float
    pods: dict[str, PodCounts] = field(default_factory=dict)
    total: Counts = field(default_factory=dict)
    marks: deque[tuple[float, Counts]] = field(default_factory=deque)
    """(time, total without profiles); the first one is as old as the window, or the beginning."""

    def look(self, at: float, seen: Mapping[str, PodCounts]) -> None:
        """Takes the counters of the pods that answered at the time `at`.

        A pod that is seen for the first time only says where its counters stand: what they counted before may be of another step.
        One that did not answer keeps its place, and one that is gone loses it (see `forget`).
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

    def forget(self, there: Iterable[str]) -> None:
        """Drops the pods that are not `there` any more; what they counted stays."""
        for gone in self.pods.keys() - set(there):
            del self.pods[gone]

    @property
    def side(self) -> Side:
        """The two spans."""
        recent = since(self.marks[0][1], _without_profiles(self.total)) if self.marks else {}
        return Side(recent, self.total)


def _without_profiles(counts: Counts) -> Counts:
    return {each: value for each, value in counts.items() if each[0] in (REQUESTS, LATENCY)}


def requests(counts: Counts) -> float:
    """How many requests were answered."""
    return sum(value for each, value in counts.items() if each[0] == REQUESTS)


def failed(counts: Counts, classes: Iterable[str]) -> float:
    """How many of them failed, of the given error classes; a class that nobody knows is in none of them."""
    return sum(counts.get((REQUESTS, each), 0.0) for each in classes)


def columns(counts: Counts, kind: str) -> dict[str, dict[str, float]]:
    """The binned columns of a kind: name -> bin -> values."""
    found: dict[str, dict[str, float]] = {}
    for each, value in counts.items():
        if each[0] == kind:
            found.setdefault(each[1], {})[each[2]] = value
    return found


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many requests took how long."""

    bounds: tuple[float, ...]
    """Upper bounds in seconds, ascending; the last one is infinite."""
    within: tuple[float, ...]
    """Requests that took no longer than each."""

    @classmethod
    def of(cls, counts: Counts) -> Histogram:
        """The histogram in `counts`, whose buckets are cumulative, as Prometheus has them."""
        rising = sorted((float(each[1]), value) for each, value in counts.items() if each[0] == LATENCY)
        # Pods that restarted are taken in whole, so a bucket is never below the one before it; Prometheus' own sums may be, by a rounding.
        return cls(
            tuple(bound for bound, _ in rising), tuple(itertools.accumulate((value for _, value in rising), max))
        )

    @property
    def total(self) -> float:
        """All requests in it."""
        return self.within[-1] if self.within else 0.0

    def slower(self, bound: float) -> float:
        """Requests that surely took longer than `bound`, which need not be a bound of the histogram."""
        place = bisect.bisect_left(self.bounds, bound)
        return self.total - self.within[place] if place < len(self.bounds) else 0.0

    def next_bound(self, value: float) -> float:
        """The smallest bound not below `value`: what the histogram can tell from other values."""
        place = bisect.bisect_left(self.bounds, value)
        return self.bounds[place] if place < len(self.bounds) else float("inf")

    def last_bound(self, value: float) -> float:
        """The largest bound not above `value`; 0 where there is none."""
        place = bisect.bisect_right(self.bounds, value)
        return self.bounds[place - 1] if place else 0.0

    def quantile(self, share: float) -> float | None:
        """The value that `share` of the requests did not exceed, taken as even within a bucket; None where there are none."""
        if self.total <= 0:
            return None
        wanted = share * self.total
        place = bisect.bisect_left(self.within, wanted)
        lower = self.bounds[place - 1] if place else 0.0
        if self.bounds[place] == float("inf"):
            return lower
        before = self.within[place - 1] if place else 0.0
        return lower + (self.bounds[place] - lower) * (wanted - before) / (self.within[place] - before)
