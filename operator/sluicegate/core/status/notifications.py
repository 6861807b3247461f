"""The changes of a status that are worth a notification.

They tell users the result of a rollout that they did not watch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import msgspec

from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import AnalysisStatus, ConditionType, ModelDeploymentStatus, Phase, RevisionStatus
from sluicegate.config.settings import NotificationSettings
from sluicegate.core.snapshot.analysis_result import Outcome

EventName = Literal["RolledBack", "Promoted", "Paused", "Failed"]
_TITLES = {
    "RolledBack": "Rolled back",
    "Promoted": "Promoted",
    "Paused": "Waiting for approval",
    "Failed": "Failed",
}
_SLACK_LIMIT = 3000
"""Maximum number of characters in a text. Slack accepts more, but some compatible receivers do not."""


class Notification(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The body of a notification in format JSON.

    New fields may be added, but no field is ever removed.
    """

    id: str
    """An id that is the same for each attempt to deliver the notification, so that a receiver can detect a
    repetition."""
    event: EventName
    time: str
    cluster: str
    namespace: str
    name: str
    message: str
    reason: str | None = None
    revision: str | None = None
    """Name of the revision that the notification is about."""
    model: str | None = None
    """What that revision serves, as NAME/VERSION or the URI."""
    stable: str | None = None
    """Name of the revision that serves now."""
    analysis: AnalysisStatus | None = msgspec.field(default=None, name="verdict")
    """The measurement that decided, for the event RolledBack."""
    url: str | None = None


def notifications(
    resource: ModelDeployment, after: ModelDeploymentStatus, cluster: str, now: datetime
) -> Iterator[Notification]:
    """Yield a notification for each event between two statuses.

    `resource` has the status from before. `after` is the status that the operator writes.
    """
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
            analysis=after.rollout.analysis if event == "RolledBack" and after.rollout is not None else None,
            url=after.url,
        )


def _happened(
    before: ModelDeploymentStatus, after: ModelDeploymentStatus
) -> Iterator[tuple[EventName, str | None, str | None, str]]:
    """Yield (event, hash of the revision, reason, message) for each event."""
    old, new = before.stable, after.stable
    phase, candidate, reason, message = _phase(after)
    moved = (phase, candidate) != _phase(before)[:2]
    returned = phase is not None and phase.returned
    if old is not None and new is not None and old.revision != new.revision and not (moved and returned):
        yield (
            "Promoted",
            new.revision,
            None,
            f"{new.model or new.name} is stable now instead of {old.model or old.name}.",
        )
    if moved and returned:
        yield "RolledBack", candidate, reason, message or "The new version was rolled back."
    if moved and phase is Phase.PAUSED:
        yield "Paused", candidate, reason, message or "The rollout waits for approval."
    if moved and phase is Phase.FAILED:
        yield "Failed", candidate, reason, message or "The new version failed."
    elif not returned:
        was, now = _stalled(before), _stalled(after)
        if now is not None and now != was:
            yield "Failed", candidate, now, _message(after)


def _phase(status: ModelDeploymentStatus) -> tuple[Phase | None, str | None, str | None, str | None]:
    rollout = status.rollout
    return (
        (rollout.phase, rollout.candidate, rollout.reason, rollout.message)
        if rollout is not None
        else (None, None, None, None)
    )


def _stalled(status: ModelDeploymentStatus) -> str | None:
    """Return why nothing continues until a user acts, or None."""
    stalled = (condition for condition in status.conditions if condition.type == ConditionType.STALLED.value)
    return next((condition.reason for condition in stalled if condition.status == "True"), None)


def _message(status: ModelDeploymentStatus) -> str:
    return next(condition.message for condition in status.conditions if condition.type == ConditionType.STALLED.value)


def _entry(status: ModelDeploymentStatus, revision: str | None) -> RevisionStatus | None:
    return next((entry for entry in status.revisions if entry.revision == revision), None)


def wants(settings: NotificationSettings, notification: Notification) -> bool:
    """Tell whether a destination gets the notification."""
    if settings.namespaces and notification.namespace not in settings.namespaces:
        return False
    return notification.event in settings.events


def body(settings: NotificationSettings, notification: Notification) -> bytes:
    """Return the request body for a destination."""
    if settings.format == "JSON":
        return msgspec.json.encode(notification)
    return msgspec.json.encode({"text": _text(notification)})


def _text(notification: Notification) -> str:
    """Format a text in the markup that Slack, Mattermost and others read.

    The message of a rollback has the measurement that failed. An outcome other than Failed is added.
    """
    model = f" {notification.model}" if notification.model else ""
    head = (
        f"*{_TITLES[notification.event]}:* `{notification.namespace}/{notification.name}`{model} "
        f"({notification.cluster})"
    )
    lines, analysis = [notification.message], notification.analysis
    if analysis is not None and analysis.message and analysis.outcome != Outcome.FAILED:
        lines.append(analysis.message)
    return _escape("\n".join([head, *lines]))[:_SLACK_LIMIT]


def _escape(text: str) -> str:
    """Escape markup in a text.

    A message may quote the output of a pod. It must not mention users or contain links.
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
