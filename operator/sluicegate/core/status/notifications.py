"""Which changes of a status are worth calling somebody: what a rollout came to while nobody watched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import msgspec

from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import ConditionType, ModelDeploymentStatus, Phase, RevisionStatus, RolloutVerdict
from sluicegate.config.settings import NotificationSettings

EventName = Literal["RolledBack", "Promoted", "Paused", "Failed"]
_TITLES = {
    "RolledBack": "Rolled back",
    "Promoted": "Promoted",
    "Paused": "Waits for a person",
    "Failed": "Failed",
}
_SLACK_LIMIT = 3000
"""Characters of a text: Slack takes more, some of those that are compatible do not."""


class Notification(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is sent as format JSON, field by field; fields are only ever added."""

    id: str
    """The same in each attempt to deliver it, so that a receiver can tell a repetition."""
    event: EventName
    time: str
    cluster: str
    namespace: str
    name: str
    message: str
    reason: str | None = None
    revision: str | None = None
    """Name of the revision that it is about."""
    model: str | None = None
    """What that revision serves, NAME/VERSION or the URI."""
    stable: str | None = None
    """Name of the revision that serves now."""
    verdict: RolloutVerdict | None = None
    """The measurement that decided, of RolledBack."""
    url: str | None = None


def notifications(
    resource: ModelDeployment, after: ModelDeploymentStatus, cluster: str, now: datetime
) -> Iterator[Notification]:
    """What has happened between the status that `resource` had, and `after`, which is written."""
    before, metadata = resource.status, resource.metadata
    for event, revision, reason, message in _happened(before, after):
        entry = _entry(after, revision) or _entry(before, revision)
        time = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        stable = after.stable
        yield Notification(
            id=hashlib.blake2b(f"{metadata.uid} {event} {revision} {time}".encode(), digest_size=12).hexdigest(),
            event=event,
            time=time,
            cluster=cluster,
            namespace=metadata.namespace,
            name=metadata.name,
            message=message,
            reason=reason,
            revision=entry.name if entry is not None else revision,
            model=entry.model if entry is not None else None,
            stable=stable.name if stable is not None else None,
            verdict=after.rollout.verdict if event == "RolledBack" and after.rollout is not None else None,
            url=after.url,
        )


def _happened(
    before: ModelDeploymentStatus, after: ModelDeploymentStatus
) -> Iterator[tuple[EventName, str | None, str | None, str]]:
    """(event, hash of the revision, reason, message) of each."""
    old, new = before.stable, after.stable
    if old is not None and new is not None and old.revision != new.revision:
        yield "Promoted", new.revision, None, f"{new.model or new.name} serves now; it was {old.model or old.name}."
    phase, target, reason, message = _phase(after)
    moved = (phase, target) != _phase(before)[:2]
    returned = phase is not None and phase.returned
    if moved and returned:
        yield "RolledBack", target, reason, message or "The new version was taken back."
    if moved and phase is Phase.PAUSED:
        yield "Paused", target, reason, message or "The rollout waits for a person."
    if moved and phase is Phase.FAILED:
        yield "Failed", target, reason, message or "The new version failed."
    elif not returned:
        was, now = _stalled(before), _stalled(after)
        if now is not None and now != was:
            yield "Failed", target, now, _message(after)


def _phase(status: ModelDeploymentStatus) -> tuple[Phase | None, str | None, str | None, str | None]:
    rollout = status.rollout
    return (
        (rollout.phase, rollout.target, rollout.reason, rollout.message)
        if rollout is not None
        else (None, None, None, None)
    )


def _stalled(status: ModelDeploymentStatus) -> str | None:
    """Why nothing goes on until somebody acts."""
    found = (each for each in status.conditions if each.type == ConditionType.STALLED.value)
    return next((each.reason for each in found if each.status == "True"), None)


def _message(status: ModelDeploymentStatus) -> str:
    return next(each.message for each in status.conditions if each.type == ConditionType.STALLED.value)


def _entry(status: ModelDeploymentStatus, revision: str | None) -> RevisionStatus | None:
    return next((entry for entry in status.revisions if entry.revision == revision), None)


def wants(settings: NotificationSettings, notification: Notification) -> bool:
    """Whether a destination is told of it."""
    if settings.namespaces and notification.namespace not in settings.namespaces:
        return False
    return notification.event in settings.events


def body(settings: NotificationSettings, notification: Notification) -> bytes:
    """What a destination gets."""
    if settings.format == "JSON":
        return msgspec.json.encode(notification)
    return msgspec.json.encode({"text": _text(notification)})


def _text(told: Notification) -> str:
    """A line for people, in what Slack, Mattermost and others read as mark-up."""
    what = f" {told.model}" if told.model else ""
    head = f"*{_TITLES[told.event]}:* `{told.namespace}/{told.name}`{what} ({told.cluster})"
    lines = [told.message]
    if told.verdict is not None and told.verdict.message and told.verdict.message not in told.message:
        lines.append(told.verdict.message)
    return _escape("\n".join([head, *lines]))[:_SLACK_LIMIT]


def _escape(text: str) -> str:
    """A message may hold what a pod has said: it must mention nobody and link nowhere."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
