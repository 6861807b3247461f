"""A revision that goes wrong is not tried for ever: once its time is over its pods go, and it stays Failed.

Only for what is the version's own fault, containers that crash, and only beside a revision that serves. What passes by itself or is
mended elsewhere (no room, an image or artifacts that cannot be had, a missing Secret) goes on being tried, as does what has nothing
to fall back on.
"""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.api.status import RevisionStatus, Role
from sluicegate.core.rollout import machine
from sluicegate.core.snapshot import deadline
from sluicegate.core.snapshot.facts import Problem, Snapshot
from sluicegate.core.snapshot.overrides import pinned

OWN_FAULTS = frozenset(
    {"ModelDependencyMissing", "ModelLoadFailed", "CrashLoopBackOff", "OOMKilled", "ContainerFailed"}
)
"""Reasons that condemn, as `failures` gives them."""


def failed(snapshot: Snapshot, revision: str | None) -> bool:
    """Whether `revision`, which the spec asks for, is given up; the annotation `retry` that names it gives it another time."""
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
    """What status has of a revision that is given up."""
    entries = snapshot.resource.status.revisions
    return next((each for each in entries if each.revision == revision and each.role == Role.FAILED), None)


def problem(snapshot: Snapshot, revision: str | None, found: Problem | None) -> Problem | None:
    """Why `revision` is given up, and what makes it be tried again; None where it is not, or a person has pinned another.

    Args:
        snapshot: What is known.
        revision: One that the spec asks for.
        found: What its pods say, while it has any.
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
        found = Problem(before.reason or "Failed", before.message or "")
    again = f"it is tried again when the model or the spec changes, or by `sluicegate retry {name}`."
    child = names.child_name(name, revision)
    taken_back = why_taken_back(snapshot, revision) or (
        found if before is not None and before.reason == "RolledBack" else None
    )
    if taken_back is not None:
        return Problem(taken_back.reason, f"Revision {child}: {taken_back.message} Now {again}")
    said = found or Problem("Failed", "Its pods did not become ready.")
    return Problem(
        said.reason,
        f"{said.message} Revision {child} is given up, as that was so for spec.rollout.progressDeadline "
        f"({snapshot.resource.spec.rollout.progress_deadline}): {again}",
    )


def why_taken_back(snapshot: Snapshot, revision: str | None) -> Problem | None:
    """The measurement or the crash for which a rollout of `revision` was taken back; None where it was not."""
    state = machine.rolled_back(snapshot, revision)
    return Problem(state.reason or "RolledBack", state.message or "") if state is not None else None
