"""Counters become spans.

Pods restart, come and go. No difference is negative.
"""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.core.analysis.counters import LATENCY, REQUESTS, Histogram, Ledger, PodCounts, Series, failed, requests


def pod(ok: float, model: float = 0, started: float = 1) -> PodCounts:
    return PodCounts({(REQUESTS, ""): ok, (REQUESTS, "model"): model}, started)


def ledger(*looks: Mapping[str, PodCounts], window: float = 60) -> Ledger:
    found = Ledger(window)
    for number, seen in enumerate(looks):
        found.look(15.0 * number, seen)
    return found


def test_what_a_pod_counted_before_it_was_first_seen_is_not_counted() -> None:
    found = ledger({"a": pod(1000, 900)}, {"a": pod(1010, 901), "b": pod(500)}, {"a": pod(1010, 901), "b": pod(507)})
    assert (requests(found.total), failed(found.total, ["model"])) == (18, 1)


def test_a_container_that_restarted_counts_from_zero() -> None:
    by_value = ledger({"a": pod(1000)}, {"a": pod(30)})
    assert requests(by_value.total) == 30
    by_start = ledger({"a": pod(10)}, {"a": pod(30, started=2)})
    assert requests(by_start.total) == 30


def test_a_pod_that_is_gone_leaves_what_it_counted_and_one_of_its_name_begins_anew() -> None:
    found = ledger({"a": pod(0)}, {"a": pod(50)})
    found.forget([])
    found.look(30, {"a": pod(80)})
    found.look(45, {"a": pod(81)})
    assert requests(found.total) == 51


def test_a_pod_that_does_not_answer_for_a_while_is_counted_when_it_does() -> None:
    assert requests(ledger({"a": pod(0)}, {}, {}, {"a": pod(9)}).total) == 9


def test_the_window_forgets_and_the_step_does_not() -> None:
    found = Ledger(60)
    for number in range(20):
        found.look(15.0 * number, {"a": pod(10 * number)})
    assert requests(found.side.step) == 190
    assert requests(found.side.recent) == 40


def test_a_short_interval_keeps_few_totals() -> None:
    found = Ledger(3600)
    for number in range(5000):
        found.look(float(number), {"a": pod(number)})
    assert len(found.marks) < 20
    assert 3600 <= requests(found.side.recent) <= 3600 + 226


def test_profiles_are_kept_for_the_step_alone() -> None:
    series: Series = ("feature", "x", "1.0")
    found = ledger({"a": PodCounts({series: 0})}, {"a": PodCounts({series: 7})})
    assert found.side.step[series] == 7
    assert series not in found.side.recent


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.tuples(*[st.integers(0, 9)] * 3)), max_size=30))
def test_nothing_is_ever_negative_and_the_window_is_part_of_the_step(looks: list[dict[str, tuple[int, ...]]]) -> None:
    found = Ledger(45)
    for number, seen in enumerate(looks):
        found.look(15.0 * number, {name: pod(ok, model, started) for name, (ok, model, started) in seen.items()})
        found.forget(seen)
        side = found.side
        for each, value in side.step.items():
            assert 0 <= side.recent.get(each, 0) <= value


def latency(*cumulative: tuple[float, float]) -> Histogram:
    return Histogram.of({(LATENCY, repr(bound)): value for bound, value in cumulative})


def test_quantiles() -> None:
    found = latency((0.1, 50), (0.2, 90), (0.4, 100), (float("inf"), 100))
    assert found.quantile(0.5) == pytest.approx(0.1)
    assert found.quantile(0.95) == pytest.approx(0.3)
    assert found.quantile(0.25) == pytest.approx(0.05)
    assert latency().quantile(0.5) is None
    assert latency((0.1, 0), (float("inf"), 0)).quantile(0.5) is None
    # A histogram cannot show more than its largest finite bound.
    assert latency((0.1, 10), (float("inf"), 100)).quantile(0.99) == 0.1


def test_a_limit_between_two_bounds_is_taken_at_the_upper_one() -> None:
    found = latency((0.1, 50), (0.2, 90), (0.4, 100), (float("inf"), 100))
    assert found.slower(0.1) == 50
    assert found.slower(0.15) == found.slower(0.2) == 10
    assert found.next_bound(0.15) == 0.2
    assert found.last_bound(0.15) == 0.1
    assert found.last_bound(0.01) == 0


def test_a_bucket_that_nothing_fell_into_is_a_bound_all_the_same() -> None:
    before = PodCounts({(LATENCY, "0.1"): 5, (LATENCY, "0.2"): 9, (LATENCY, "inf"): 9})
    after = PodCounts({(LATENCY, "0.1"): 5, (LATENCY, "0.2"): 19, (LATENCY, "inf"): 19})
    assert Histogram.of(ledger({"a": before}, {"a": after}).side.recent).slower(0.05) == 10


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_quantiles_rise(rises: list[int], one: float, other: float) -> None:
    found = latency(*((bound, sum(rises[: place + 1])) for place, bound in enumerate((0.1, 0.2, 0.4, float("inf")))))
    low, high = found.quantile(min(one, other)), found.quantile(max(one, other))
    assert (low is None) == (high is None) == (sum(rises) == 0)
    if low is not None and high is not None:
        assert low <= high + 1e-9
