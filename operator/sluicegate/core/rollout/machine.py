"""The state machine of a rollout by steps. Its whole state is `status.rollout`.

The operator writes a transition to status before it acts on it. It asks for a step's weight only once status says that
the step has begun. So after a crash between the two, the operator repeats no step and skips none. Each call of
`advance` takes at most one transition.

    Waiting -> Scaling -> Shifting -> Holding -> (next step) ... -> Promoting
    from any phase -> RolledBack or Aborted

Time is the API server's time, which the snapshot carries (see runtime/clock.py). A hold counts only the time during
which the gateway has the share of the step.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec

from sluicegate.api import duration, names
from sluicegate.api.reasons import Reason
from sluicegate.api.rollout import Step
from sluicegate.api.status import Phase, RolloutStatus, RolloutVerdict
from sluicegate.core.plan import share
from sluicegate.core.plan.share import Share
from sluicegate.core.snapshot.analysis_result import Outcome, Reading
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.core.snapshot.overrides import named, pinned
from sluicegate.core.snapshot.parse import text_of, time_of


def steps_of(snapshot: Snapshot) -> tuple[Step, ...]:
    """Return the steps of the spec.

    They are empty if a new version takes over all at once.
    """
    return snapshot.resource.spec.rollout.steps or ()


def steps_hash(snapshot: Snapshot) -> str:
    """Return the hash of the steps that a step index belongs to."""
    return _hash(steps_of(snapshot))


@lru_cache(maxsize=1024)
def _hash(steps: tuple[Step, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(steps, order="sorted")).hexdigest()[:10]


def state_of(snapshot: Snapshot, target: str | None) -> RolloutStatus | None:
    """Return the state that status has of the rollout of `target`, or None.

    None means that the rollout has not begun its first step, or that it was rolled back or aborted.
    """
    found = snapshot.resource.status.rollout
    if target is None or found is None or found.target != target or found.step_index is None:
        return None
    return found if not found.phase.returned else None


def progressive(snapshot: Snapshot, stable: str | None, target: str | None) -> bool:
    """Tell whether `target` takes the traffic by steps now.

    It does not if it is the first revision, if the user has pinned a revision, or if the spec asks for no pods. It also
    does not once it has completed all steps, or once `whenFull: Replace` has removed the last pod of stable.
    """
    if not steps_of(snapshot) or stable is None or target in (None, stable) or pinned(snapshot) is not None:
        return False
    if snapshot.resource.spec.scaling.replicas == 0 or _made_way(snapshot, stable):
        return False
    state = state_of(snapshot, target)
    return state is None or state.step_hash != steps_hash(snapshot) or not _is_through(snapshot, state)


def _made_way(snapshot: Snapshot, stable: str) -> bool:
    """Tell whether `whenFull: Replace` has removed the last pod of stable.

    Then there is no second revision to distribute requests to.
    """
    there = snapshot.deployments.get(stable)
    return snapshot.resource.spec.rollout.when_full == "Replace" and there is not None and there.replicas == 0


def _is_through(snapshot: Snapshot, state: RolloutStatus) -> bool:
    return (state.step_index or 0) >= len(steps_of(snapshot))


def share_of(snapshot: Snapshot, target: str) -> Share:
    """Return the share that the current step in status gives `target`.

    Before the first step the share is empty. While spec.paused is true, it is the share that `target` has now. The same
    applies to edited steps, until status has their hash.
    """
    state = state_of(snapshot, target)
    if snapshot.resource.spec.paused:
        return share.present(snapshot, target)
    if state is None:
        return Share()
    if state.step_hash != steps_hash(snapshot):
        return share.present(snapshot, target)
    return share.after(steps_of(snapshot)[: (state.step_index or 0) + 1])


def coming(snapshot: Snapshot, target: str) -> Share:
    """Return the share that the pods of `target` must be able to carry.

    This is the share of the current step, or of the first step before that step has begun.
    """
    state = state_of(snapshot, target)
    return share_of(snapshot, target) if state is not None else share.after(steps_of(snapshot)[:1])


@dataclass(frozen=True, slots=True)
class StepObservation:
    """What the operator observes of the current step in the cluster."""

    able: bool
    """Whether the candidate has the pods for the step, ready and listed in EndpointSlices."""
    in_force: bool
    """Whether requests are distributed by the step's share."""
    fault: str | None = None
    """Message about a crash under requests that the candidate itself causes. The operator rolls it back at once."""
    blocked: tuple[Reason, str] | None = None
    """(reason, message) of what blocks the step, other than pods that are still starting."""


