"""What chance alone does: the bounds by which a judgement tells a worse version from bad luck.

Everything is exact or errs to the side of "not proven": a good version that is rolled back costs more trust than a bad one that
holds a little longer.
"""

from __future__ import annotations

import math

DOUBT = 0.001
"""How often, at most, one judgement of a version that is just at its limit says that it is over it. A step has tens of judgements of
several metrics, so this has to be small."""


def tail(hits: float, tries: float, share: float) -> float:
    """Probability of at least `hits` of `tries`, each with probability `share`: the binomial distribution's upper tail."""
    count, total = round(hits), round(tries)
    if count <= 0:
        return 1.0
    if count > total or share <= 0.0:
        return 0.0
    if share >= 1.0:
        return 1.0
    if count <= total * share:  # most of it: sum up the smaller rest instead
        return 1.0 - _sum_up(total - count + 1, total, 1.0 - share)
    return _sum_up(count, total, share)


def _sum_up(count: int, total: int, share: float) -> float:
    """The upper tail from above the mean, where terms only shrink."""
    if count > total:
        return 0.0
    logarithm = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    term = math.exp(logarithm + count * math.log(share) + (total - count) * math.log1p(-share))
    odds, result = share / (1.0 - share), 0.0
    while count <= total and term > result * 1e-12:
        result += term
        term *= odds * (total - count) / (count + 1)
        count += 1
    return min(1.0, result)


def above(hits: float, tries: float, limit: float) -> bool:
    """Whether the share behind `hits` of `tries` is proven to be over `limit`."""
    return hits > limit * tries and tail(hits, tries, limit) <= DOUBT


def below(hits: float, tries: float, limit: float) -> bool:
    """Whether it is proven to be under `limit`."""
    return hits < limit * tries and tail(tries - hits, tries, 1.0 - limit) <= DOUBT


EVERYDAY = 0.2
"""How often chance brings about what is no sign of anything. Without it, one good version in six is over a ratio of 1.5 at any time where
failures are rare, and holds."""


def relative_share(tries: float, others: float, ratio: float) -> float:
    """Of all hits of two sides, the share that falls to the first where its rate is exactly `ratio` times the other's.

    Given how many hits there were altogether, those of one side are binomial with it, whatever the rate is (exact for rare hits;
    for frequent ones chance does less than this allows for).
    """
    return ratio * tries / (ratio * tries + others)


def most_hits(tries: float, theirs: float, others: float, ratio: float) -> int:
    """The most hits of `tries` that are within `ratio` times the rate of another side, which had `theirs` of `others`.

    That is the ratio itself, or what chance brings about every day; and always one, since one alone is no excess.
    """
    fair = relative_share(tries, others, ratio)
    plain = max(1, math.floor(ratio * theirs / others * tries + 1e-9))
    low, high = plain, plain + 4 + math.ceil(2.0 * math.sqrt(plain + theirs))
    while low < high:
        middle = (low + high + 1) // 2
        if tail(middle, middle + theirs, fair) > EVERYDAY:
            low = middle
        else:
            high = middle - 1
    return low


def _doubt_of(tests: int) -> float:
    """How improbable one of `tests` columns must be, as a natural logarithm."""
    return math.log(max(1, tests) / DOUBT)


def psi_above(psi: float, limit: float, freedom: int, spread: float, tests: int = 1) -> bool:
    """Whether a population stability index is proven to be over `limit`.

    With as many samples as `spread` says (1/n + 1/m), the index is `spread` times a noncentral chi-squared variable; this is Birgé's
    bound of its upper tail, which holds for any number of samples.
    """
    if spread <= 0:
        return psi > limit
    centre, x = limit / spread, _doubt_of(tests)
    return psi / spread > freedom + centre + 2.0 * math.sqrt((freedom + 2.0 * centre) * x) + 2.0 * x


def ks_above(distance: float, limit: float, spread: float, tests: int = 1) -> bool:
    """Whether a Kolmogorov-Smirnov distance is proven to be over `limit`: by the bound of Dvoretzky, Kiefer and Wolfowitz."""
    return distance - math.sqrt(spread / 2.0 * (_doubt_of(tests) + math.log(2.0))) > limit
