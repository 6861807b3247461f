"""A rollout in steps: a pure state machine whose whole state is `status.rollout`.

What is written in status comes first, and what it says is done comes after: a step's weight is asked for only once status says that
the step has begun, so a crash between the two repeats nothing and skips nothing. Each call of `advance` takes at most one transition.

    Waiting -> Scaling -> Shifting -> Holding -> (next step) ... -> Promoting      and from anywhere -> RolledBack or Aborted

Time is the API server's, carried by the snapshot (see runtime/clock.py), and counts only while the gateway has what the step asks for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec

from sluicegate.api import duration, names
from sluicegate.api.rollout import Step
from sluicegate.api.status import Phase, RolloutStatus, RolloutVerdict
from sluicegate.core.plan import share
from sluicegate.core.plan.share import Share
from sluicegate.core.snapshot.analysis_result import Outcome, Reading
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.core.snapshot.overrides import named, pinned
from sluicegate.core.snapshot.parse import text_of, time_of


def steps_of(snapshot: Snapshot) -> tuple[Step, ...]:
    """The steps of the spec; empty where a new version takes over whole."""
    return snapshot.resource.spec.rollout.steps or ()


def steps_hash(snapshot: Snapshot) -> str:
    """Names the steps that an index belongs to."""
    return _hash(steps_of(snapshot))


@lru_cache(maxsize=1024)
def _hash(steps: tuple[Step, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(steps, order="sorted")).hexdigest()[:10]


def state_of(snapshot: Snapshot, target: str | None) -> RolloutStatus | None:
    """What status has of the rollout of `target`; None where it has not begun."""
    found = snapshot.resource.status.rollout
    if target is None or found is None or found.target != target or found.step_index is None:
        return None
    return found if not found.phase.returned else None


def progressive(snapshot: Snapshot, stable: str | None, target: str | None) -> bool:
    """Whether `target` takes the traffic by steps now: not the first revision, not what a person wants whole, not what is through."""
    if not steps_of(snapshot) or stable is None or target in (None, stable) or pinned(snapshot) is not None:
        return False
    if snapshot.resource.spec.scaling.replicas == 0 or _made_way(snapshot, stable):
        return False
    state = state_of(snapshot, target)
    return state is None or state.step_hash != steps_hash(snapshot) or not _is_through(snapshot, state)


def _made_way(snapshot: Snapshot, stable: str) -> bool:
    """Whether `whenFull: Replace` has taken stable's last pod: then there is nothing to split the requests with."""
    there = snapshot.deployments.get(stable)
    return snapshot.resource.spec.rollout.when_full == "Replace" and there is not None and there.replicas == 0


def _is_through(snapshot: Snapshot, state: RolloutStatus) -> bool:
    return (state.step_index or 0) >= len(steps_of(snapshot))


def share_of(snapshot: Snapshot, target: str) -> Share:
    """What the step that status has gives `target`; nothing before the first one has begun.

    While spec.paused is true, and while edited steps have not been seen by status, it is what it has.
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
    """What `target` is to be able to carry: the step's share, before the first one that step's."""
    state = state_of(snapshot, target)
    return share_of(snapshot, target) if state is not None else share.after(steps_of(snapshot)[:1])


@dataclass(frozen=True, slots=True)
class StepObservation:
    """What the cluster shows of the step that status has."""

    able: bool
    """Whether the target has the pods for the step, listed."""
    in_force: bool
    """Whether the step's share is what requests are split by."""
    fault: str | None = None
    """Why the target itself is to blame: a crash under requests. It is rolled back at once."""
    blocked: tuple[str, str] | None = None
    """(reason, sentence) of what keeps the step from being taken, where something else than pods does."""


def advance(snapshot: Snapshot, target: str, observation: StepObservation) -> RolloutStatus:
    """The rollout's next state.

    Args:
        snapshot: What is known.
        target: Hash of a revision for which `stepped` holds.
        observation: What the cluster shows of the present step.
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
    if not observation.in_force:  # what was in force is no more: its hold begins anew
        state = _not_in_force(state)
    if snapshot.resource.spec.paused:
        return _phase(state, Phase.PAUSED, "Paused", "spec.paused is true: the weights stay until it is false.")
    return _at_step(snapshot, state, observation)


def _begun(snapshot: Snapshot, target: str) -> RolloutStatus:
    before = snapshot.resource.status.rollout
    known = before is not None and before.target == target and not before.phase.returned
    started = before.started_at if known and before is not None else None
    return RolloutStatus(phase=Phase.WAITING, target=target, started_at=started or text_of(snapshot.now))


def _waiting(snapshot: Snapshot, target: str, observation: StepObservation) -> RolloutStatus:
    """Before the first step: the target's pods start. A target that has a weight already (a canary that was declared) keeps it."""
    waiting = _begun(snapshot, target)
    if snapshot.resource.spec.paused:
        return _phase(waiting, Phase.PAUSED, "Paused", "spec.paused is true: changes wait until it is false.")
    if observation.blocked is not None:
        return _phase(waiting, Phase.WAITING, *observation.blocked)
    if not observation.able:
        return _phase(waiting, Phase.WAITING, "WaitingForPods", "The pods for the first step are starting.")
    return _entered(snapshot, waiting, _first_step(snapshot, snapshot.split.weight(target)))


