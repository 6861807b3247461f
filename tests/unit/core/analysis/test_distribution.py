"""PSI and KS of binned values, also where the bins of two versions differ."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.core.analysis.distribution import align, drift, ks, psi

EDGES = [-1.2, -0.8, -0.5, -0.25, 0.0, 0.25, 0.5, 0.8, 1.2]
"""The approximate deciles of the normal distribution."""


def numbers(values: Iterable[float], edges: Iterable[float] = EDGES, missing: int = 0) -> dict[str, float]:
    counted = {repr(edge): 0.0 for edge in edges} | {"+Inf": 0.0, "null": float(missing)}
    for value in values:
        counted[next((repr(edge) for edge in edges if value <= edge), "+Inf")] += 1
    return counted


def normal(seed: int, count: int, mean: float = 0.0, width: float = 1.0) -> list[float]:
    rolls = random.Random(seed)
    return [rolls.gauss(mean, width) for _ in range(count)]


def test_psi_and_ks_by_hand() -> None:
    assert psi([50, 50], [50, 50]) == (0.0, 1)
    index, freedom = psi([499.5, 499.5], [749.5, 249.5])
    assert index == pytest.approx(0.25 * 1.0986, abs=1e-3)
    assert freedom == 1
    assert psi([10, 0, 10], [10, 0, 10]) == (0.0, 1)
    assert ks([50, 50, 0], [50, 0, 50], ordered=True) == 0.5
    assert ks([50, 50, 0], [25, 50, 25], ordered=False) == 0.25
    assert ks([0, 0], [1, 1], ordered=True) == 0


@pytest.mark.parametrize("statistic", ["PSI", "KS"])
def test_the_same_distribution_is_never_proven_to_have_drifted(statistic: str) -> None:
    limit = 0.1
    for seed in range(25):
        for count in (30, 100, 1000):
            stable, candidate = numbers(normal(seed, 2000)), numbers(normal(1000 + seed, count))
            assert not drift(stable, candidate, statistic, limit).over


@pytest.mark.parametrize(("statistic", "limit"), [("PSI", 0.2), ("KS", 0.15)])
def test_a_shift_is_proven_by_enough_rows(statistic: str, limit: float) -> None:
    stable = numbers(normal(1, 20_000))
    far = drift(stable, numbers(normal(2, 2000, mean=1.0)), statistic, limit)
    assert far.over
    assert far.value > limit
    few = drift(stable, numbers(normal(2, 12, mean=0.7)), statistic, limit)
    assert not few.over


def test_few_rows_do_not_look_like_drift() -> None:
    values = [
        drift(numbers(normal(seed, 3000)), numbers(normal(seed + 500, 150)), "PSI", 0.2).value for seed in range(20)
    ]
    assert sum(values) / len(values) < 0.03


def test_bins_of_other_edges_are_carried_over() -> None:
    other = [edge * 1.1 + 0.05 for edge in EDGES]
    for seed in range(10):
        same = drift(numbers(normal(seed, 3000)), numbers(normal(seed + 99, 5000), other), "PSI", 0.1)
        assert not same.over
        assert same.value < 0.1
    for mean in (3.0, -3.0):
        assert drift(numbers(normal(1, 5000)), numbers(normal(2, 5000, mean), other), "PSI", 0.2).over
    far = [edge + 100 for edge in EDGES]
    assert drift(numbers(normal(1, 500)), numbers(normal(2, 500, 100), far), "PSI", 0.2).over
    assert drift(numbers(normal(1, 500)), numbers(normal(2, 500, 100), far), "KS", 0.2).value > 0.7


def test_values_that_are_missing_are_a_drift() -> None:
    assert drift(numbers(normal(1, 2000)), numbers(normal(2, 1000), missing=1000), "PSI", 0.2).over


def test_categories_in_the_bins_that_both_have() -> None:
    stable = {"red": 500.0, "blue": 400.0, "green": 100.0, "other": 0.0, "null": 0.0}
    same = {"red": 510.0, "blue": 395.0, "other": 95.0, "null": 0.0}
    assert not drift(stable, same, "PSI", 0.1).over
    assert drift(stable, same, "PSI", 0.1).value < 0.01
    other = {"red": 100.0, "blue": 800.0, "other": 100.0, "null": 0.0}
    assert drift(stable, other, "PSI", 0.2).over
    assert drift(stable, other, "KS", 0.2).value == pytest.approx(0.4)


def test_texts_instead_of_numbers_are_all_different() -> None:
    assert drift(numbers(normal(1, 500)), {"a": 500.0, "other": 0.0, "null": 0.0}, "PSI", 0.2).over


def test_among_many_columns_one_is_far_off_by_chance() -> None:
    stable, candidate = numbers(normal(1, 3000)), numbers(normal(2, 260, mean=0.75))
    assert drift(stable, candidate, "KS", 0.1, columns=1).over
    assert not drift(stable, candidate, "KS", 0.1, columns=10**9).over


edges = st.lists(st.floats(-5, 5), min_size=1, max_size=9, unique=True).map(sorted)
counted = st.lists(st.integers(0, 100), min_size=11, max_size=11)


@given(edges, edges, counted, counted)
def test_carrying_over_loses_no_value(
    ours: list[float], theirs: list[float], here: list[int], there: list[int]
) -> None:
    stable, candidate = (
        dict(zip([*map(repr, each), "+Inf", "null"], map(float, values), strict=False))
        for each, values in ((ours, here), (theirs, there))
    )
    both = align(stable, candidate)
    for side in (both.estimated, both.nearest):
        assert len(side) == len(both.stable)
        assert min(side) >= -1e-9
        assert sum(side) == pytest.approx(sum(candidate.values()), abs=1e-6)
    for statistic in ("PSI", "KS"):
        found = drift(stable, candidate, statistic, 0.2)
        assert found.value >= 0
