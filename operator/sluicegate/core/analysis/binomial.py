"""Statistical tests that tell a worse version from random variation.

Each test is exact, or errs toward "not proven". To roll back a good version costs more trust than to hold a bad one a
little longer.
"""

from __future__ import annotations

import math

SIGNIFICANCE = 0.001
"""Significance level: how often, at most, one measurement of a version exactly at its limit says that it is over the
limit. A step has tens of measurements of several metrics, so this level has to be small."""


def p_value(events: float, sample: float, share: float) -> float:
    """Return the p-value of `events` events among `sample` requests.

    It is the probability of at least so many events, if each request is an event with probability `share`. This is the
    upper tail of the binomial distribution.
    """
    count, total = round(events), round(sample)
    if count <= 0:
        return 1.0
    if count > total or share <= 0.0:
        return 0.0
    if share >= 1.0:
        return 1.0
    if count <= total * share:  # the tail is the larger part: sum the smaller rest instead
        return 1.0 - _sum_up(total - count + 1, total, 1.0 - share)
    return _sum_up(count, total, share)


def _sum_up(count: int, total: int, share: float) -> float:
    """Sum the upper tail, starting above the mean, where terms only shrink."""
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


def above(events: float, sample: float, limit: float) -> bool:
    """Tell whether the share behind `events` of `sample` is proven to be over `limit`."""
    return events > limit * sample and p_value(events, sample, limit) <= SIGNIFICANCE


def below(events: float, sample: float, limit: float) -> bool:
    """Tell whether the share behind `events` of `sample` is proven to be under `limit`."""
    return events < limit * sample and p_value(sample - events, sample, 1.0 - limit) <= SIGNIFICANCE


RATIO_SIGNIFICANCE = 0.2
"""Significance level of an excess over a ratio. What is more probable than this counts as random variation. Without
this level, one good version in six is over a ratio of 1.5 at any time if failures are rare, and the operator holds
it."""


def relative_share(sample: float, other_sample: float, ratio: float) -> float:
    """Return the share of all events that falls to the first side at `ratio`.

    At this share, the rate of the first side is exactly `ratio` times the rate of the other. Given the number of events
    of both sides together, the events of one side are binomial with this share, whatever the rate is. This is exact for
    rare events. For frequent events, the random variation is smaller than the test allows for.

    Args:
        sample: Sample size of the first side.
        other_sample: Sample size of the other side.
        ratio: Rate of the first side, divided by the rate of the other.
    """
    return ratio * sample / (ratio * sample + other_sample)


def most_events(sample: float, other_events: float, other_sample: float, ratio: float) -> int:
    """Return the largest number of events in `sample` that is within `ratio`.

    The ratio is relative to the rate of another side, which had `other_events` among `other_sample`. The result is the
    number by the ratio alone, or a larger one that random variation often causes. It is at least one, because a single
    event is no excess.
    """
    fair = relative_share(sample, other_sample, ratio)
    plain = max(1, math.floor(ratio * other_events / other_sample * sample + 1e-9))
    low, high = plain, plain + 4 + math.ceil(2.0 * math.sqrt(plain + other_events))
    while low < high:
        middle = (low + high + 1) // 2
        if p_value(middle, middle + other_events, fair) > RATIO_SIGNIFICANCE:
            low = middle
        else:
            high = middle - 1
    return low


def _log_level(tests: int) -> float:
    """Return the negative logarithm of the significance level of one column.

    The significance level is divided among `tests` columns. The logarithm is natural.
    """
    return math.log(max(1, tests) / SIGNIFICANCE)


def psi_above(psi: float, limit: float, freedom: int, spread: float, tests: int = 1) -> bool:
    """Tell whether a population stability index is proven to be over `limit`.

    `spread` is 1/n + 1/m for the sample sizes n and m. The index is `spread` times a noncentral chi-squared variable.
    The test uses Birgé's bound of the upper tail of that variable. It holds for any sample size.
    """
    if spread <= 0:
        return psi > limit
    centre, x = limit / spread, _log_level(tests)
    return psi / spread > freedom + centre + 2.0 * math.sqrt((freedom + 2.0 * centre) * x) + 2.0 * x


def ks_above(distance: float, limit: float, spread: float, tests: int = 1) -> bool:
    """Tell whether a Kolmogorov-Smirnov distance is proven to be over `limit`.

    The test uses the bound of Dvoretzky, Kiefer and Wolfowitz.
    """
    return distance - math.sqrt(spread / 2.0 * (_log_level(tests) + math.log(2.0))) > limit
