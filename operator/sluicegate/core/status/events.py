"""Which changes of a status are worth an Event: what a person watching `kubectl describe` wants to see happen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sluicegate.api.status import ConditionType, ModelDeploymentStatus, Phase, Role, RolloutStatus
from sluicegate.core.snapshot.analysis_result import Outcome


class Announcement(NamedTuple):
    """One Event to be."""

    severity: str
    """Normal or Warning."""
    reason: str
    message: str


def announcements(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> Iterator[Announcement]:
    """What happened between two statuses."""
    known = {entry.revision for entry in before.revisions}
    for entry in after.revisions:
        if entry.revision not in known:
            yield Announcement("Normal", "RevisionCreated", f"Revision {entry.name} of {entry.model} was made.")
    for uri, version, now in version_changes(before, after):
        yield Announcement("Normal", "ModelChanged", f"{uri} is now version {now}; it was {version}.")
    old, new = _stable(before), _stable(after)
    if new is not None and new != old:
        names = {entry.revision: entry.name for entry in after.revisions}
        over = f" from {names.get(old, old)}" if old is not None else ""
        yield Announcement("Normal", "Promoted", f"Revision {names[new]} takes the traffic{over}.")
    if after.canary != before.canary and (after.canary or before.canary):
        share = f"has {after.canary} of the requests" if after.canary else "is gone"
        yield Announcement("Normal", "CanaryWeight", f"The canary {share}.")
    yield from _rollout(before.rollout, after.rollout)
    yield from _ready(before, after)


def rollback(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> str | None:
    """What condemned a rollout that was taken back between two statuses: a metric's name, or Crash; None where none was."""
    old, new = before.rollout, after.rollout
    if (
        new is None
        or new.phase is not Phase.ROLLED_BACK
        or (old is not None and (old.phase, old.target) == (new.phase, new.target))
    ):
        return None
    failed = new.verdict is not None and new.verdict.outcome == Outcome.FAILED
    return (new.verdict.metric if failed and new.verdict is not None else None) or "Crash"


def version_changes(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> Iterator[tuple[str, str, str]]:
    """(URI, version before, version after) of each URI that has come to mean another version, while the spec stayed."""
    for old, new in ((before.model, after.model), (before.canary_model, after.canary_model)):
        if old is None or new is None or (old.uri, old.registry) != (new.uri, new.registry):
            continue
        if old.version is not None and new.version is not None and old.version != new.version:
            yield new.uri, old.version, new.version


_TOLD = {Phase.HOLDING: "RolloutStep", Phase.PAUSED: "RolloutPaused", Phase.PROMOTING: "RolloutPromoting"}
"""Phases that are worth an Event, each once a step: how a step comes about is in status."""


def _rollout(old: RolloutStatus | None, new: RolloutStatus | None) -> Iterator[Announcement]:
    """The steps of a rollout. What ends it is told by others: Promoted, and what Stalled says."""
    if new is None or new.step_index is None or new.phase not in _TOLD:
        return
    if old is not None and (old.phase, old.target, old.step_index) == (new.phase, new.target, new.step_index):
        return
    at = f"Step {new.step_index + 1}: " if new.phase is not Phase.PROMOTING else ""
    yield Announcement("Normal", _TOLD[new.phase], f"{at}{new.message}")


def _stable(status: ModelDeploymentStatus) -> str | None:
    return next((entry.revision for entry in status.revisions if entry.role == Role.STABLE), None)


def _ready(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> Iterator[Announcement]:
    kinds = (ConditionType.READY.value, ConditionType.STALLED.value)
    was = {condition.type: condition for condition in before.conditions if condition.type in kinds}
    now = {condition.type: condition for condition in after.conditions if condition.type in kinds}
    ready, stalled = now[ConditionType.READY.value], now[ConditionType.STALLED.value]
    if stalled.status == "True":
        old = was.get(ConditionType.STALLED.value)
        if old is None or (old.status, old.reason) != (stalled.status, stalled.reason):
            yield Announcement("Warning", stalled.reason, stalled.message)
    elif ready.status == "True" and (
        ConditionType.READY.value not in was or was[ConditionType.READY.value].status != "True"
    ):
        yield Announcement("Normal", "Ready", ready.message)