def advance(snapshot: Snapshot, target: str, observation: StepObservation) -> RolloutStatus:
    """Return the next state of the rollout.

    Args:
        snapshot: All facts on the resource.
        target: Hash of a revision for which `progressive` is true.
        observation: What the cluster shows of the current step.
    """
    state = state_of(snapshot, target)
    if _promoted_whole(snapshot, target) and not snapshot.resource.spec.paused:
        return _entered(snapshot, state or _begun(snapshot, target), len(steps_of(snapshot)))
    if state is None:
        return _waiting(snapshot, target, observation)
    if state.step_hash != steps_hash(snapshot):
        return _resumed(snapshot, state, target)
    if (condemned := _condemned(snapshot, state, observation)) is not None:
        return condemned
    if not observation.in_force:  # the share is no longer in effect, so its hold starts over
        state = _not_in_force(state)
    if snapshot.resource.spec.paused:
        return _phase(
            state,
            Phase.PAUSED,
            Reason.PAUSED,
            "spec.paused is true: set it to false to continue. The weights stay as they are.",
        )
    return _at_step(snapshot, state, observation)


def _begun(snapshot: Snapshot, target: str) -> RolloutStatus:
    before = snapshot.resource.status.rollout
    known = before is not None and before.target == target and not before.phase.returned
    started = before.started_at if known and before is not None else None
    return RolloutStatus(phase=Phase.WAITING, target=target, started_at=started or text_of(snapshot.now))


def _waiting(snapshot: Snapshot, target: str, observation: StepObservation) -> RolloutStatus:
    """Return the state before the first step, while the candidate's pods start.

    A candidate that already has a weight, because it was a declared canary, starts at the first step whose weight is
    not lower.
    """
    waiting = _begun(snapshot, target)
    if snapshot.resource.spec.paused:
        return _phase(waiting, Phase.PAUSED, Reason.PAUSED, "spec.paused is true: set it to false to apply changes.")
    if observation.blocked is not None:
        return _phase(waiting, Phase.WAITING, *observation.blocked)
    if not observation.able:
        return _phase(waiting, Phase.WAITING, Reason.WAITING_FOR_PODS, "The pods for the first step are starting.")
    return _entered(snapshot, waiting, _first_step(snapshot, snapshot.split.weight(target)))


def _first_step(snapshot: Snapshot, weight: int) -> int:
    """Return the index of the first step whose weight is at least `weight`.

    If every step has a lower weight, it is the last one.
    """
    steps = steps_of(snapshot)
    reached = (index for index in range(len(steps)) if share.after(steps[: index + 1]).weight >= weight)
    return next(reached, len(steps) - 1)


def _resumed(snapshot: Snapshot, state: RolloutStatus, target: str) -> RolloutStatus:
    """Return the state after the user has edited the steps.

    The candidate keeps its weight. The rollout continues at the first step whose weight is not lower.
    """
    return _entered(snapshot, state, _first_step(snapshot, snapshot.split.weight(target) or state.weight or 0))


def _entered(snapshot: Snapshot, state: RolloutStatus, index: int) -> RolloutStatus:
    """Return the state at the start of step `index`, or after the last step."""
    wanted, through = share.after(steps_of(snapshot)[: index + 1]), index >= len(steps_of(snapshot))
    entered = RolloutStatus(
        phase=Phase.SCALING,
        target=state.target,
        started_at=state.started_at,
        step_index=index,
        step_hash=steps_hash(snapshot),
        step_started_at=text_of(snapshot.now),
        weight=100 if through else wanted.weight,
        reason="WaitingForPods",
        message=f"Pods are starting to carry {words(wanted)}.",
    )
    return promoting(entered) if through else entered


def promoting(state: RolloutStatus) -> RolloutStatus:
    """Return the state of a candidate that needs no more steps.

    Either it has completed all steps, or the user has pinned it. The time that a step has held so far no longer counts.
    """
    words_ = "All steps are done. The revision becomes stable when it has the pods for all requests."
    return _phase(_not_in_force(state), Phase.PROMOTING, Reason.PROMOTING, words_)


def _not_in_force(state: RolloutStatus) -> RolloutStatus:
    return msgspec.structs.replace(state, accepted_at=None, until=None, verdict=None)


