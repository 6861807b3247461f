"""Invariants of a rollout with steps at every reconcile.

They hold whatever happened before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.api import names
from sluicegate.api.status import ModelDeploymentStatus, Phase
from sluicegate.core.plan.share import after
from sluicegate.core.plan.types import Fixed, Plan
from sluicegate.core.snapshot.analysis_result import Outcome
from sluicegate.core.snapshot.assessment import Assessment

from tests.support import plan_invariants
from tests.support.fake_cluster import NAME

if TYPE_CHECKING:
    from tests.support.fact_cluster import Lean


def check(world: Lean, assessment: Assessment, plan: Plan) -> None:
    """Check that what the plan requests next is safe."""
    plan_invariants.check(world, assessment, plan)  # type: ignore[arg-type]
    spec = assessment.spec
    if plan.route is not None:
        split, now = plan.route.split, assessment.split
        for revision in split.weights:
            if split.weight(revision) > now.weight(revision):
                # Without any able pod the weight belongs to stable, ready or not.
                none_able = not any(assessment.of(weight).able for weight in now.weights)
                assert assessment.of(revision).able or none_able, "a weight rises on a revision that is not ready"
                assert revision not in world.rolled_back_revisions, "a rolled-back revision came back by itself"
        if plan.roles.progressive and plan.next_stable is not None and not spec.paused:
            given, wanted = split.weight(plan.next_stable), _given(assessment, plan.next_stable)
            assert given <= max(wanted, now.weight(plan.next_stable)), "more than the step that status has"
    _check_zero(world, assessment, plan)
    _check_way_back(world, assessment, plan)
    if plan.roles.progressive and spec.scaling.replicas and spec.rollout.when_full != "Replace":
        stable = plan.of(plan.stable or "")
        assert stable is not None
        assert stable.scale == Fixed(spec.scaling.replicas), (
            "stable gives pods away before the canary has proven itself"
        )


def _check_zero(world: Lean, assessment: Assessment, plan: Plan) -> None:
    """Check that scaling to zero is not a way around a rollout."""
    if assessment.scaled_to_zero and assessment.stable is not None:
        assert plan.stable == assessment.stable, "promoted while the resource has no pods"
    next_stable = plan.of(plan.next_stable or "")
    waited = world.real - world.awake_since >= 600
    if next_stable is None or world.replicas_of.get(next_stable.hash):
        return  # It has started before, because a user pinned it.
    if world.asleep and assessment.pinned is None and not waited:
        assert next_stable.scale == Fixed(0), "a candidate starts before stable is back"


def _check_way_back(world: Lean, assessment: Assessment, plan: Plan) -> None:
    """Check that a stable revision that crashes gives its traffic back, where the previous one has pods."""
    stable, previous = assessment.stable, world.status.previous
    if stable is None or previous is None or previous == stable or assessment.paused or assessment.scaled_to_zero:
        return
    gone = previous in world.rolled_back_revisions or previous not in world.revisions
    if assessment.pinned is not None or gone or world.annotations.get(names.ANNOTATION_ABORT) == previous:
        return
    pods = world.live(stable)
    crashed = bool(pods) and all(pod.problem is not None and pod.problem.reason == "OOMKilled" for pod in pods)
    able = world.ready(previous) & world.endpoints.get(f"{NAME}-{previous}", frozenset())
    if crashed and able and world.role(previous) != "Failed":
        assert plan.stable != stable, "a stable revision that crashes keeps the requests"


def _given(assessment: Assessment, candidate: str) -> int:
    state = assessment.of(candidate).rollout
    steps = assessment.spec.rollout.steps or ()
    return after(steps[: (state.step_index or 0) + 1]).weight if state is not None else 0


def check_move(world: Lean, before: ModelDeploymentStatus, now: ModelDeploymentStatus) -> None:
    """Check that a rollout leaves a step only for a reason."""
    old, new = before.rollout, now.rollout
    if old is None or new is None or old.step_index is None or new.step_index is None or old.candidate != new.candidate:
        return
    if (
        new.step_index <= old.step_index
        or old.step_hash != new.step_hash
        or Phase.ROLLED_BACK in (old.phase, new.phase)
    ):
        return
    promoted = world.annotations.get(names.ANNOTATION_PROMOTE, "")
    if promoted.partition("/")[0] == old.candidate:
        return
    assert new.step_index == old.step_index + 1, "a step was skipped"
    assert not world.spec.get("paused"), "a step was left while paused"
    assert world.annotations.get(names.ANNOTATION_PAUSE) != old.candidate, "a step ended although a user paused it"
    step = world.steps[old.step_index]
    assert step.pause is None or step.pause.duration is not None, "a pause ended without approval"
    assert world.forced_since is not None, "a step was left whose share was not in force"
    assert world.real - world.forced_since[3] >= world.hold_of(old.step_index), "a step was left before its hold"
    share = after(world.steps[: old.step_index + 1])
    if world.spec["rollout"].get("analysis") and not share.none:
        reading = world.reading
        assert reading is not None, "a step ended without an analysis result"
        assert (reading.since, reading.outcome) == (old.accepted_at, Outcome.PASSED), (
            "a step was left that did not pass"
        )
