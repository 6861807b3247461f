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

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.api.status import Phase, RolloutStatus
from sluicegate.core.plan.share import after
from sluicegate.core.rollout.step_analysis import analysis_status, analyzed, reading_of
from sluicegate.core.rollout.steps import (
    coming,
    ends_by_itself,
    first_step,
    hold_of,
    share_of,
    step_to_begin_with,
    steps_hash,
    steps_of,
)
from sluicegate.core.snapshot.analysis_result import Outcome
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Problem, Share
from sluicegate.core.snapshot.parse import text_of, time_of


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


def advance(assessment: Assessment, next_stable: RevisionHash, observation: StepObservation) -> RolloutStatus:
    """Return the next state of the rollout.

    Args:
        assessment: All facts on the resource.
        next_stable: Hash of a revision for which `progressive` is true.
        observation: What the cluster shows of the current step.
    """
    state = assessment.of(next_stable).rollout
    if assessment.of(next_stable).waits_at_zero and not assessment.paused:
        return at_zero(assessment, next_stable, state or RolloutStatus(Phase.WAITING, next_stable))
    state = awake(assessment, state) if state is not None else None
    if assessment.overrides.promotes(next_stable) and not assessment.paused:
        return _entered(assessment, state or _begun(assessment, next_stable), len(steps_of(assessment)))
    if state is None:
        return _waiting(assessment, next_stable, observation)
    if state.step_hash != steps_hash(assessment):
        return _resumed(assessment, state, next_stable)
    if (rolled_back := _rolled_back(assessment, state, next_stable, observation)) is not None:
        return rolled_back
    if not observation.in_force:  # the share is no longer in effect, so its hold starts over
        state = _not_in_force(state)
    if assessment.paused:
        return _phase(
            state,
            Phase.PAUSED,
            Reason.PAUSED,
            "spec.paused is true: set it to false to continue. The weights stay as they are.",
        )
    return _at_step(assessment, state, next_stable, observation)


def at_zero(assessment: Assessment, next_stable: RevisionHash, state: RolloutStatus) -> RolloutStatus:
    """Return the state of a rollout that stands still, because the resource has no pods or stable comes back first.

    It keeps its step. The deadline of the step starts anew once its pods may start.
    """
    stable = assessment.snapshot.child(assessment.stable) if assessment.stable is not None else "stable"
    reason, message = Reason.WAITING_FOR_PODS, f"Its pods start once {stable} has a ready pod."
    if assessment.scaled_to_zero:
        reason = Reason.SCALED_TO_ZERO
        message = f"spec.scaling.replicas is 0. When it is raised, {stable} serves first, then the rollout continues."
    state = msgspec.structs.replace(_not_in_force(state), started_at=None, step_started_at=None)
    return _phase(state, state.phase if state.phase is Phase.PROMOTING else Phase.WAITING, reason, message)


def awake(assessment: Assessment, state: RolloutStatus) -> RolloutStatus:
    """Return `state` with the times that `at_zero` has removed."""
    if state.step_started_at is not None:
        return state
    now = text_of(assessment.now)
    return msgspec.structs.replace(state, started_at=state.started_at or now, step_started_at=now)


def _begun(assessment: Assessment, next_stable: RevisionHash) -> RolloutStatus:
    before = assessment.status.rollout
    continues = before is not None and before.candidate == next_stable and not before.phase.returned
    started = before.started_at if continues and before is not None else None
    return RolloutStatus(phase=Phase.WAITING, candidate=next_stable, started_at=started or text_of(assessment.now))


def _waiting(assessment: Assessment, next_stable: RevisionHash, observation: StepObservation) -> RolloutStatus:
    """Return the state before the first step, while the candidate's pods start.

    A candidate that already has a weight, because it was a declared canary, starts at the first step whose weight is
    not lower.
    """
    waiting = _begun(assessment, next_stable)
    if assessment.paused:
        return _phase(waiting, Phase.PAUSED, Reason.PAUSED, "spec.paused is true: set it to false to apply changes.")
    if observation.blocked is not None:
        return _phase(waiting, Phase.WAITING, *observation.blocked)
    # The candidate's present share, where the step does not raise it, asks for no further pods: do not wait for any.
    weight = assessment.split.weight(next_stable)
    grows = weight == 0 or coming(assessment, next_stable).load > weight
    if grows and not observation.able:
        return _phase(waiting, Phase.WAITING, Reason.WAITING_FOR_PODS, "The pods for the first step are starting.")
    return _entered(assessment, waiting, step_to_begin_with(assessment, next_stable))