def _first_step(snapshot: Snapshot, weight: int) -> int:
    """Index of the first step whose weight is not below `weight`; the last one where all are."""
    steps = steps_of(snapshot)
    reached = (index for index in range(len(steps)) if share.after(steps[: index + 1]).weight >= weight)
    return next(reached, len(steps) - 1)


def _resumed(snapshot: Snapshot, state: RolloutStatus, target: str) -> RolloutStatus:
    """Edited steps keep the weight, and go on at the first step not below it."""
    return _entered(snapshot, state, _first_step(snapshot, snapshot.split.weight(target) or state.weight or 0))


def _entered(snapshot: Snapshot, state: RolloutStatus, index: int) -> RolloutStatus:
    """The state at the beginning of a step, or behind the last one."""
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
        message=f"Pods are started for {words(wanted)} first.",
    )
    return promoting(entered) if through else entered


def promoting(state: RolloutStatus) -> RolloutStatus:
    """The state of a target that is behind its steps, or needs none while a pin names it: what a step had held so far is void."""
    words_ = "All steps are behind: it takes over once it has the pods for all requests."
    return _phase(_not_in_force(state), Phase.PROMOTING, "Promoting", words_)


def _not_in_force(state: RolloutStatus) -> RolloutStatus:
    return msgspec.structs.replace(state, accepted_at=None, until=None, verdict=None)


def _at_step(snapshot: Snapshot, state: RolloutStatus, observation: StepObservation) -> RolloutStatus:
    index, target = state.step_index or 0, state.target or ""
    step, wanted = steps_of(snapshot)[index], share_of(snapshot, target)
    if not observation.in_force:
        if observation.blocked is not None:
            return _phase(state, Phase.SCALING, *observation.blocked)
        if not observation.able:
            return _phase(state, Phase.SCALING, "WaitingForPods", f"Pods are started for {words(wanted)} first.")
        return _phase(state, Phase.SHIFTING, "ShiftingTraffic", f"{words(wanted)} is on its way to the gateway.")
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
    if before is None and judged(snapshot, wanted):  # what judged is about a time that status must know first
        return _phase(state, Phase.HOLDING, "Inconclusive", "The analysis has not passed yet, so the step is held.")
    return _entered(snapshot, state, index + 1)


def _waits(snapshot: Snapshot, state: RolloutStatus, step: Step, until: datetime | None) -> RolloutStatus | None:
    """What keeps the rollout at a step whose share is in force; None where nothing does."""
    index, target = state.step_index or 0, state.target or ""
    child = snapshot.resource.metadata.name
    if named(snapshot, names.ANNOTATION_PAUSE) == target:
        words_ = (
            f"The annotation {names.ANNOTATION_PAUSE} holds it at this step: `sluicegate resume {child}` removes it."
        )
        return _phase(state, Phase.PAUSED, "RolloutPaused", words_)
    if not _ends_by_itself(step):
        words_ = (
            f"Step {index + 1} waits for a person: `sluicegate promote {child}` goes on, `sluicegate abort {child}` goes back "
            f"(or the annotation {names.ANNOTATION_PROMOTE}={target}/{index + 1})."
        )
        return _phase(state, Phase.PAUSED, "RolloutPaused", words_)
    if until is not None and snapshot.now < until:
        return _phase(state, Phase.HOLDING, "Holding", f"{words(share_of(snapshot, target))} until {text_of(until)}.")
    if not judged(snapshot, share_of(snapshot, target)):
        return None
    reading = reading_of(snapshot, state)
    if reading is None or reading.outcome is not Outcome.PASSED:
        told = state.verdict  # and not the reading's own figures, which change all the time
        why = f" {told.metric}: {told.message}" if reading is not None and told is not None and told.metric else ""
        return _phase(
            state, Phase.HOLDING, "Inconclusive", f"The analysis has not passed yet, so the step is held.{why}"
        )
    return None


def _rest(step: Step) -> float:
    """Seconds that a step lasts by itself."""
    paused = step.pause.duration if step.pause is not None and step.pause.duration is not None else "0s"
    return duration.seconds(step.hold or "0s") + duration.seconds(paused)


def _ends_by_itself(step: Step) -> bool:
    return step.pause is None or step.pause.duration is not None


def _accepted_at(snapshot: Snapshot, state: RolloutStatus) -> datetime:
    """Since when the share is in force. One in the future is a clock that was set back: the hold begins anew, which is never early."""
    now = (snapshot.now + timedelta(seconds=1)).replace(
        microsecond=0
    )  # status has whole seconds, and a hold is never cut
    before = time_of(state.accepted_at)
    return before if before is not None and before <= now else now


