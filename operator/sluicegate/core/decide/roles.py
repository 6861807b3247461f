"""Revision roles: which one is stable, rolled out, or the canary.

The operator remembers nothing but the roles that status records. Where the status was lost, the Service shows which
revision serves.
"""

from __future__ import annotations

from sluicegate.api.names import RevisionHash
from sluicegate.api.status import Role
from sluicegate.core.decide.traffic import released
from sluicegate.core.plan import scaling
from sluicegate.core.plan.types import RevisionRoles
from sluicegate.core.rollout import canary, compatibility, in_place, machine
from sluicegate.core.rollout.candidate import candidate_at_step
from sluicegate.core.rollout.give_up import failed
from sluicegate.core.snapshot.facts import Snapshot


def assign_roles(snapshot: Snapshot) -> RevisionRoles:
    """Return the revision roles, with the promotions that have become possible."""
    wanted = _wanted(snapshot)
    if wanted is not None and machine.progressive(snapshot, snapshot.stable, wanted):
        return RevisionRoles(snapshot.stable, wanted, progressive=True, candidate=candidate_at_step(snapshot, wanted))
    stable, target = _promote(snapshot, snapshot.stable, wanted)
    now, following = _canaries(snapshot, stable, target)
    candidate = canary.candidate(snapshot, now) if now is not None else None
    return RevisionRoles(stable, target, now, following, candidate=candidate)


def _wanted(snapshot: Snapshot) -> RevisionHash | None:
    """Return the revision that is to be stable, or None when there is none.

    It is the pinned revision, or the desired one unless that is aborted, has failed or cannot be created. While
    spec.paused is true, it is the one whose rollout is in progress.
    """
    held = snapshot.pinned
    if held is not None:
        return held
    if snapshot.resource.spec.paused:
        state = snapshot.resource.status.rollout
        under_way = state.target if state is not None and not state.phase.returned else None
        return under_way if under_way in snapshot.revisions and not failed(snapshot, under_way) else None
    return None if aborted(snapshot) or failed(snapshot, snapshot.desired.revision) else snapshot.desired.revision


def aborted(snapshot: Snapshot) -> bool:
    """Tell whether a user has aborted the rollout of the desired revision.

    A revision that is already stable stays stable.
    """
    revision = snapshot.desired.revision
    return revision is not None and snapshot.overrides.abort == revision and revision != snapshot.stable


def _promote(
    snapshot: Snapshot, stable: RevisionHash | None, wanted: RevisionHash | None
) -> tuple[RevisionHash | None, RevisionHash | None]:
    """Return (stable, target), with `wanted` promoted if it can carry the traffic."""
    if wanted is None or wanted == stable:
        return stable, None
    if snapshot.resource.spec.paused and snapshot.pinned is None:
        return stable, wanted
    able = snapshot.able_pods(wanted) >= in_place.needed(snapshot, wanted, stable) and not compatibility.changes(
        snapshot, wanted
    )
    made = wanted in snapshot.revisions and wanted in snapshot.deployments
    return (wanted, None) if able and made and not _crowded(snapshot, stable, wanted) else (stable, wanted)


def _crowded(snapshot: Snapshot, stable: RevisionHash | None, wanted: RevisionHash) -> bool:
    """Tell whether `wanted` must wait because the previous change is not complete.

    Otherwise each new change would leave one more revision with pods behind. Where no pod of the stable revision is
    ready (`whenFull: Replace` may have removed them), no rollback to it is possible, so there is nothing to wait for.
    """
    if not snapshot.ready_pods(stable):
        return False
    leaving = [each for each in snapshot.recorded(Role.RETIRING) if snapshot.live_pods(each)]
    return wanted not in leaving and not all(released(snapshot, each) for each in leaving)


def _canaries(
    snapshot: Snapshot, stable: RevisionHash | None, target: RevisionHash | None
) -> tuple[RevisionHash | None, RevisionHash | None]:
    """Return (canary, next canary).

    A canary that serves stays the canary until the next one is able to replace it. A failed revision is no canary.
    Neither is one that is being promoted, which is the target, nor one that resolves to the revision of the base. While
    the base changes, a canary that would be the fourth revision with pods waits.
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


def same_as_base(snapshot: Snapshot, stable: RevisionHash | None, target: RevisionHash | None) -> bool:
    """Tell whether the canary is the same revision as the base.

    That revision is stable or is to become stable, so there is no canary.
    """
    wanted = snapshot.desired_canary.revision if snapshot.desired_canary is not None else None
    return wanted is not None and wanted == (target or stable)
