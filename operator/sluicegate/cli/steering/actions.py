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
from sluicegate.cli.output.step_text import Course
from sluicegate.cli.steering.revisions import Entry, History
from sluicegate.core.snapshot.overrides import reference

PROMOTE, ABORT, PAUSE, RETRY = (
    names.ANNOTATION_PROMOTE,
    names.ANNOTATION_ABORT,
    names.ANNOTATION_PAUSE,
    names.ANNOTATION_RETRY,
)
CANARY_ROLES = (Role.CANARY, Role.NEXT_CANARY)


@dataclass(frozen=True, slots=True)
class Order:
    """The annotations to write, and the lines to print."""

    annotations: Mapping[str, str | None]
    told: tuple[str, ...]


def promote(known: History, *, full: bool) -> Order:
    """Promote the rollout past its current step.

    Args:
        known: The revisions of the ModelDeployment.
        full: Whether to skip all remaining steps.

    Raises:
        Failed: There is nothing to promote. The message says why, and what to do instead.
    """
    found, entry = _under_way(known, "promote")
    if known.abort == found.target:
        raise Failed(_was_aborted(known, entry))
    if found.through:
        raise Failed(f"{entry.title} is {found.place} and takes over already, so there is nothing to promote")
    if reference(known.resource, PROMOTE) == (found.target, None) and not full:
        raise Failed(
            f"{entry.title} is promoted whole already: `sluicegate pause {known.name}` stops that, "
            f"`sluicegate abort {known.name}` goes back"
        )
    held = step_text.paused_by_a_person(known.resource, found.target)
    lifted = (f"The annotation {PAUSE}, which held it, is removed.",) if held else ()
    if full:
        told = _whole(known, found, entry)
        value = found.target
    else:
        told, value = _past(found, entry), f"{found.target}/{found.index + 1}"
    return _order(known, found.target, {PROMOTE: value, PAUSE: None}, (*told, *lifted))


def _was_aborted(known: History, entry: Entry) -> str:
    return f"{entry.title} was aborted: `sluicegate retry {known.name}` lets it try again"


def _whole(known: History, found: Course, entry: Entry) -> tuple[str, ...]:
    left = (
        f"step {len(found.steps)}"
        if found.index + 1 == len(found.steps)
        else f"steps {found.index + 1} to {len(found.steps)}"
    )
    drains = f" {known.stable.title} drains after that." if known.stable is not None else ""
    return (
        f"{entry.title} skips what is left ({left}) and its analysis, and takes over whole as soon as its pods can "
        f"carry it.{drains}",
        f"To go back: sluicegate abort {known.name}",
    )


def _past(found: Course, entry: Entry) -> tuple[str, ...]:
    last = found.index + 1 == len(found.steps)
    ahead = (
        "it takes over whole"
        if last
        else f"step {found.index + 2}: {step_text.described(found.steps[found.index + 1])}"
    )
    if found.status.phase in (Phase.WAITING, Phase.SCALING, Phase.SHIFTING):
        waits = "once it has that share, without a hold or pause, whatever its analysis says"
    elif found.for_a_person:
        waits = "its pause is over"
    else:
        waits = "without waiting for its hold, its pause or its analysis"
    return (f"{entry.title} goes on past {found.place}, {waits}. Next, {ahead}.",)


def abort(known: History) -> Order:
    """Abort the rollout: all traffic returns to stable.

    A canary that `spec.canary` declares receives no requests from then on.

    Raises:
        Failed: No rollout is in progress, or there is no stable revision to return to.
    """
    chosen = _aborted(known)
    again = f"or by `sluicegate retry {known.name}`"
    told: tuple[str, ...]
    if chosen.role in CANARY_ROLES:
        told = (f"canary {chosen.title} gets no requests until spec.canary changes, {again}.",)
    else:
        found, stable = step_text.course(known.resource), known.stable
        where = f" at {found.place}" if found is not None and found.target == chosen.hash and found.begun else ""
        back = f"all requests go back to {stable.title}" if stable is not None else ""
        told = (
            f"the rollout of {chosen.title} ends{where}, and {back}.",
            f"It is not tried again until the model or the spec asks for something else, {again}.",
        )
    return _order(known, chosen.hash, {ABORT: chosen.hash, PROMOTE: None, PAUSE: None, RETRY: None}, told)