def _resumed(assessment: Assessment, state: RolloutStatus, next_stable: RevisionHash) -> RolloutStatus:
    """Return the state after the user has edited the steps.

    The rollout continues at the first step whose weight is not lower than the candidate's, or else at the last step.
    """
    return _entered(
        assessment, state, first_step(assessment, assessment.split.weight(next_stable) or state.weight or 0)
    )


def _entered(assessment: Assessment, state: RolloutStatus, index: int) -> RolloutStatus:
    """Return the state at the start of step `index`, or after the last step."""
    share, through = after(steps_of(assessment)[: index + 1]), index >= len(steps_of(assessment))
    entered = RolloutStatus(
        phase=Phase.SCALING,
        candidate=state.candidate,
        started_at=state.started_at,
        step_index=index,
        step_hash=steps_hash(assessment),
        step_started_at=text_of(assessment.now),
        weight=100 if through else share.weight,
        reason=Reason.WAITING_FOR_PODS,
        message=f"Pods are starting to carry {words(share)}.",
    )
    return promoting(entered) if through else entered


def promoting(state: RolloutStatus) -> RolloutStatus:
    """Return the state of a candidate that needs no more steps.

    Either it has completed all steps, or the user has pinned it. The time that a step has held so far no longer counts.
    """
    words_ = "All steps are done. The revision becomes stable when it has the pods for all requests."
    return _phase(_not_in_force(state), Phase.PROMOTING, Reason.PROMOTING, words_)


def _not_in_force(state: RolloutStatus) -> RolloutStatus:
    return msgspec.structs.replace(state, accepted_at=None, until=None, analysis=None)


def _at_step(
    assessment: Assessment, state: RolloutStatus, next_stable: RevisionHash, observation: StepObservation
) -> RolloutStatus:
    index = state.step_index or 0
    step, share = steps_of(assessment)[index], share_of(assessment, next_stable)
    if not observation.in_force:
        if observation.blocked is not None:
            return _phase(state, Phase.SCALING, *observation.blocked)
        if not observation.able:
            return _phase(state, Phase.SCALING, Reason.WAITING_FOR_PODS, f"Pods are starting to carry {words(share)}.")
        return _phase(state, Phase.SHIFTING, Reason.SHIFTING_TRAFFIC, f"Traffic is shifting to {words(share)}.")
    accepted, before = _accepted_at(assessment, state), state.accepted_at
    state = msgspec.structs.replace(
        state, accepted_at=text_of(accepted), analysis=analysis_status(assessment, state, text_of(accepted))
    )
    if assessment.overrides.promotes_past(next_stable, index):
        return _entered(assessment, state, index + 1)
    until = accepted + timedelta(seconds=hold_of(step)) if hold_of(step) and ends_by_itself(step) else None
    state = msgspec.structs.replace(state, until=text_of(until) if until is not None else None)
    if (waits := _waits(assessment, state, next_stable, until)) is not None:
        return waits
    if before is None and analyzed(assessment, share):  # a result counts only for an acceptedAt in status
        return _phase(
            state, Phase.HOLDING, Reason.INCONCLUSIVE, "The analysis has not passed yet, so the step is held."
        )
    return _entered(assessment, state, index + 1)


def _waits(
    assessment: Assessment, state: RolloutStatus, next_stable: RevisionHash, until: datetime | None
) -> RolloutStatus | None:
    """Return the state that keeps the rollout at its current step, or None.

    The step's share is already in effect. None means that nothing holds the rollout at the step.
    """
    index = state.step_index or 0
    step = steps_of(assessment)[index]
    metadata = assessment.snapshot.resource.metadata
    named = names.cli_args(metadata.name, metadata.namespace)
    if assessment.overrides.pause == next_stable:
        words_ = (
            f"The annotation {names.ANNOTATION_PAUSE} holds the rollout at this step: run "
            f"`sluicegate resume {named}` to continue."
        )
        return _phase(state, Phase.PAUSED, Reason.ROLLOUT_PAUSED, words_)
    if not ends_by_itself(step):
        words_ = (
            f"Step {index + 1} waits for approval: run `sluicegate promote {named}` to continue, or "
            f"`sluicegate abort {named}` to return all traffic to stable. The annotation "
            f"{names.ANNOTATION_PROMOTE}={next_stable}/{index + 1} continues too."
        )
        return _phase(state, Phase.PAUSED, Reason.ROLLOUT_PAUSED, words_)
    if until is not None and assessment.now < until:
        return _phase(
            state,
            Phase.HOLDING,
            Reason.HOLDING,
            f"Holding at {words(share_of(assessment, next_stable))} until {text_of(until)}.",
        )
    if not analyzed(assessment, share_of(assessment, next_stable)):
        return None
    reading = reading_of(assessment, state)
    if reading is None or reading.outcome is not Outcome.PASSED:
        analysis = state.analysis  # not the values of `reading`, which change with every measurement
        why = ""
        if reading is not None and analysis is not None and analysis.metric:
            # Status keeps the figures until the outcome changes, so they have their time.
            at = f" (measured {analysis.at})" if analysis.value is not None else ""
            why = f" {analysis.metric}: {analysis.message}{at}"
        return _phase(
            state, Phase.HOLDING, Reason.INCONCLUSIVE, f"The analysis has not passed yet, so the step is held.{why}"
        )
    return None


