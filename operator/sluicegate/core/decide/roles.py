"""Who is who among the revisions: which one is stable, which is to become it, and which is the canary.

Nothing is remembered but the roles that status records; where they are lost, the Service shows who serves.
"""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.api.status import Role
from sluicegate.core.decide.traffic import released
from sluicegate.core.plan import scaling
from sluicegate.core.plan.types import RevisionRoles
from sluicegate.core.rollout import canary, compatibility, in_place, machine
from sluicegate.core.rollout.candidate import candidate_at_step
from sluicegate.core.rollout.give_up import failed
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.core.snapshot.overrides import named, pinned


def assign_roles(snapshot: Snapshot) -> RevisionRoles:
    """The lineup, with the promotions that have become possible."""
    wanted = _wanted(snapshot)
    if wanted is not None and machine.progressive(snapshot, snapshot.stable, wanted):
        return RevisionRoles(snapshot.stable, wanted, progressive=True, candidate=candidate_at_step(snapshot, wanted))
    stable, target = _promote(snapshot, snapshot.stable, wanted)
    now, following = _canaries(snapshot, stable, target)
    candidate = canary.candidate(snapshot, now) if now is not None else None
    return RevisionRoles(stable, target, now, following, candidate=candidate)


def _wanted(snapshot: Snapshot) -> str | None:
    """The revision that is to be stable, if it can be made: the pinned one, the spec's, or while paused the one under way."""
    held = pinned(snapshot)
    if held is not None:
        return held
    if snapshot.resource.spec.paused:
        state = snapshot.resource.status.rollout
        under_way = state.target if state is not None and not state.phase.returned else None
        return under_way if under_way in snapshot.revisions and not failed(snapshot, under_way) else None
    return None if aborted(snapshot) or failed(snapshot, snapshot.desired.revision) else snapshot.desired.revision


def aborted(snapshot: Snapshot) -> bool:
    """Whether a person has aborted the take-over of the spec's revision; one that serves already goes on serving."""
    revision = snapshot.desired.revision
    return revision is not None and named(snapshot, names.ANNOTATION_ABORT) == revision and revision != snapshot.stable


def _promote(snapshot: Snapshot, stable: str | None, wanted: str | None) -> tuple[str | None, str | None]:
    """(stable, target) after promoting `wanted`, if it is able to carry the traffic."""
    if wanted is None or wanted == stable:
        return stable, None
    if snapshot.resource.spec.paused and pinned(snapshot) is None:
        return stable, wanted
    able = snapshot.able_pods(wanted) >= in_place.needed(snapshot, wanted, stable) and not compatibility.changes(
        snapshot, wanted
    )
    made = wanted in snapshot.revisions and wanted in snapshot.deployments
    return (wanted, None) if able and made and not _crowded(snapshot, stable, wanted) else (stable, wanted)


def _crowded(snapshot: Snapshot, stable: str | None, wanted: str) -> bool:
    """Whether the last change is still on its way, so that one more would leave ever more revisions with pods behind.

    Where stable has no pod that answers (it has made way), nothing can go back to it, and there is nothing to wait for.
    """
    if not snapshot.ready_pods(stable):
        return False
    leaving = [each for each in snapshot.recorded(Role.RETIRING) if snapshot.live_pods(each)]
    return wanted not in leaving and not all(released(snapshot, each) for each in leaving)


def _canaries(snapshot: Snapshot, stable: str | None, target: str | None) -> tuple[str | None, str | None]:
    """(canary, next canary). A canary that serves keeps its place until the one that follows is able to take it.

    One that failed is none. A canary that is being promoted is the target, and one that resolves to the base's revision is none. While the base
    changes, a canary that would be the fourth revision with pods waits.
    """
    known = (each for each in snapshot.recorded(Role.CANARY) if each in snapshot.revisions)
    current = next((each for each in known if each not in (stable, target)), None)
    if snapshot.resource.spec.paused:
        return current, None
    if snapshot.desired_canary is None:
        return None, None
    wanted = snapshot.desired_canary.revision
    if wanted is None:
        return current, None
    if wanted in (stable, target):
        return None, None
    if failed(snapshot, wanted):
        return (current if current != wanted else None), None
    if current in (None, wanted) or not snapshot.able_pods(current):
        return wanted, None
    able = snapshot.able_pods(wanted) >= scaling.candidate_needed(snapshot, canary.candidate(snapshot, wanted), stable)
    if able and not compatibility.changes(snapshot, wanted):
        return wanted, None
    return current, wanted if target is None else None


def same_as_base(snapshot: Snapshot, stable: str | None, target: str | None) -> bool:
    """Whether the canary is the very revision that is, or is to become, stable: then there is no canary."""
    wanted = snapshot.desired_canary.revision if snapshot.desired_canary is not None else None
    return wanted is not None and wanted == (target or stable)
