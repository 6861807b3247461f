"""When a write or a pod that the API server does not accept becomes a problem for the user."""

from __future__ import annotations

from dataclasses import replace

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
from sluicegate.api.status import ConditionType, Phase
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.snapshot.parse import time_of


def with_deadline(assessment: Assessment, target: RevisionHash | None, refused: Problem | None) -> Problem | None:
    """Return `refused`, changed to one that waits for the user once it has lasted for progressDeadline.

    A full quota or an admission webhook that is down passes by itself. If it does not, the user must act.

    Args:
        assessment: All facts on the resource.
        target: The revision that is being rolled out, or None.
        refused: The problem of the writes or pods that the API server did not accept, if any.
    """
    if refused is None or refused.waits_for_user or assessment.paused:
        return refused
    if not (_late(assessment, target) if target is not None else _lasts(assessment, refused)):
        return refused
    text = assessment.spec.rollout.progress_deadline
    message = f"{refused.message} This has lasted longer than spec.rollout.progressDeadline ({text})."
    return replace(refused, message=message, waits_for_user=True)


def _late(assessment: Assessment, target: RevisionHash) -> bool:
    """Tell whether the rollout of `target` has exceeded progressDeadline.

    A hold or a pause may last longer than that, without any fault.
    """
    rollout = assessment.status.rollout
    holds = rollout is not None and rollout.phase in (Phase.HOLDING, Phase.PAUSED)
    return assessment.of(target).deadline_left == 0 and not holds


def _lasts(assessment: Assessment, refused: Problem) -> bool:
    """Tell whether the resource has not been ready for progressDeadline, and now for this reason.

    Without a rollout, no other time in status says since when.
    """
    ready = next((entry for entry in assessment.status.conditions if entry.type == ConditionType.READY), None)
    if ready is None or (ready.status, ready.reason) != ("False", refused.reason):
        return False
    since = time_of(ready.last_transition_time)
    deadline = duration.seconds(assessment.spec.rollout.progress_deadline)
    return since is not None and (assessment.now - since).total_seconds() >= deadline
