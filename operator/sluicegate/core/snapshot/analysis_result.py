"""What an analysis says of a revision: the input of the rollout's decision, and what people are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a metric, or all of them together, come to."""

    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """Not enough requests, or no answer of the source: hold, never a silent pass or fail."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric over one window."""

    metric: str
    """Its name in spec.rollout.analysis.metrics."""
    outcome: Outcome
    value: float | None = None
    """Of the new version, in the metric's own unit; None where there is none."""
    stable: float | None = None
    """Of the stable revision over the same window."""
    limit: float | None = None
    """The largest value that would have passed, be it absolute or by stable's value."""
    samples: int = 0
    """Requests of the new version that it is from."""
    message: str = ""
    """A sentence with the figures that decided."""
    dry_run: bool = False
    """Whether it is told only, and decides nothing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an analysis has come to for a revision at the share that it has.

    It is about requests since `since` alone: a step is never judged by the one before.
    """

    revision: str
    """Hash of the revision that is judged."""
    since: str
    """status.rollout.acceptedAt of the share that it is about."""
    outcome: Outcome
    """Failed only once spec.rollout.analysis allows no more failures in a row."""
    decisive: Measurement | None = None
    """The metric behind `outcome`; None where all passed."""
    measurements: tuple[Measurement, ...] = ()
