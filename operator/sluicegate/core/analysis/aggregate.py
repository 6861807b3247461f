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
        measurement.metric: 0
        if measurement.outcome is Outcome.PASSED
        else before.get(measurement.metric, 0) + (measurement.outcome is Outcome.FAILED)
        for measurement in measured
    }


def concluded(
    failed: Streaks, measured: Sequence[Measurement], failure_limit: int
) -> tuple[Outcome, Measurement | None]:
    """Return the outcome of all metrics, and the measurement behind it.

    Failed needs a metric that fails now and has failed `failure_limit` times in a row. Passed needs every metric to
    pass, except those with dryRun.
    """
    deciding = [measurement for measurement in measured if not measurement.dry_run]
    failing = [measurement for measurement in deciding if measurement.outcome is Outcome.FAILED]
    for measurement in failing:
        if failed.get(measurement.metric, 0) >= failure_limit:
            return Outcome.FAILED, measurement
    open_ones = [*failing, *(measurement for measurement in deciding if measurement.outcome is Outcome.INCONCLUSIVE)]
    return (Outcome.INCONCLUSIVE, open_ones[0]) if open_ones else (Outcome.PASSED, None)
