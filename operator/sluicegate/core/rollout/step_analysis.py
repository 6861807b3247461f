"""The analysis of the current step of a rollout."""

from __future__ import annotations

from sluicegate.api.status import AnalysisStatus, RolloutStatus
from sluicegate.core.snapshot.analysis_result import Reading
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Share
from sluicegate.core.snapshot.parse import text_of


def analyzed(assessment: Assessment, share: Share) -> bool:
    """Tell whether the analysis decides about the step.

    It does if the spec has metrics, and requests or copies of them reach the candidate.
    """
    analysis = assessment.spec.rollout.analysis
    return analysis is not None and bool(analysis.metrics) and not share.none


def reading_of(assessment: Assessment, state: RolloutStatus) -> Reading | None:
    """Return the analysis result for exactly this revision and share, or None."""
    reading = assessment.snapshot.reading
    if reading is None or reading.revision != state.candidate or reading.since != state.accepted_at:
        return None
    return reading


def analysis_status(assessment: Assessment, state: RolloutStatus, accepted_at: str | None) -> AnalysisStatus | None:
    """Return the analysis outcome to write in status.

    It is new only if the outcome, or the metric behind it, has changed. So a step that is held causes no status writes.
    """
    reading, before = assessment.snapshot.reading, state.analysis
    if reading is None or reading.revision != state.candidate or reading.since != accepted_at:
        return before
    measured = reading.decisive
    same = before is not None and (before.outcome, before.metric) == (
        reading.outcome.value,
        measured.metric if measured is not None else None,
    )
    if same:
        return before
    return AnalysisStatus(
        outcome=reading.outcome.value,
        metric=measured.metric if measured is not None else None,
        value=measured.value if measured is not None else None,
        stable_value=measured.stable if measured is not None else None,
        limit=measured.limit if measured is not None else None,
        samples=measured.samples if measured is not None else None,
        message=measured.message if measured is not None else None,
        at=text_of(assessment.now),
    )
