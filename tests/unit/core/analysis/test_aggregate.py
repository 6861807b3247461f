"""Consecutive failures, and the outcome of all metrics together."""

from hypothesis import given
from hypothesis import strategies as st
from sluicegate.core.analysis.aggregate import Streaks, concluded, streaks
from sluicegate.core.snapshot.analysis_result import Measurement, Outcome

PASSED, FAILED, OPEN = Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE


def history(*looks: dict[str, Outcome], limit: int = 2, dry: str = "") -> list[tuple[Outcome, str | None]]:
    failed: Streaks = {}
    found = []
    for look in looks:
        measured = [Measurement(name, outcome, dry_run=name == dry) for name, outcome in look.items()]
        failed = streaks(failed, measured)
        outcome, decisive = concluded(failed, measured, limit)
        found.append((outcome, decisive.metric if decisive is not None else None))
    return found


def test_failures_in_a_row_above_the_limit_fail() -> None:
    assert history({"a": FAILED}, {"a": FAILED}) == [(OPEN, "a"), (FAILED, "a")]
    assert history({"a": FAILED}, {"a": PASSED}, {"a": FAILED}) == [(OPEN, "a"), (PASSED, None), (OPEN, "a")]
    assert history({"a": FAILED}, limit=1) == [(FAILED, "a")]


def test_an_inconclusive_one_between_neither_counts_nor_clears() -> None:
    assert history({"a": FAILED}, {"a": OPEN}, {"a": FAILED})[-1] == (FAILED, "a")
    assert history({"a": FAILED}, {"a": FAILED}, {"a": OPEN})[-1] == (OPEN, "a")


def test_different_metrics_do_not_add_up() -> None:
    assert history({"a": FAILED, "b": PASSED}, {"a": PASSED, "b": FAILED})[-1] == (OPEN, "b")


def test_passing_takes_all_that_decide() -> None:
    assert history({"a": PASSED, "b": OPEN}) == [(OPEN, "b")]
    assert history({"a": OPEN, "b": FAILED}) == [(OPEN, "b")]
    assert history({"a": PASSED, "b": PASSED}) == [(PASSED, None)]
    assert history({}) == [(PASSED, None)]


def test_a_dry_run_decides_nothing() -> None:
    assert history({"a": PASSED, "b": FAILED}, {"a": PASSED, "b": FAILED}, dry="b")[-1] == (PASSED, None)


@given(st.lists(st.sampled_from([PASSED, FAILED, OPEN]), min_size=1, max_size=30), st.integers(1, 5))
def test_failed_means_a_run_of_failures_without_a_pass(looks: list[Outcome], limit: int) -> None:
    found = history(*({"a": look} for look in looks), limit=limit)
    for place, (outcome, _) in enumerate(found):
        since = looks[: place + 1]
        while PASSED in since:
            since = since[since.index(PASSED) + 1 :]
        assert (outcome is FAILED) == (looks[place] is FAILED and since.count(FAILED) >= limit)
        assert (outcome is PASSED) == (looks[place] is PASSED)
