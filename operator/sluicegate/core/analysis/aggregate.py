"""The outcome of an analysis, from several measurements of its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sluicegate.core.snapshot.analysis_result import Measurement, Outcome

Streaks = Mapping[str, int]
"""Number of consecutive failures, by metric."""


def streaks(before: Streaks, measured: Sequence[Measurement]) -> Streaks:
    """Return the consecutive failures after one more measurement.

    An Inconclusive metric keeps its number, because it has neither failed again nor recovered.
    """
    return {
        each.metric: 0
        if each.outcome is Outcome.PASSED
        else before.get(each.metric, 0) + (each.outcome is Outcome.FAILED)
        for each in measured
    }


def concluded(
    failed: Streaks, measured: Sequence[Measurement], failure_limit: int
) -> tuple[Outcome, Measurement | None]:
    """Return the outcome of all metrics, and the measurement behind it.

    Failed needs a metric that fails now and has failed `failure_limit` times in a row. Passed needs every metric to
    pass, except those with dryRun.
    """
    deciding = [each for each in measured if not each.dry_run]
    failing = [each for each in deciding if each.outcome is Outcome.FAILED]
    for each in failing:
        if failed.get(each.metric, 0) >= failure_limit:
            return Outcome.FAILED, each
    open_ones = [*failing, *(each for each in deciding if each.outcome is Outcome.INCONCLUSIVE)]
    return (Outcome.INCONCLUSIVE, open_ones[0]) if open_ones else (Outcome.PASSED, None)
