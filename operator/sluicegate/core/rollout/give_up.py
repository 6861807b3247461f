"""Giving up a revision that fails until its progress deadline.

The operator removes the pods of such a revision, and it stays Failed. It gives up a revision only if the version itself
is the cause, because its containers crash, and only if another revision serves. It keeps trying a revision if the cause
may pass or has to be fixed elsewhere: no room, an image or artifacts that are not available, a missing Secret. It also
keeps trying if there is no revision to fall back to.

`RevisionAssessment.given_up` has the rule. This module has the messages.
"""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Problem


def problem(assessment: Assessment, revision: RevisionHash | None, pod_problem: Problem | None) -> Problem | None:
    """Return why `revision` is given up, and how to try it again.

    The result is None if it is not given up, or if the user has pinned a revision.

    Args:
        assessment: All facts on the resource.
        revision: A revision that the spec asks for.
        pod_problem: The problem that its pods report, while it has any.
    """
    facts = assessment.of(revision)
    if revision is None or revision == assessment.stable or assessment.pinned is not None or not facts.given_up:
        return None
    before, metadata = facts.failed, assessment.snapshot.resource.metadata
    next_stable = names.cli_args(metadata.name, metadata.namespace)
    if before is not None:
        pod_problem = Problem(Reason(before.reason or Reason.FAILED), before.message or "")
    again = f"is retried when the model or the pods change, or with `sluicegate retry {next_stable}`."
    child = names.child_name(metadata.name, revision)
    rolled_back = rollback_problem(assessment, revision) or (
        pod_problem if before is not None and before.reason == Reason.ROLLED_BACK else None
    )
    if rolled_back is not None:
        return Problem(rolled_back.reason, f"{rolled_back.message} Revision {child} {again}")
    said = pod_problem or Problem(Reason.FAILED, "Its pods did not become ready.")
    return Problem(
        said.reason,
        f"{said.message} The operator gave up on revision {child}, because it was not ready within "
        f"spec.rollout.progressDeadline ({assessment.spec.rollout.progress_deadline}). It {again}",
    )


def rollback_problem(assessment: Assessment, revision: RevisionHash | None) -> Problem | None:
    """Return why a rollout of `revision` was rolled back, or None if it was not.

    The cause is a measurement or a crash.
    """
    state = assessment.of(revision).rolled_back
    return Problem(Reason(state.reason or Reason.ROLLED_BACK), state.message or "") if state is not None else None
