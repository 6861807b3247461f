"""Giving up a revision that fails until its progress deadline.

The operator removes the pods of such a revision, and it stays Failed. It gives up a revision only if the version itself
is the cause, because its containers crash, and only if another revision serves. It keeps trying a revision if the cause
may pass or has to be fixed elsewhere: no room, an image or artifacts that are not available, a missing Secret. It also
keeps trying if there is no revision to fall back to.
"""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.api.status import RevisionStatus, Role
from sluicegate.core.rollout import machine
from sluicegate.core.snapshot import deadline
from sluicegate.core.snapshot.facts import Problem, Snapshot
from sluicegate.core.snapshot.overrides import pinned

OWN_FAULTS = frozenset(
    {
        Reason.MODEL_DEPENDENCY_MISSING,
        Reason.MODEL_LOAD_FAILED,
        Reason.CRASH_LOOP_BACK_OFF,
        Reason.OOM_KILLED,
        Reason.CONTAINER_FAILED,
    }
)
"""Reasons for which a revision is given up, from core/snapshot/pod_diagnosis.py."""


def failed(snapshot: Snapshot, revision: str | None) -> bool:
    """Tell whether `revision`, which the spec asks for, is given up.

    The operator tries a revision again if the annotation `retry` names it.
    """
    asked = {each.revision for each in snapshot.all_desired}
    if revision is None or revision not in asked or machine.given_another_time(snapshot, revision):
        return False
    known = revision in snapshot.recorded(Role.FAILED) or machine.rolled_back(snapshot, revision) is not None
    return known or _condemned(snapshot, revision)


def _condemned(snapshot: Snapshot, revision: str) -> bool:
    stable = snapshot.stable
    if stable in (None, revision) or snapshot.resource.spec.paused or snapshot.ready_pods(revision):
        return False
    crashing = any(pod.problem is not None and pod.problem.reason in OWN_FAULTS for pod in snapshot.live_pods(revision))
    if revision == snapshot.desired.revision:
        return crashing and deadline.target_left(snapshot, revision) == 0
    return crashing and deadline.canary_left(snapshot, revision) == 0


def record(snapshot: Snapshot, revision: str) -> RevisionStatus | None:
    """Return the status entry of a revision that is given up, or None."""
    entries = snapshot.resource.status.revisions
    return next((each for each in entries if each.revision == revision and each.role == Role.FAILED), None)


def problem(snapshot: Snapshot, revision: str | None, found: Problem | None) -> Problem | None:
    """Return why `revision` is given up, and how to try it again.

    The result is None if it is not given up, or if the user has pinned a revision.

    Args:
        snapshot: All facts on the resource.
        revision: A revision that the spec asks for.
        found: The problem that its pods report, while it has any.
    """
    if (
        revision is None
        or revision == snapshot.stable
        or pinned(snapshot) is not None
        or not failed(snapshot, revision)
    ):
        return None
    before, name = record(snapshot, revision), snapshot.resource.metadata.name
    if before is not None:
        found = Problem(Reason(before.reason or Reason.FAILED), before.message or "")
    again = f"is retried when the model or the spec changes, or with `sluicegate retry {name}`."
    child = names.child_name(name, revision)
    taken_back = why_taken_back(snapshot, revision) or (
        found if before is not None and before.reason == Reason.ROLLED_BACK else None
    )
    if taken_back is not None:
        return Problem(taken_back.reason, f"{taken_back.message} Revision {child} {again}")
    said = found or Problem(Reason.FAILED, "Its pods did not become ready.")
    return Problem(
        said.reason,
        f"{said.message} The operator gave up on revision {child}, because it was not ready within "
        f"spec.rollout.progressDeadline ({snapshot.resource.spec.rollout.progress_deadline}). It {again}",
    )


def why_taken_back(snapshot: Snapshot, revision: str | None) -> Problem | None:
    """Return why a rollout of `revision` was rolled back, or None if it was not.

    The cause is a measurement or a crash.
    """
    state = machine.rolled_back(snapshot, revision)
    return Problem(Reason(state.reason or Reason.ROLLED_BACK), state.message or "") if state is not None else None
