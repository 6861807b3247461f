"""The result of an analysis of a revision.

The rollout decides by it, and users see it in status.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sluicegate.api.names import RevisionHash


class Outcome(StrEnum):
    """The outcome of one metric, or of all metrics together."""

    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """Not enough requests, or no query result from the metrics source. The rollout holds, and never silently passes or
    fails."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measurement of one metric over one window."""

    metric: str
    """The name of the metric in spec.rollout.analysis.metrics."""
    outcome: Outcome
    value: float | None = None
    """The value of the candidate, in the unit of the metric. None where there is none."""
    stable: float | None = None
    """The value of the stable revision over the same window."""
    limit: float | None = None
    """The largest value that would have passed, whether it is an absolute limit or one relative to the value of the
    stable revision."""
    samples: int = 0
    """The sample size: how many requests of the candidate the value is from."""
    message: str = ""
    """A sentence with the numbers that decided."""
    dry_run: bool = False
    """Whether the measurement is only shown, and decides nothing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of the analysis of a revision at its present share.

    It covers only requests since `since`, so that no step is judged by the requests of an earlier one.
    """

    revision: RevisionHash
    """The hash of the revision that is analyzed."""
    since: str
    """The status.rollout.acceptedAt of the share that the result is about."""
    outcome: Outcome
    """Failed only once more measurements have failed in a row than spec.rollout.analysis allows."""
    decisive: Measurement | None = None
    """The measurement that decided `outcome`. None where all passed."""
    measurements: tuple[Measurement, ...] = ()
