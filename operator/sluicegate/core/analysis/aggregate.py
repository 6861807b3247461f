"""From the verdicts on single metrics, one judgement after another, to what the analysis comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sluicegate.core.snapshot.analysis_result import Measurement, Outcome

Streaks = Mapping[str, int]
"""By metric: how often in a row it has failed."""


def streaks(before: Streaks, measured: Sequence[Measurement]) -> Streaks:
    """The streaks after one more judgement. A metric that is Inconclusive has neither failed again nor recovered."""
    return {
        each.metric: 0
        if each.outcome is Outcome.PASSED
        else before.get(each.metric, 0) + (each.outcome is Outcome.FAILED)
        for each in measured
    }


def concluded(
    failed: Streaks, measured: Sequence[Measurement], failure_limit: int
) -> tuple[Outcome, Measurement | None]:
    """The outcome of all metrics together, and the one behind it.

    Failed needs a metric that fails now and has done so `failure_limit` times in a row; Passed needs every deciding metric to pass.
    """
    deciding = [each for each in measured if not each.dry_run]
    failing = [each for each in deciding if each.outcome is Outcome.FAILED]
    for each in failing:
        if failed.get(each.metric, 0) >= failure_limit:
            return Outcome.FAILED, each
    open_ones = [*failing, *(each for each in deciding if each.outcome is Outcome.INCONCLUSIVE)]
    return (Outcome.INCONCLUSIVE, open_ones[0]) if open_ones else (Outcome.PASSED, None)