def _at_step(snapshot: Snapshot, state: RolloutStatus, observation: StepObservation) -> RolloutStatus:
    index, target = state.step_index or 0, state.target or ""
    step, wanted = steps_of(snapshot)[index], share_of(snapshot, target)
    if not observation.in_force:
        if observation.blocked is not None:
            return _phase(state, Phase.SCALING, *observation.blocked)
        if not observation.able:
            return _phase(state, Phase.SCALING, Reason.WAITING_FOR_PODS, f"Pods are starting to carry {words(wanted)}.")
        return _phase(state, Phase.SHIFTING, Reason.SHIFTING_TRAFFIC, f"Traffic is shifting to {words(wanted)}.")
    accepted, before = _accepted_at(snapshot, state), state.accepted_at
    state = msgspec.structs.replace(
        state, accepted_at=text_of(accepted), verdict=verdict_of(snapshot, state, text_of(accepted))
    )
    if _promoted_step(snapshot, target, index):
        return _entered(snapshot, state, index + 1)
    until = accepted + timedelta(seconds=_rest(step)) if _rest(step) and _ends_by_itself(step) else None
    state = msgspec.structs.replace(state, until=text_of(until) if until is not None else None)
    if (waits := _waits(snapshot, state, step, until)) is not None:
        return waits
    if before is None and judged(snapshot, wanted):  # a result counts only for an acceptedAt in status
        return _phase(
            state, Phase.HOLDING, Reason.INCONCLUSIVE, "The analysis has not passed yet, so the step is held."
        )
    return _entered(snapshot, state, index + 1)


def _waits(snapshot: Snapshot, state: RolloutStatus, step: Step, until: datetime | None) -> RolloutStatus | None:
    """Return the state that keeps the rollout at its current step, or None.

    The step's share is already in effect. None means that nothing holds the rollout at the step.
    """
    index, target = state.step_index or 0, state.target or ""
    child = snapshot.resource.metadata.name
    if named(snapshot, names.ANNOTATION_PAUSE) == target:
        words_ = (
            f"The annotation {names.ANNOTATION_PAUSE} holds the rollout at this step: run `sluicegate resume {child}` "
            "to continue."
        )
        return _phase(state, Phase.PAUSED, Reason.ROLLOUT_PAUSED, words_)
    if not _ends_by_itself(step):
        words_ = (
            f"Step {index + 1} waits for approval: run `sluicegate promote {child}` to continue, or "
            f"`sluicegate abort {child}` to return all traffic to stable. The annotation "
            f"{names.ANNOTATION_PROMOTE}={target}/{index + 1} continues too."
        )
        return _phase(state, Phase.PAUSED, Reason.ROLLOUT_PAUSED, words_)
    if until is not None and snapshot.now < until:
        return _phase(
            state,
            Phase.HOLDING,
            Reason.HOLDING,
            f"Holding at {words(share_of(snapshot, target))} until {text_of(until)}.",
        )
    if not judged(snapshot, share_of(snapshot, target)):
        return None
    reading = reading_of(snapshot, state)
    if reading is None or reading.outcome is not Outcome.PASSED:
        told = state.verdict  # not the values of `reading`, which change with every measurement
        why = f" {told.metric}: {told.message}" if reading is not None and told is not None and told.metric else ""
        return _phase(
            state, Phase.HOLDING, Reason.INCONCLUSIVE, f"The analysis has not passed yet, so the step is held.{why}"
        )
    return None


def _rest(step: Step) -> float:
    """Return the seconds that the step's hold and pause take together."""
    paused = step.pause.duration if step.pause is not None and step.pause.duration is not None else "0s"
    return duration.seconds(step.hold or "0s") + duration.seconds(paused)


def _ends_by_itself(step: Step) -> bool:
    return step.pause is None or step.pause.duration is not None


def _accepted_at(snapshot: Snapshot, state: RolloutStatus) -> datetime:
    """Return the time since which the step's share is in effect.

    A time in the future means that a clock was set back. The hold then starts over, so it never ends early.
    """
    # Rounded up, because status has whole seconds and a hold must not end early.
    now = (snapshot.now + timedelta(seconds=1)).replace(microsecond=0)
    before = time_of(state.accepted_at)
    return before if before is not None and before <= now else now


def judged(snapshot: Snapshot, wanted: Share) -> bool:
    """Tell whether the analysis decides about the step.

    It does if the spec has metrics, and requests or copies of them reach the candidate.
    """
    analysis = snapshot.resource.spec.rollout.analysis
    return analysis is not None and bool(analysis.metrics) and not wanted.none


def reading_of(snapshot: Snapshot, state: RolloutStatus) -> Reading | None:
    """Return the analysis result for exactly this revision and share, or None."""
    found = snapshot.reading
    if found is None or found.revision != state.target or found.since != state.accepted_at:
        return None
    return found


def verdict_of(snapshot: Snapshot, state: RolloutStatus, accepted_at: str) -> RolloutVerdict | None:
    """Return the analysis outcome to write in status.

    It is new only if the outcome, or the metric behind it, has changed. So a step that is held causes no status writes.
    """
    found, before = snapshot.reading, state.verdict
    if found is None or found.revision != state.target or found.since != accepted_at:
        return before
    measured = found.decisive
    same = before is not None and (before.outcome, before.metric) == (
        found.outcome.value,
        measured.metric if measured is not None else None,
    )
    if same:
        return before
    return RolloutVerdict(
        outcome=found.outcome.value,
        metric=measured.metric if measured is not None else None,
        value=measured.value if measured is not None else None,
        stable_value=measured.stable if measured is not None else None,
        limit=measured.limit if measured is not None else None,
        samples=measured.samples if measured is not None else None,
        message=measured.message if measured is not None else None,
        at=text_of(snapshot.now),
    )


