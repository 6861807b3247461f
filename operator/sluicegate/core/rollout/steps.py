"""The steps of a rollout, and the share that they give the candidate."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import msgspec

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
from sluicegate.api.rollout import Step
from sluicegate.api.status import RolloutStatus
from sluicegate.core.plan.share import after
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Share


def steps_of(assessment: Assessment) -> tuple[Step, ...]:
    """Return the steps of the spec.

    They are empty if a new version takes over all at once.
    """
    return assessment.spec.rollout.steps or ()


def steps_hash(assessment: Assessment) -> str:
    """Return the hash of the steps that a step index belongs to."""
    return _hash(steps_of(assessment))


@lru_cache(maxsize=1024)
def _hash(steps: tuple[Step, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(steps, order="sorted")).hexdigest()[:10]


def progressive(assessment: Assessment, stable: RevisionHash | None, next_stable: RevisionHash | None) -> bool:
    """Tell whether `next_stable` takes the traffic by steps now.

    It does not if it is the first revision, or if the user has pinned a revision. It also does not once it has
    completed all steps, or once `whenFull: Replace` has removed the last pod of stable.
    """
    if not steps_of(assessment) or stable is None or next_stable in (None, stable) or assessment.pinned is not None:
        return False
    if _made_way(assessment, stable, next_stable):
        return False
    state = assessment.of(next_stable).rollout
    return state is None or state.step_hash != steps_hash(assessment) or not is_through(assessment, state)


def _made_way(assessment: Assessment, stable: RevisionHash, next_stable: RevisionHash | None) -> bool:
    """Tell whether `whenFull: Replace` has removed the last pod of stable.

    Then there is no second revision to distribute requests to. Where the next stable revision has no pods either,
    stable has none because of `replicas: 0`.
    """
    old, new = assessment.of(stable).deployment, assessment.of(next_stable).deployment
    if assessment.spec.rollout.when_full != "Replace" or old is None or old.replicas > 0:
        return False
    return new is not None and new.replicas > 0


def is_through(assessment: Assessment, state: RolloutStatus) -> bool:
    """Tell whether a rollout has completed all steps."""
    return (state.step_index or 0) >= len(steps_of(assessment))


def share_of(assessment: Assessment, next_stable: RevisionHash) -> Share:
    """Return the share that the current step in status gives `next_stable`.

    Before the first step, it is the share that `next_stable` has already. While spec.paused is true, it is the share
    that `next_stable` has now. The same applies to edited steps, until status has their hash.
    """
    state = assessment.of(next_stable).rollout
    if assessment.paused:
        return assessment.of(next_stable).share
    if state is None:
        return _share_before_steps(assessment, next_stable)
    if state.step_hash != steps_hash(assessment):
        return assessment.of(next_stable).share
    return after(steps_of(assessment)[: (state.step_index or 0) + 1])


def _share_before_steps(assessment: Assessment, next_stable: RevisionHash) -> Share:
    """Return the share that `next_stable` keeps until its first step begins.

    A declared canary that is now to be rolled out has one, and so has a candidate whose status was lost. A rollout that
    was rolled back or aborted begins without a share.
    """
    before = assessment.status.rollout
    returned = before is not None and before.candidate == next_stable and before.phase.returned
    return Share() if returned else assessment.of(next_stable).share


def coming(assessment: Assessment, next_stable: RevisionHash) -> Share:
    """Return the share that the pods of `next_stable` must be able to carry.

    This is the share of the current step. Before the rollout has begun, it is the share of the step to begin with.
    """
    if assessment.of(next_stable).rollout is not None:
        return share_of(assessment, next_stable)
    return after(steps_of(assessment)[: step_to_begin_with(assessment, next_stable) + 1])


def step_to_begin_with(assessment: Assessment, next_stable: RevisionHash) -> int:
    """Return the index of the step at which the rollout of `next_stable` begins.

    A candidate that already has a weight begins at the first step whose weight is not lower.
    """
    return first_step(assessment, _share_before_steps(assessment, next_stable).weight)


def first_step(assessment: Assessment, weight: int) -> int:
    """Return the index of the first step whose weight is at least `weight`.

    If every step has a lower weight, it is the last one.
    """
    steps = steps_of(assessment)
    reached = (index for index in range(len(steps)) if after(steps[: index + 1]).weight >= weight)
    return next(reached, len(steps) - 1)


def hold_of(step: Step) -> float:
    """Return the seconds that the step's hold and pause take together."""
    paused = step.pause.duration if step.pause is not None and step.pause.duration is not None else "0s"
    return duration.seconds(step.hold or "0s") + duration.seconds(paused)


def ends_by_itself(step: Step) -> bool:
    """Tell whether the rollout leaves the step without an approval."""
    return step.pause is None or step.pause.duration is not None
