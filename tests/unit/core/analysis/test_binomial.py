"""The guarantees of the binomial bounds."""

import math
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.core.analysis import binomial


def exact(hits: int, tries: int, share: Fraction) -> float:
    return float(
        sum(
            math.comb(tries, number) * share**number * (1 - share) ** (tries - number)
            for number in range(hits, tries + 1)
        )
    )


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 100))
def test_the_tail_is_the_binomial_distributions(hits: int, tries: int, percent: int) -> None:
    found = binomial.p_value(hits, tries, percent / 100)
    assert found == pytest.approx(exact(hits, tries, Fraction(percent, 100)), abs=1e-12)


@given(st.integers(1, 100_000), st.floats(0.0001, 0.9999), st.data())
def test_more_hits_are_never_more_probable(tries: int, share: float, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, tries))
    assert binomial.p_value(hits + 1, tries, share) <= binomial.p_value(hits, tries, share) + 1e-9


def test_a_large_sample_takes_no_time() -> None:
    assert binomial.p_value(12_000, 1_000_000, 0.01) < 1e-50
    assert binomial.p_value(10_000, 1_000_000, 0.01) == pytest.approx(0.5, abs=0.01)


def test_three_of_twenty_and_three_hundred_of_twenty_thousand() -> None:
    assert not binomial.above(3, 20, 0.01)
    assert binomial.above(300, 20_000, 0.01)
    assert not binomial.above(1, 100, 0.01)


def test_a_limit_of_zero_allows_nothing() -> None:
    assert binomial.above(1, 1000, 0.0)
    assert not binomial.above(0, 1000, 0.0)
    assert not binomial.below(0, 1000, 0.0)


@given(st.integers(0, 300), st.integers(1, 300), st.floats(0.001, 0.999))
def test_nothing_is_proven_both_ways(hits: int, tries: int, limit: float) -> None:
    hits = min(hits, tries)
    assert not (binomial.above(hits, tries, limit) and binomial.below(hits, tries, limit))


def test_two_sides_with_the_same_rate_are_seldom_told_apart() -> None:
    """Check the rate of false alarms at exactly the limit of the ratio.

    This is the worst case. One measurement in a thousand may report that the ratio is above the limit.
    """
    rolls = random.Random(7)
    over = 0
    for _ in range(1000):
        mine = sum(rolls.random() < 0.02 for _ in range(200))
        theirs = sum(rolls.random() < 0.02 for _ in range(600))
        fair = binomial.relative_share(200, 600, 1.0)
        over += binomial.p_value(mine, mine + theirs, fair) <= binomial.SIGNIFICANCE
    assert over <= 4
