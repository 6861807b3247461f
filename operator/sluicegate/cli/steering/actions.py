"""What promote, abort, pause and resume write to a ModelDeployment.

All functions here are pure: they take the history, and return annotations and messages.
Each annotation names a revision, so an annotation that is set too late has no effect on a later rollout.
Each action also removes the annotations that name a revision other than the one that it is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.api.status import Phase, Role
from sluicegate.cli.cluster import Failed
from sluicegate.cli.output import step_text
from sluicegate.cli.output.step_text import Rollout
from sluicegate.cli.steering.revisions import History, NoSuchRevision, RevisionSummary, previous
from sluicegate.core.snapshot.overrides import reference

PROMOTE, ABORT, PAUSE, RETRY = (
    names.ANNOTATION_PROMOTE,
    names.ANNOTATION_ABORT,
    names.ANNOTATION_PAUSE,
    names.ANNOTATION_RETRY,
)
CANARY_ROLES = (Role.CANARY, Role.NEXT_CANARY)


@dataclass(frozen=True, slots=True)
class Action:
    """The annotations to write, and the lines to print."""

    annotations: Mapping[str, str | None]
    lines: tuple[str, ...]


def promote(history: History, *, full: bool) -> Action:
    """Promote the rollout past its current step.

    Args:
        history: The revisions of the ModelDeployment.
        full: Whether to skip all remaining steps.

    Raises:
        Failed: There is nothing to promote. The message says why, and what to do instead.
    """
    rollout, candidate = _in_progress(history, "promote")
    if history.abort == rollout.candidate:
        raise Failed(_was_aborted(history, candidate))
    if rollout.done:
        raise Failed(f"{candidate.title} is {rollout.place} and becomes stable already, so there is nothing to promote")
    if reference(history.resource, PROMOTE) == (rollout.candidate, None) and not full:
        raise Failed(
            f"{candidate.title} is promoted past all steps already. To hold it: sluicegate pause {history.cli_args}. "
            f"To go back: sluicegate abort {history.cli_args}"
        )
    held = step_text.paused_by_user(history.resource, rollout.candidate)
    removed = (f"Removed the annotation {PAUSE}, which held the rollout.",) if held else ()
    if full:
        lines, value = _past_all(history, rollout, candidate), rollout.candidate
    else:
        lines, value = _past_one(rollout, candidate), f"{rollout.candidate}/{rollout.index + 1}"
    return _action(history, rollout.candidate, {PROMOTE: value, PAUSE: None}, (*lines, *removed))


def _was_aborted(history: History, revision: RevisionSummary) -> str:
    return f"{revision.title} was aborted: run `sluicegate retry {history.cli_args}` to try it again"


def _past_all(history: History, rollout: Rollout, candidate: RevisionSummary) -> tuple[str, ...]:
    first, last = rollout.index + 1, len(rollout.steps)
    steps = f"step {last}" if first == last else f"steps {first} to {last}"
    drains = f" {history.stable.title} drains after that." if history.stable is not None else ""
    return (
        f"{candidate.title} skips {steps} and the analysis, and becomes stable as soon as its pods can carry all "
        f"requests.{drains}",
        f"To go back: sluicegate abort {history.cli_args}",
    )


def _past_one(rollout: Rollout, candidate: RevisionSummary) -> tuple[str, ...]:
    if rollout.status.phase in (Phase.WAITING, Phase.SCALING, Phase.SHIFTING):
        when = "once it has that share, without a hold, a pause or an analysis"
    elif rollout.awaits_approval:
        when = "and its pause ends"
    else:
        when = "without waiting for its hold, its pause or its analysis"
    if rollout.index + 1 == len(rollout.steps):
        following = "it becomes stable"
    else:
        following = f"step {rollout.index + 2} ({step_text.described(rollout.steps[rollout.index + 1])})"
    return (f"{candidate.title} continues past {rollout.place}, {when}. Next: {following}.",)


def abort(history: History) -> Action:
    """Abort the rollout: all traffic returns to stable.

    A canary that `spec.canary` declares receives no requests from then on.

    Raises:
        Failed: No rollout is in progress, or there is no stable revision to return to.
    """
    chosen = _to_abort(history)
    lines: tuple[str, ...]
    if chosen.role in CANARY_ROLES:
        lines = (
            f"canary {chosen.title} gets no requests until spec.canary changes or you run "
            f"`sluicegate retry {history.cli_args}`.",
        )
    else:
        rollout, stable = step_text.rollout_of(history.resource), history.stable
        begun = rollout is not None and rollout.candidate == chosen.hash and rollout.begun
        where = f" at {rollout.place}" if rollout is not None and begun else ""
        returned = f", and all requests return to {stable.title}" if stable is not None else ""
        lines = (
            f"the rollout of {chosen.title} ends{where}{returned}.",
            "It is not tried again until the model or the spec resolves to another revision, or you run "
            f"`sluicegate retry {history.cli_args}`.",
        )
    return _action(history, chosen.hash, {ABORT: chosen.hash, PROMOTE: None, PAUSE: None, RETRY: None}, lines)


def _to_abort(history: History) -> RevisionSummary:
    name, stable = history.name, history.stable
    if history.resource.spec.canary is not None:
        canary = next((summary for summary in history.revisions if summary.role in CANARY_ROLES), None)
        if canary is not None:
            return canary
    chosen = _candidate(history)
    if chosen is None:
        serves = f" ({stable.title} is stable)" if stable is not None else ""
        raise Failed(
            f"no rollout of {name} is in progress{serves}, so there is nothing to abort"
            f"{_way_back(history)}{_not_observed(history)}"
        )
    if stable is None or stable is chosen:
        raise Failed(f"{chosen.title} is the only revision of {name}, so there is none to return to: change the spec")
    return chosen


def _way_back(history: History) -> str:
    """Return the command that returns to an earlier revision, if there is one."""
    try:
        earlier = previous(history)
    except NoSuchRevision:
        if len(history.revisions) < 2:
            return ""
        return f". To choose another revision: sluicegate history {history.cli_args}"
    return f". To return to {earlier.title}: sluicegate rollback {history.cli_args} {earlier.number or earlier.hash}"


def _candidate(history: History) -> RevisionSummary | None:
    """Return the revision that is being rolled out, or that was aborted already."""
    if history.desired is not None:
        return history.desired
    rollout = step_text.rollout_of(history.resource)
    candidate = history.find(rollout.candidate) if rollout is not None and rollout.moving else None
    return candidate if candidate is not None and candidate.role != Role.STABLE else aborted(history)


def aborted(history: History) -> RevisionSummary | None:
    """Return the revision that the spec asks for and the annotation `abort` stops.

    Returns:
        The revision, or None where the annotation is not set or names a revision that the spec does not ask for.
    """
    observed = any(condition.reason == Reason.ABORTED for condition in history.resource.status.conditions)
    for summary in history.revisions:
        possible = observed or summary.role in (*CANARY_ROLES, Role.CANDIDATE, Role.FAILED)
        if summary.aborted and summary.role != Role.STABLE and possible:
            return summary
    return None


def pause(history: History) -> Action:
    """Keep the rollout at its current step.

    Raises:
        Failed: No rollout with steps is in progress, or its steps are all done.
    """
    rollout, candidate = _in_progress(history, "pause")
    if rollout.done:
        raise Failed(
            f"{candidate.title} is {rollout.place} and becomes stable: run `sluicegate abort {history.cli_args}` to go "
            "back"
        )
    promoted = reference(history.resource, PROMOTE)
    lines = [
        f"{candidate.title} stays at {rollout.place}, with its current share. A failed analysis still rolls it back."
    ]
    if promoted is not None and promoted[0] == rollout.candidate:
        lines.append(f"Removed the annotation {PROMOTE}, which would have continued the rollout.")
    lines.append(f"To continue: sluicegate resume {history.cli_args}")
    return _action(history, rollout.candidate, {PAUSE: rollout.candidate, PROMOTE: None}, lines)


def resume(history: History) -> Action:
    """Continue the rollout after `pause`.

    Raises:
        Failed: The annotation does not hold the rollout, but something else does. The message says how to end that.
    """
    rollout, value = step_text.rollout_of(history.resource), reference(history.resource, PAUSE)
    candidate = rollout.candidate if rollout is not None else None
    if value is not None:
        held = history.find(value[0])
        title = held.title if held is not None else f"{value[0]}, which does not exist,"
        line = f"the pause of {title} ends."
        if rollout is not None and candidate == value[0] and rollout.moving:
            line += f" The rollout continues from {rollout.place}."
        action = _action(history, candidate, {PAUSE: None}, (line,))
        return Action(action.annotations, (*action.lines, *_still_held(history, rollout)))
    if history.resource.spec.paused:
        raise Failed(f"spec.paused of {history.name} is true: set it to false in the spec")
    if rollout is not None and rollout.moving and rollout.awaits_approval:
        raise Failed(
            f"the rollout waits for approval at {rollout.place}: run `sluicegate promote {history.cli_args}` "
            "to continue"
        )
    return _action(history, candidate, {}, ("the rollout is not paused: nothing was changed.",))


def _still_held(history: History, rollout: Rollout | None) -> Iterator[str]:
    if history.resource.spec.paused:
        yield "spec.paused is still true: nothing changes until you set it to false in the spec."
    elif rollout is not None and rollout.moving and not rollout.done:
        pause = rollout.steps[rollout.index].pause
        if pause is not None and pause.duration is None:
            yield f"The current step still waits for approval. To continue: sluicegate promote {history.cli_args}"


def _in_progress(history: History, verb: str) -> tuple[Rollout, RevisionSummary]:
    """Return the rollout with steps that is in progress, and its candidate.

    Raises:
        Failed: No such rollout is in progress, or spec.canary, the annotation `pin` or spec.paused decides instead.
    """
    spec, name = history.resource.spec, history.name
    nothing = f"so there is nothing to {verb}"
    if spec.canary is not None:
        raise Failed(
            f"{name} declares its canary in spec.canary, {nothing}. To promote it, move the content of spec.canary "
            "into the base of the spec and remove spec.canary; the same pods keep running. To change its share, set "
            "spec.canary.weight"
        )
    if history.pin is not None:
        held = history.pinned.title if history.pinned is not None else history.pin
        raise Failed(
            f"the annotation {names.ANNOTATION_PIN} holds {held}, {nothing}: run "
            f"`sluicegate unpin {history.cli_args}` first"
        )
    if spec.paused:
        raise Failed(f"spec.paused of {name} is true, {nothing}: set it to false in the spec first")
    rollout = step_text.rollout_of(history.resource)
    if rollout is not None and rollout.moving:
        candidate = history.find(rollout.candidate)
        if candidate is not None:
            return rollout, candidate
    raise Failed(_not_in_progress(history, rollout, nothing))


def _not_in_progress(history: History, rollout: Rollout | None, nothing: str) -> str:
    name = history.name
    stopped = aborted(history)
    if stopped is not None:
        return _was_aborted(history, stopped)
    given_up = next((summary for summary in history.revisions if gave_up(history, summary)), None)
    if given_up is not None:
        rolled_back = rollout is not None and rollout.status.phase is Phase.ROLLED_BACK
        cause = rollout.status.message if rollout is not None and rolled_back else given_up.message
        detail = f" ({cause.rstrip('.')})" if cause else ""
        retry = f"sluicegate retry {history.cli_args}"
        return f"{given_up.title} was given up{detail}, {nothing}: run `{retry}` to try it again"
    if history.desired is not None and not history.resource.spec.rollout.steps:
        return (
            f"{history.desired.title} becomes stable once its pods are ready, because spec.rollout.steps is not set, "
            f"{nothing}. To see why it waits: sluicegate get {history.cli_args}"
        )
    serves = f"{history.stable.title} is stable" if history.stable is not None else "no revision is stable yet"
    return f"no rollout of {name} is in progress ({serves}), {nothing}{_not_observed(history)}"


def _not_observed(history: History) -> str:
    observed = history.resource.status.observed_generation or 0
    generation = history.resource.metadata.generation
    if observed >= generation:
        return ""
    return f". The operator has not observed generation {generation} yet: run the command again in a moment"


def gave_up(history: History, revision: RevisionSummary) -> bool:
    """Tell whether the operator has given up a revision.

    It gives up a revision that failed or was rolled back. For an aborted revision see `aborted`.
    """
    rollout = history.resource.status.rollout
    rolled_back = rollout is not None and rollout.phase is Phase.ROLLED_BACK and rollout.candidate == revision.hash
    return revision.role == Role.FAILED or rolled_back


def _action(history: History, revision: str | None, values: Mapping[str, str | None], lines: Iterable[str]) -> Action:
    """Return the action, without annotations that already have the desired value.

    Where `revision` is given, the action also removes the annotations that name another revision.
    """
    current = {
        key: value.strip().removeprefix(f"{history.name}-")
        for key, value in history.resource.metadata.annotations.items()
    }
    changes = {key: value for key, value in values.items() if current.get(key) != value}
    first, *rest = lines
    unchanged = " This was requested already: nothing was changed." if values and not changes else ""
    printed = [f"{history.resource.metadata.namespace}/{history.name}: {first}{unchanged}", *rest]
    for key in (PROMOTE, ABORT, PAUSE, RETRY) if revision is not None else ():
        value = reference(history.resource, key)
        if value is not None and value[0] != revision and key not in changes:
            changes[key] = None
            printed.append(f"Removed the annotation {key}, which named {value[0]}, a revision of no current rollout.")
    return Action(changes, tuple(printed))