def _aborted(known: History) -> Entry:
    if known.resource.spec.canary is not None:
        canary = next((each for each in known.entries if each.role in CANARY_ROLES), None)
        if canary is not None:
            return canary
    chosen = _target(known)
    if chosen is None:
        serves = f": {known.stable.title} serves" if known.stable is not None else ""
        raise Failed(
            f"nothing of {known.name} is on its way to take over, so there is nothing to abort{serves}; to go back to "
            f"what served before: sluicegate rollback {known.name}{_unseen(known)}"
        )
    if known.stable is None or known.stable is chosen:
        raise Failed(f"{chosen.title} is all that {known.name} has, so there is nothing to go back to: change the spec")
    return chosen


def _target(known: History) -> Entry | None:
    """Return the revision that is being rolled out, or that was aborted already."""
    found = step_text.course(known.resource)
    if known.target is not None:
        return known.target
    moving = found.target if found is not None and found.moving else None
    going = next((each for each in known.entries if each.hash == moving and each.role != Role.STABLE), None)
    return going or aborted(known)


def aborted(known: History) -> Entry | None:
    """Return the revision that the spec asks for and the annotation `abort` stops.

    Returns:
        The revision, or None where the annotation is not set or names a revision that the spec does not ask for.
    """
    told = any(each.reason == Reason.ABORTED for each in known.resource.status.conditions)
    roles = (*CANARY_ROLES, Role.TARGET, Role.FAILED)
    return next(
        (each for each in known.entries if each.aborted and each.role != Role.STABLE and (told or each.role in roles)),
        None,
    )


def pause(known: History) -> Order:
    """Keep the rollout at its current step.

    Raises:
        Failed: No rollout with steps is in progress, or its steps are all done.
    """
    found, entry = _under_way(known, "pause")
    if found.through:
        raise Failed(f"{entry.title} is {found.place} and takes over: `sluicegate abort {known.name}` goes back")
    dropped = reference(known.resource, PROMOTE)
    told = [
        f"{entry.title} stays at {found.place}, with the share it has; an analysis that fails still takes it back.",
        f"To go on: sluicegate resume {known.name}",
    ]
    if dropped is not None and dropped[0] == found.target:
        told.insert(1, f"The annotation {PROMOTE}, by which it would have gone on, is removed.")
    return _order(known, found.target, {PAUSE: found.target, PROMOTE: None}, told)


def resume(known: History) -> Order:
    """Continue the rollout after `pause`.

    Raises:
        Failed: The annotation does not hold the rollout, but something else does. The message says how to end that.
    """
    found, value = step_text.course(known.resource), reference(known.resource, PAUSE)
    if value is not None:
        entry = next((each for each in known.entries if each.hash == value[0]), None)
        held = entry.title if entry is not None else f"{value[0]}, which is not there"
        goes = (
            f" It goes on from {found.place}."
            if found is not None and found.target == value[0] and found.moving
            else ""
        )
        about = found.target if found is not None else None
        order = _order(known, about, {PAUSE: None}, (f"the pause of {held} is over.{goes}",))
        return Order(order.annotations, (*order.told, *_still_held(known, found)))
    if known.resource.spec.paused:
        raise Failed(f"spec.paused of {known.name} is true, and the spec is yours: set it to false there")
    if found is not None and found.moving and found.for_a_person:
        raise Failed(f"it waits at {found.place}, not at a `pause`: `sluicegate promote {known.name}` goes on")
    return _order(known, found.target if found is not None else None, {}, ("it is not paused: nothing was changed.",))


def _still_held(known: History, found: Course | None) -> Iterator[str]:
    if known.resource.spec.paused:
        yield "spec.paused is still true: set it to false in the spec, or nothing moves."
    elif found is not None and found.moving and not found.through:
        pause = found.steps[found.index].pause
        if pause is not None and pause.duration is None:
            yield f"Its step waits for a person all the same: sluicegate promote {known.name}"


