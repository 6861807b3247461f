"""The changes of a status that are worth an Event.

These are the changes that a user expects to see in `kubectl describe`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sluicegate.api.names import RevisionHash
from sluicegate.api.status import ConditionType, ModelDeploymentStatus, Phase, Role, RolloutStatus
from sluicegate.core.snapshot.analysis_result import Outcome


class Event(NamedTuple):
    """An Event to create."""

    severity: str
    """Normal or Warning."""
    reason: str
    message: str


def events_between(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> Iterator[Event]:
    """Yield an Event for each change between two statuses."""
    present = {entry.revision for entry in before.revisions}
    for entry in after.revisions:
        if entry.revision not in present:
            yield Event("Normal", "RevisionCreated", f"Created revision {entry.name} of {entry.model}.")
    for uri, version, now in version_changes(before, after):
        yield Event("Normal", "ModelChanged", f"{uri} now resolves to version {now} instead of {version}.")
    old, new = _stable(before), _stable(after)
    if new is not None and new != old and rollback(before, after) is None:
        names = {entry.revision: entry.name for entry in after.revisions}
        instead = f" instead of {names.get(old, old)}" if old is not None else ""
        yield Event("Normal", "Promoted", f"Revision {names[new]} is stable now{instead}.")
    declared = after.canary_model is not None or before.canary_model is not None
    if declared and after.canary != before.canary and (after.canary or before.canary):
        share = f"receives {after.canary} of the requests" if after.canary else "was removed"
        yield Event("Normal", "CanaryWeight", f"The canary {share}.")
    yield from _rollout(before.rollout, after.rollout)
    yield from _ready(before, after)


def rollback(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> str | None:
    """Return the cause of a rollback that happened between two statuses, or None.

    The cause is the name of a metric, or Crash.
    """
    old, new = before.rollout, after.rollout
    if (
        new is None
        or new.phase is not Phase.ROLLED_BACK
        or (old is not None and (old.phase, old.candidate) == (new.phase, new.candidate))
    ):
        return None
    failed = new.analysis is not None and new.analysis.outcome == Outcome.FAILED
    return (new.analysis.metric if failed and new.analysis is not None else None) or "Crash"


def version_changes(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> Iterator[tuple[str, str, str]]:
    """Yield (URI, version before, version after) of each URI that changed.

    These are the URIs that now resolve to another version, although the spec did not change them.
    """
    for old, new in ((before.model, after.model), (before.canary_model, after.canary_model)):
        if old is None or new is None or (old.uri, old.registry) != (new.uri, new.registry):
            continue
        if old.version is not None and new.version is not None and old.version != new.version:
            yield new.uri, old.version, new.version


_EVENT_REASONS = {Phase.HOLDING: "RolloutStep", Phase.PAUSED: "RolloutPaused", Phase.PROMOTING: "RolloutPromoting"}
"""Phases that are worth an Event, at most one a step. How a rollout gets to these phases is in status."""


def _rollout(old: RolloutStatus | None, new: RolloutStatus | None) -> Iterator[Event]:
    """Yield an Event for a phase of a rollout.

    Other Events report the end of a rollout: Promoted, and the Event for the condition Stalled.
    """
    if new is None or new.step_index is None or new.phase not in _EVENT_REASONS:
        return
    if old is not None and (old.phase, old.candidate, old.step_index) == (new.phase, new.candidate, new.step_index):
        return
    at = f"Step {new.step_index + 1}: " if new.phase is not Phase.PROMOTING else ""
    yield Event("Normal", _EVENT_REASONS[new.phase], f"{at}{new.message}")


def _stable(status: ModelDeploymentStatus) -> RevisionHash | None:
    return next((entry.revision for entry in status.revisions if entry.role == Role.STABLE), None)


def _ready(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> Iterator[Event]:
    kinds = (ConditionType.READY.value, ConditionType.STALLED.value)
    was = {condition.type: condition for condition in before.conditions if condition.type in kinds}
    now = {condition.type: condition for condition in after.conditions if condition.type in kinds}
    ready, stalled = now[ConditionType.READY.value], now[ConditionType.STALLED.value]
    if stalled.status == "True":
        old = was.get(ConditionType.STALLED.value)
        if old is None or (old.status, old.reason) != (stalled.status, stalled.reason):
            yield Event("Warning", stalled.reason, stalled.message)
    elif ready.status == "True" and (
        ConditionType.READY.value not in was or was[ConditionType.READY.value].status != "True"
    ):
        yield Event("Normal", "Ready", ready.message)