def _condemned(snapshot: Snapshot, state: RolloutStatus, observation: StepObservation) -> RolloutStatus | None:
    """Return the state after a failure, or None if there is no failure.

    A failure ends the rollout for good.
    """
    if snapshot.resource.spec.paused:
        return None
    where = _where(snapshot, state)
    reading = reading_of(snapshot, state)
    if reading is not None and reading.outcome is Outcome.FAILED:
        measured = reading.decisive
        said = f"{measured.metric}: {measured.message}" if measured is not None else "the analysis failed."
    elif observation.fault is not None:
        said = observation.fault
    else:
        return None
    verdict = verdict_of(snapshot, state, state.accepted_at or "")
    spent = named(snapshot, names.ANNOTATION_RETRY) == state.target or None
    back = _phase(state, Phase.ROLLED_BACK, Reason.ROLLED_BACK, f"Rolled back {where}: {said}")
    return msgspec.structs.replace(back, until=None, verdict=verdict, retried=spent)


def aborted(snapshot: Snapshot, revision: str) -> RolloutStatus:
    """Return the state of the rollout of `revision`, which the user aborted.

    The state keeps the step that the rollout was at.
    """
    before = snapshot.resource.status.rollout
    if before is not None and (before.phase, before.target) == (Phase.ABORTED, revision):
        return before
    state = state_of(snapshot, revision)
    where = _where(snapshot, state) if state is not None else "before it received requests"
    found = _not_in_force(state) if state is not None else RolloutStatus(Phase.ABORTED, revision)
    return _phase(found, Phase.ABORTED, Reason.ABORTED, f"Aborted by a user {where}.")


def _where(snapshot: Snapshot, state: RolloutStatus) -> str:
    through, number = len(steps_of(snapshot)), (state.step_index or 0) + 1
    if number > through:
        return "after the last step"
    return f"at step {number} of {through} ({words(share_of(snapshot, state.target or ''))})"


def given_another_time(snapshot: Snapshot, revision: str) -> bool:
    """Tell whether the annotation `retry` asks to try `revision` again.

    An annotation that was already set when the revision was rolled back does not count.
    """
    found = rolled_back(snapshot, revision)
    spent = found is not None and bool(found.retried)
    return named(snapshot, names.ANNOTATION_RETRY) == revision and not spent


def unspent(snapshot: Snapshot, state: RolloutStatus) -> RolloutStatus:
    """Return the state of a rollout that was rolled back, open for a retry.

    Once the user has removed the last `retry` annotation, a new one counts again.
    """
    there = named(snapshot, names.ANNOTATION_RETRY) == state.target
    return state if there or not state.retried else msgspec.structs.replace(state, retried=None)


def rolled_back(snapshot: Snapshot, revision: str | None) -> RolloutStatus | None:
    """Return the state of the rollout of `revision` if it was rolled back."""
    found = snapshot.resource.status.rollout
    if found is None or revision is None or found.target != revision or found.phase is not Phase.ROLLED_BACK:
        return None
    return found


def _promoted_whole(snapshot: Snapshot, target: str) -> bool:
    return named(snapshot, names.ANNOTATION_PROMOTE) == target


def _promoted_step(snapshot: Snapshot, target: str, index: int) -> bool:
    """Tell whether the user promotes the rollout past step `index`.

    The annotation names the revision and this step or a later one, as REVISION/NUMBER. Numbers start at 1.
    """
    revision, _, step = (named(snapshot, names.ANNOTATION_PROMOTE) or "").partition("/")
    return revision == target and step.isdecimal() and int(step) >= index + 1


def recheck_after(snapshot: Snapshot, target: str | None) -> float | None:
    """Return the seconds until time alone may move the rollout, or None."""
    state = state_of(snapshot, target)
    until = time_of(state.until) if state is not None else None
    if until is None or snapshot.resource.spec.paused:
        return None
    return max(0.0, (until - snapshot.now).total_seconds()) or None


def words(wanted: Share) -> str:
    """Format a share for messages."""
    parts = [f"{wanted.weight}% of the requests"]
    if wanted.matches:
        parts.append("all matching requests")
    if wanted.mirror:
        parts.append(f"copies of {wanted.mirror}%")
    return " and ".join(parts)


def _phase(state: RolloutStatus, phase: Phase, reason: Reason, message: str) -> RolloutStatus:
    return msgspec.structs.replace(state, phase=phase, reason=reason, message=message)