def _under_way(known: History, verb: str) -> tuple[Course, Entry]:
    """Return the rollout with steps that is in progress, and its candidate.

    Raises:
        Failed: No such rollout is in progress, or spec.canary, the annotation `pin` or spec.paused decides instead.
    """
    spec, name = known.resource.spec, known.name
    nothing = f"so there is nothing to {verb}"
    if spec.canary is not None:
        raise Failed(
            f"{name} declares its canary in spec.canary, and the spec is yours, {nothing}: to promote it write what "
            "spec.canary changes into the base and remove spec.canary (the same pods go on serving); to change its "
            "share set spec.canary.weight"
        )
    if known.pin is not None:
        held = known.pinned.title if known.pinned is not None else known.pin
        raise Failed(f"the annotation {names.ANNOTATION_PIN} holds {held}, {nothing}: `sluicegate unpin {name}` first")
    if spec.paused:
        raise Failed(
            f"spec.paused of {name} is true, and nothing moves until it is false: set it to false in the spec first"
        )
    found = step_text.course(known.resource)
    if found is not None and found.moving:
        entry = next((each for each in known.entries if each.hash == found.target), None)
        if entry is not None:
            return found, entry
    raise Failed(_nothing(known, found, nothing))


def _nothing(known: History, found: Course | None, nothing: str) -> str:
    name = known.name
    stopped = aborted(known)
    if stopped is not None:
        return _was_aborted(known, stopped)
    given_up = next((each for each in known.entries if gave_up(known, each)), None)
    if given_up is not None:
        said = (
            found.status.message if found is not None and found.status.phase is Phase.ROLLED_BACK else given_up.message
        )
        why = f" ({said.rstrip('.')})" if said else ""
        return f"{given_up.title} is not tried any more{why}, {nothing}: `sluicegate retry {name}` tries it again"
    if known.target is not None and not known.resource.spec.rollout.steps:
        return (
            f"{known.target.title} takes over whole once its pods are ready, because there is no spec.rollout.steps, "
            f"{nothing}: `sluicegate get {name}` tells what it waits for"
        )
    serves = f"{known.stable.title} serves" if known.stable is not None else "nothing serves yet"
    return f"no rollout of {name} is under way ({serves}), {nothing}{_unseen(known)}"


def _unseen(known: History) -> str:
    seen, generation = known.resource.status.observed_generation or 0, known.resource.metadata.generation
    return (
        f"; the operator has not seen generation {generation} of it yet: try again in a moment"
        if seen < generation
        else ""
    )


def gave_up(known: History, entry: Entry) -> bool:
    """Tell whether the operator has given up a revision.

    It gives up a revision that failed or was rolled back. For an aborted revision see `aborted`.
    """
    rollout = known.resource.status.rollout
    back = rollout is not None and rollout.phase is Phase.ROLLED_BACK and rollout.target == entry.hash
    return entry.role == Role.FAILED or back


def _order(known: History, about: str | None, wanted: Mapping[str, str | None], told: Iterable[str]) -> Order:
    """Return the order, without annotations that already have the desired value.

    Where `about` is given, the order also removes the annotations that name another revision.
    """
    there = {
        key: value.strip().removeprefix(f"{known.name}-") for key, value in known.resource.metadata.annotations.items()
    }
    changes = {key: value for key, value in wanted.items() if there.get(key) != value}
    first, *rest = told
    again = " It was told so before: nothing was changed." if wanted and not changes else ""
    lines = [f"{known.resource.metadata.namespace}/{known.name}: {first}{again}", *rest]
    for key in (PROMOTE, ABORT, PAUSE, RETRY) if about is not None else ():
        value = reference(known.resource, key)
        if value is not None and value[0] != about and key not in changes:
            changes[key] = None
            lines.append(f"The annotation {key} named {value[0]}, of which nothing is asked any more: it is removed.")
    return Order(changes, tuple(lines))