def judged(snapshot: Snapshot, wanted: Share) -> bool:
    """Whether the analysis has a say: there is one, and requests (or copies of them) reach the target."""
    analysis = snapshot.resource.spec.rollout.analysis
    return analysis is not None and bool(analysis.metrics) and not wanted.none


def reading_of(snapshot: Snapshot, state: RolloutStatus) -> Reading | None:
    """The analysis of this very revision at this very share."""
    found = snapshot.reading
    if found is None or found.revision != state.target or found.since != state.accepted_at:
        return None
    return found


def verdict_of(snapshot: Snapshot, state: RolloutStatus, accepted_at: str) -> RolloutVerdict | None:
    """What status tells of the reading: a new one where the outcome or what decided it is new, so that holding writes nothing."""
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
    """The state after a failure, which is for good; None where there is none."""
    if snapshot.resource.spec.paused:
        return None
    where = _where(snapshot, state)
    reading = reading_of(snapshot, state)
    if reading is not None and reading.outcome is Outcome.FAILED:
        measured = reading.decisive
        said = f"{measured.metric}: {measured.message}" if measured is not None else "its analysis failed."
    elif observation.fault is not None:
        said = observation.fault
    else:
        return None
    verdict = verdict_of(snapshot, state, state.accepted_at or "")
    spent = named(snapshot, names.ANNOTATION_RETRY) == state.target or None
    back = _phase(state, Phase.ROLLED_BACK, "RolledBack", f"It was rolled back {where}: {said}")
    return msgspec.structs.replace(back, until=None, verdict=verdict, retried=spent)


def aborted(snapshot: Snapshot, revision: str) -> RolloutStatus:
    """The state of the rollout of `revision`, which a person ended: where it was then stays in sight."""
    before = snapshot.resource.status.rollout
    if before is not None and (before.phase, before.target) == (Phase.ABORTED, revision):
        return before
    state = state_of(snapshot, revision)
    where = _where(snapshot, state) if state is not None else "before it had a share of the requests"
    found = _not_in_force(state) if state is not None else RolloutStatus(Phase.ABORTED, revision)
    return _phase(found, Phase.ABORTED, "Aborted", f"A person aborted it {where}.")


def _where(snapshot: Snapshot, state: RolloutStatus) -> str:
    through, number = len(steps_of(snapshot)), (state.step_index or 0) + 1
    if number > through:
        return "when all steps were behind"
    return f"at step {number} of {through} ({words(share_of(snapshot, state.target or ''))})"


def given_another_time(snapshot: Snapshot, revision: str) -> bool:
    """Whether the annotation `retry` names a revision, and was not there already when it was rolled back."""
    found = rolled_back(snapshot, revision)
    spent = found is not None and bool(found.retried)
    return named(snapshot, names.ANNOTATION_RETRY) == revision and not spent


def unspent(snapshot: Snapshot, state: RolloutStatus) -> RolloutStatus:
    """A rollout that was taken back, ready for another `retry` once the last one is gone."""
    there = named(snapshot, names.ANNOTATION_RETRY) == state.target
    return state if there or not state.retried else msgspec.structs.replace(state, retried=None)


def rolled_back(snapshot: Snapshot, revision: str | None) -> RolloutStatus | None:
    """The state of a rollout that was taken back, of `revision`."""
    found = snapshot.resource.status.rollout
    if found is None or revision is None or found.target != revision or found.phase is not Phase.ROLLED_BACK:
        return None
    return found


def _promoted_whole(snapshot: Snapshot, target: str) -> bool:
    return named(snapshot, names.ANNOTATION_PROMOTE) == target


def _promoted_step(snapshot: Snapshot, target: str, index: int) -> bool:
    """Whether a person wants the rollout to go on past the step: the annotation names the revision and the step, or a later one."""
    revision, _, step = (named(snapshot, names.ANNOTATION_PROMOTE) or "").partition("/")
    return revision == target and step.isdecimal() and int(step) >= index + 1


def recheck_after(snapshot: Snapshot, target: str | None) -> float | None:
    """Seconds until time alone may move the rollout."""
    state = state_of(snapshot, target)
    until = time_of(state.until) if state is not None else None
    if until is None or snapshot.resource.spec.paused:
        return None
    return max(0.0, (until - snapshot.now).total_seconds()) or None


def words(wanted: Share) -> str:
    """A share, for people."""
    parts = [f"{wanted.weight} % of the requests"]
    if wanted.matches:
        parts.append("those that match")
    if wanted.mirror:
        parts.append(f"copies of {wanted.mirror} %")
    return " and ".join(parts)


def _phase(state: RolloutStatus, phase: Phase, reason: str, message: str) -> RolloutStatus:
    return msgspec.structs.replace(state, phase=phase, reason=reason, message=message)