def _accepted_at(assessment: Assessment, state: RolloutStatus) -> datetime:
    """Return the time since which the step's share is in effect.

    A time in the future means that a clock was set back. The hold then starts over, so it never ends early.
    """
    # Rounded up, because status has whole seconds and a hold must not end early.
    now = (assessment.now + timedelta(seconds=1)).replace(microsecond=0)
    before = time_of(state.accepted_at)
    return before if before is not None and before <= now else now


def _rolled_back(
    assessment: Assessment, state: RolloutStatus, next_stable: RevisionHash, observation: StepObservation
) -> RolloutStatus | None:
    """Return the state after a rollback, or None if nothing failed.

    A failure ends the rollout for good.
    """
    if assessment.paused:
        return None
    where = _where(assessment, state, next_stable)
    reading = reading_of(assessment, state)
    if reading is not None and reading.outcome is Outcome.FAILED:
        measured = reading.decisive
        message = f"{measured.metric}: {measured.message}" if measured is not None else "the analysis failed."
    elif observation.fault is not None:
        message = observation.fault
    else:
        return None
    analysis = analysis_status(assessment, state, state.accepted_at)
    spent = assessment.overrides.retry == next_stable or None
    back = _phase(state, Phase.ROLLED_BACK, Reason.ROLLED_BACK, f"Rolled back {where}: {message}")
    return msgspec.structs.replace(back, until=None, analysis=analysis, retried=spent)


def returned(assessment: Assessment, revision: RevisionHash, crash: Problem) -> RolloutStatus:
    """Return the state after `revision`, which had become stable, has given its traffic back."""
    spent = assessment.overrides.retry == revision or None
    done, hash_ = (len(steps_of(assessment)), steps_hash(assessment)) if steps_of(assessment) else (None, None)
    state = RolloutStatus(Phase.ROLLED_BACK, revision, step_index=done, step_hash=hash_, retried=spent)
    return _phase(state, Phase.ROLLED_BACK, Reason.ROLLED_BACK, f"Rolled back after it became stable: {crash.message}")


def aborted(assessment: Assessment, revision: RevisionHash) -> RolloutStatus:
    """Return the state of the rollout of `revision`, which the user aborted.

    The state keeps the step that the rollout was at.
    """
    before = assessment.status.rollout
    if before is not None and (before.phase, before.candidate) == (Phase.ABORTED, revision):
        return before
    state = assessment.of(revision).rollout
    where = _where(assessment, state, revision) if state is not None else "before it received requests"
    state_at_abort = _not_in_force(state) if state is not None else RolloutStatus(Phase.ABORTED, revision)
    return _phase(state_at_abort, Phase.ABORTED, Reason.ABORTED, f"Aborted by a user {where}.")


def _where(assessment: Assessment, state: RolloutStatus, next_stable: RevisionHash) -> str:
    through, number = len(steps_of(assessment)), (state.step_index or 0) + 1
    if number > through:
        return "after the last step"
    return f"at step {number} of {through} ({words(share_of(assessment, next_stable))})"


def unspent(assessment: Assessment, state: RolloutStatus) -> RolloutStatus:
    """Return the state of a rollout that was rolled back, open for a retry.

    Once the user has removed the last `retry` annotation, a new one counts again.
    """
    still_annotated = assessment.overrides.retry == state.candidate
    return state if still_annotated or not state.retried else msgspec.structs.replace(state, retried=None)


def recheck_after(assessment: Assessment, next_stable: RevisionHash | None) -> float | None:
    """Return the seconds until time alone may move the rollout, or None."""
    state = assessment.of(next_stable).rollout
    until = time_of(state.until) if state is not None else None
    if until is None or assessment.paused:
        return None
    return max(0.0, (until - assessment.now).total_seconds()) or None


def words(share: Share) -> str:
    """Format a share for messages."""
    parts = [f"{share.weight}% of the requests"]
    if share.matches:
        parts.append("all matching requests")
    if share.mirror:
        parts.append(f"copies of {share.mirror}%")
    return " and ".join(parts)


def _phase(state: RolloutStatus, phase: Phase, reason: Reason, message: str) -> RolloutStatus:
    return msgspec.structs.replace(state, phase=phase, reason=reason, message=message)
