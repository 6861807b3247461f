"""Revision roles: which one is stable, rolled out, or the canary.

The operator remembers nothing but the roles that status records. Where the status was lost, the Service shows which
revision serves.
"""

from __future__ import annotations

from sluicegate.api.names import RevisionHash
from sluicegate.api.status import Role
from sluicegate.core.plan import scaling
from sluicegate.core.plan.types import RevisionRoles
from sluicegate.core.rollout import canary, in_place, steps
from sluicegate.core.rollout.candidate import candidate_at_step
from sluicegate.core.rollout.way_back import way_back
from sluicegate.core.snapshot.assessment import Assessment


def assign_roles(assessment: Assessment) -> RevisionRoles:
    """Return the revision roles, with the promotions that have become possible.

    Where the stable revision crashes and the previous one still has pods, the previous one is stable again.
    """
    revision, returned = _wanted(assessment), way_back(assessment)
    if returned is not None and revision in (assessment.stable, returned):
        revision = None
    stable = returned or assessment.stable
    if revision is not None and steps.progressive(assessment, stable, revision):
        return RevisionRoles(stable, revision, progressive=True, candidate=candidate_at_step(assessment, revision))
    stable, next_stable = _promote(assessment, stable, revision)
    now, following = _canaries(assessment, stable, next_stable)
    candidate = canary.candidate(assessment, now) if now is not None else None
    return RevisionRoles(stable, next_stable, now, following, candidate=candidate)


def _wanted(assessment: Assessment) -> RevisionHash | None:
    """Return the revision that is to be stable, or None when there is none.

    It is the pinned revision, or the desired one unless that is aborted, has failed or cannot be created. While
    spec.paused is true, it is the one whose rollout is in progress.
    """
    held = assessment.pinned
    if held is not None:
        return held
    if assessment.paused:
        state = assessment.status.rollout
        under_way = assessment.of(state.candidate if state is not None and not state.phase.returned else None)
        return under_way.hash if under_way.record is not None and not under_way.given_up else None
    return None if aborted(assessment) or assessment.of(assessment.desired).given_up else assessment.desired


def aborted(assessment: Assessment) -> bool:
    """Tell whether a user has aborted the rollout of the desired revision.

    A revision that is already stable stays stable.
    """
    revision = assessment.desired
    return revision is not None and assessment.overrides.abort == revision and revision != assessment.stable


def _promote(
    assessment: Assessment, stable: RevisionHash | None, revision: RevisionHash | None
) -> tuple[RevisionHash | None, RevisionHash | None]:
    """Return (stable, next_stable), with `revision` promoted if it can carry the traffic."""
    if revision is None or revision == stable:
        return stable, None
    if assessment.paused and assessment.pinned is None:
        return stable, revision
    if assessment.scaled_to_zero and stable is not None:
        return stable, revision
    facts = assessment.of(revision)
    able = facts.able >= in_place.needed(assessment, revision, stable) and not facts.incompatible
    made = facts.record is not None and facts.deployment is not None
    return (revision, None) if able and made and not _crowded(assessment, stable, revision) else (stable, revision)


def _crowded(assessment: Assessment, stable: RevisionHash | None, revision: RevisionHash) -> bool:
    """Tell whether `revision` must wait because the previous change is not complete.

    Otherwise each new change would leave one more revision with pods behind. Where no pod of the stable revision is
    ready (`whenFull: Replace` may have removed them), no rollback to it is possible, so there is nothing to wait for.
    """
    if not assessment.of(stable).ready:
        return False
    leaving = [retiring for retiring in assessment.recorded(Role.RETIRING) if assessment.of(retiring).live]
    return revision not in leaving and not all(assessment.of(retiring).released for retiring in leaving)


def _canaries(
    assessment: Assessment, stable: RevisionHash | None, next_stable: RevisionHash | None
) -> tuple[RevisionHash | None, RevisionHash | None]:
    """Return (canary, next canary).

    A canary that serves stays the canary until the next one is able to replace it. A failed revision is no canary.
    Neither is one that is being promoted, which is the next stable revision, nor one that resolves to the revision of
    the base. While the base changes, a canary that would be the fourth revision with pods waits.
    """
    recorded = (revision for revision in assessment.recorded(Role.CANARY) if revision in assessment.snapshot.revisions)
    current = next((revision for revision in recorded if revision not in (stable, next_stable)), None)
    if assessment.paused:
        return current, None
    if assessment.snapshot.desired_canary is None:
        return None, None
    desired_canary = assessment.desired_canary
    if desired_canary is None:
        return current, None
    if desired_canary in (stable, next_stable):
        return None, None
    if assessment.of(desired_canary).given_up:
        return (current if current != desired_canary else None), None
    if current in (None, desired_canary) or not assessment.of(current).able:
        return desired_canary, None
    able = assessment.of(desired_canary).able >= scaling.candidate_needed(
        assessment, canary.candidate(assessment, desired_canary), stable
    )
    if able and not assessment.of(desired_canary).incompatible:
        return desired_canary, None
    return current, desired_canary if next_stable is None else None


def same_as_base(assessment: Assessment, stable: RevisionHash | None, next_stable: RevisionHash | None) -> bool:
    """Tell whether the canary is the same revision as the base.

    That revision is stable or is to become stable, so there is no canary.
    """
    desired_canary = assessment.desired_canary
    return desired_canary is not None and desired_canary == (next_stable or stable)
