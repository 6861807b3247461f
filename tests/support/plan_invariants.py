"""Invariants of every plan, whatever happened before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.api import duration
from sluicegate.api.status import RevisionStatus, Role
from sluicegate.core.plan.types import Autoscaled, Plan
from sluicegate.core.rollout import in_place
from sluicegate.core.rollout.way_back import way_back
from sluicegate.core.snapshot.assessment import Assessment

if TYPE_CHECKING:
    from tests.support.fake_cluster import World

LIVE_LIMIT = 6
"""The maximum number of revisions with pods. Three revisions serve or will serve, and the others are those that the
traffic is leaving.
"""


def check(world: World, assessment: Assessment, plan: Plan) -> None:
    if plan.route is not None:
        wanted, before = plan.route.split, assessment.split
        assert sum(wanted.weights.values()) == 100
        for revision in wanted.revisions:
            fresh = wanted.weight(revision) > before.weight(revision) or revision not in before.revisions
            if fresh:
                assert assessment.snapshot.endpoints.get(f"{assessment.snapshot.resource.metadata.name}-{revision}"), (
                    "requests for a backend without endpoints"
                )
                assert not assessment.of(revision).incompatible, "requests for a version that callers do not fit"
        allowed = {plan.stable, plan.canary, plan.next_stable} | before.revisions
        assert wanted.revisions <= allowed, "requests for a revision that has no share"
    live = [entry for entry in plan.revisions if not entry.parked]
    assert len(live) <= LIVE_LIMIT, [entry.role for entry in live]
    assert len({entry.hash for entry in plan.revisions}) == len(plan.revisions)
    _check_promotion(world, assessment, plan)
    delay = duration.seconds(assessment.spec.rollout.scale_down_delay)
    newest = _newest_former(world)
    for entry in plan.revisions:
        there = assessment.of(entry.hash).deployment
        if entry.parked and there is not None and there.replicas > 0 and assessment.of(entry.hash).ready:
            assert not world.has_traffic(entry.hash), "pods with traffic are taken away"
            if entry.hash == newest and entry.hash in world.served_at:
                assert (world.now - world.served_at[entry.hash]).total_seconds() >= delay, "scaleDownDelay is cut short"
        if isinstance(entry.scale, Autoscaled) and entry.scale.keep_replicas is not None and there is not None:
            assert entry.scale.keep_replicas >= there.replicas, "replicas below the present number"
    for revision in plan.forgotten:
        assert not world.has_traffic(revision), "a revision with traffic is deleted"


def _newest_former(world: World) -> str | None:
    """Return the revision that served last before the stable one.

    It is the only revision whose scale-down delay must elapse in full.
    """
    leaving = [revision.revision for revision in world.status.revisions if _is_leaving(world, revision)]
    return leaving[0] if len(leaving) == 1 else None


def _is_leaving(world: World, entry: RevisionStatus) -> bool:
    if entry.role == Role.PARKED:
        return entry.released_at is not None and world.replicas(entry.revision) > 0
    return entry.role == Role.RETIRING


def _check_promotion(world: World, assessment: Assessment, plan: Plan) -> None:
    before = next((revision.revision for revision in world.status.revisions if revision.role == Role.STABLE), None)
    if plan.stable is None or plan.stable == before or not world.status.revisions:
        return
    listed = (
        assessment.snapshot.endpoints.get(f"{assessment.snapshot.resource.metadata.name}-{plan.stable}", frozenset())
        & assessment.of(plan.stable).ready
    )
    if plan.stable == way_back(assessment):
        assert len(listed) > len(assessment.of(before).ready), "returned to a revision that serves less"
        return
    assert len(listed) >= in_place.needed(assessment, plan.stable, before), "promoted before it can carry the traffic"
    assert not assessment.paused or assessment.pinned == plan.stable, "promoted while paused"
