"""Distance between two binned distributions, as PSI or KS.

PSI is the population stability index. KS is the Kolmogorov-Smirnov distance of the bins.

Each version counts into the bins of its own reference profile, and two versions seldom have the same edges. So the
candidate's counts are converted to stable's bins in two ways: as an estimate (even within a bin), and as near to stable
as the counts allow. A difference that remains in the second way comes from the values, not from the edges.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sluicegate.core.analysis import binomial

Bins = Mapping[str, float]
_ABOVE, _MISSING, _OTHER = "+Inf", "null", "other"


@dataclass(frozen=True, slots=True)
class Aligned:
    """Counts of both versions in the same bins."""

    stable: tuple[float, ...]
    estimated: tuple[float, ...]
    """Counts of the candidate, as an estimate."""
    nearest: tuple[float, ...]
    """Counts of the candidate, as near to stable as its own bins allow."""
    ordered: bool
    """Whether the bins have an order, as numbers do. The last bin is for missing values."""


@dataclass(frozen=True, slots=True)
class Distance:
    """The result for one column."""

    value: float
    """The distance. For PSI, it is reduced by what random variation adds to it."""
    over: bool
    """Whether the distance is proven to be over the limit."""


def align(stable: Bins, candidate: Bins) -> Aligned:
    """Convert the counts of both versions to stable's bins.

    Categories use the bins that both versions have. One more bin is for all other categories, and one for missing
    values.
    """
    if _ABOVE in stable and _ABOVE in candidate:
        return _numbers(stable, candidate)
    if (_ABOVE in stable) != (_ABOVE in candidate):  # numbers became text, or text became numbers: no bins match
        apart = ((sum(stable.values()), 0.0), (0.0, sum(candidate.values())))
        return Aligned(apart[0], apart[1], apart[1], ordered=False)
    common = sorted((stable.keys() & candidate.keys()) - {_OTHER, _MISSING})
    old, new = (
        (*(side[name] for name in common), _rest(side, common), side.get(_MISSING, 0.0)) for side in (stable, candidate)
    )
    return Aligned(old, new, new, ordered=False)


def _rest(side: Bins, common: Sequence[str]) -> float:
    return sum(value for name, value in side.items() if name != _MISSING and name not in common)


def _numbers(stable: Bins, candidate: Bins) -> Aligned:
    edges, own = _edges(stable), _edges(candidate)
    old = (*(stable[name] for _, name in edges), stable[_ABOVE], stable.get(_MISSING, 0.0))
    if edges == own:
        new = (*(candidate[name] for _, name in own), candidate[_ABOVE], candidate.get(_MISSING, 0.0))
        return Aligned(old, new, new, ordered=True)
    all_old, all_new = sum(old), sum(candidate.values())
    rising = [0.0]
    for _, name in own:
        rising.append(rising[-1] + candidate[name])
    rising.append(rising[-1] + candidate[_ABOVE])
    points = [-math.inf, *(number for number, _ in own), math.inf]
    estimated, nearest, so_far = [0.0], [0.0], 0.0
    for number, name in edges:
        so_far += stable[name]
        like_stable = so_far / all_old * all_new if all_old else 0.0
        upper = bisect.bisect_left(points, number)
        lower = upper if points[upper] == number else upper - 1
        low, high = rising[lower], rising[upper]
        nearest.append(min(max(like_stable, low), high))
        width = points[upper] - points[lower]
        even = low + (high - low) * (number - points[lower]) / width if 0 < width < math.inf else nearest[-1]
        estimated.append(even)
    missing = candidate.get(_MISSING, 0.0)
    guessed, closest = ((*_steps([*cumulative, rising[-1]]), missing) for cumulative in (_rising(estimated), nearest))
    return Aligned(old, guessed, closest, ordered=True)


def _rising(values: list[float]) -> list[float]:
    """Return the values, each raised to the one before it if it is lower."""
    rising = values[:1]
    for value in values[1:]:
        rising.append(max(rising[-1], value))
    return rising


def _steps(rising: Sequence[float]) -> tuple[float, ...]:
    return tuple(after - before for before, after in pairwise(rising))


def _edges(bins: Bins) -> list[tuple[float, str]]:
    return sorted((float(name), name) for name in bins if name not in (_ABOVE, _MISSING))


def psi(stable: Sequence[float], candidate: Sequence[float]) -> tuple[float, int]:
    """Return the population stability index and its degrees of freedom.

    Half a value is added to each bin, so that an empty bin is improbable and not impossible.
    """
    used = [(old, new) for old, new in zip(stable, candidate, strict=True) if old or new]
    size = 0.5 * len(used)
    before, after = sum(old for old, _ in used) + size, sum(new for _, new in used) + size
    total = 0.0
    for old, new in used:
        p, q = (old + 0.5) / before, (new + 0.5) / after
        total += (q - p) * math.log(q / p)
    return total, max(0, len(used) - 1)


def ks(stable: Sequence[float], candidate: Sequence[float], ordered: bool) -> float:
    """Return the Kolmogorov-Smirnov distance of two binned distributions.

    It is the largest difference of the shares below any edge. For categories, it is the largest difference of the
    shares of any one category.
    """
    before, after = sum(stable), sum(candidate)
    if not before or not after:
        return 0.0
    largest = below = 0.0
    for old, new in zip(stable, candidate, strict=True):
        difference = new / after - old / before
        below = below + difference if ordered else difference
        largest = max(largest, abs(below))
    return largest


def drift(stable: Bins, candidate: Bins, statistic: str, limit: float, columns: int = 1) -> Distance:
    """Return how far a column has drifted, and whether that is proven.

    Args:
        stable: Bins of stable.
        candidate: Bins of the candidate.
        statistic: PSI or KS.
        limit: The largest value that is allowed.
        columns: Number of columns that are tested. Among many columns, random variation puts some far from stable.
    """
    both = align(stable, candidate)
    spread = 1.0 / max(1.0, sum(both.stable)) + 1.0 / max(1.0, sum(both.nearest))
    if statistic == "KS":
        tests = columns * len(both.stable)
        over = binomial.ks_above(ks(both.stable, both.nearest, both.ordered), limit, spread, tests)
        return Distance(ks(both.stable, both.estimated, both.ordered), over)
    index, freedom = psi(both.stable, both.estimated)
    surely, free = psi(both.stable, both.nearest)
    return Distance(max(0.0, index - spread * freedom), binomial.psi_above(surely, limit, free, spread, columns))
