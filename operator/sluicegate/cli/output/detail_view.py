"""The view of `sluicegate get`: one ModelDeployment and what belongs to it.

The view has its revisions, pods and Events. It is data and has no clock: its times become ages when it is printed.
Two views are therefore equal where nothing has happened between them.
A live view is shown again only after a change.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.spec import CanarySpec
from sluicegate.api.status import Condition, ConditionType, RevisionStatus
from sluicegate.cli.output.live_metrics import Look
from sluicegate.cli.output.rollout_view import AS_USUAL, ProgressView, Typed, progress
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.parse import time_of
from sluicegate.core.status.unmet import unmet

Raw = Mapping[str, Any]
NO_LOOK = Look()
EVENTS = 10
"""Number of Events to show: the newest ones."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of all ModelDeployments."""

    namespace: str
    name: str
    ready: str
    reason: str
    model: str | None
    version: str | None
    canary: str | None
    pods: str
    created: datetime | None
    waits: str
    """Why it is not ready, and what to do. Empty where it is ready."""
    url: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod."""

    name: str
    state: str
    """One word: Ready, Loading, Fetching, Pending, CrashLoopBackOff, ..."""
    ready: bool
    restarts: int
    created: datetime | None
    node: str | None
    reason: str | None
    """Why the pod does not serve, as one word."""
    problem: str | None
    """Why the pod does not serve."""


@dataclass(frozen=True, slots=True)
class RevisionView:
    """One revision and its pods."""

    name: str
    number: int | None
    role: str
    model: str | None
    weight: int
    accepted: int | None
    measured: float | None
    """Percent of the requests that the revision really received, while the operator measures that."""
    ready: int
    wanted: int
    reason: str | None
    problem: str | None
    pods: tuple[PodView, ...]


@dataclass(frozen=True, slots=True)
class EventView:
    """One Event of the ModelDeployment, or a Warning about one of its children."""

    at: datetime | None
    warning: bool
    reason: str
    about: str
    message: str
    count: int


@dataclass(frozen=True, slots=True)
class Detail:
    """Everything about one ModelDeployment."""

    row: Row
    since: datetime | None
    """When the status of the condition Ready last changed."""
    available: str
    uri: str
    serves: str | None
    """Model name and version that the URI resolved to."""
    canary: str | None
    rollout: str | None
    rollout_since: datetime | None
    progress: ProgressView | None
    """The progress of a rollout with steps."""
    waits: tuple[str, ...]
    """Why what serves is not what the spec declares, each with what to do."""
    conditions: tuple[Condition, ...]
    revisions: tuple[RevisionView, ...]
    events: tuple[EventView, ...]


def row(resource: ModelDeployment) -> Row:
    """Return the line of `resource` in the table."""
    status, ready = resource.status, _condition(resource, ConditionType.READY)
    stable = status.stable
    first = stable or next(iter(status.revisions), None)
    return Row(
        namespace=resource.metadata.namespace,
        name=resource.metadata.name,
        ready=ready.status if ready else "Unknown",
        reason=ready.reason if ready else "NotSeenYet",
        model=(stable.model if stable else None) or (status.model.name if status.model else None),
        version=(stable.version if stable else None) or (status.model.version if status.model else None),
        canary=status.canary or (f"{resource.spec.canary.weight}%" if resource.spec.canary else None),
        pods=f"{first.ready_replicas}/{first.replicas}" if first else "0/0",
        created=time_of(resource.metadata.creation_timestamp),
        waits=next(iter(_conditions_waiting(resource)), ""),
        url=status.url,
        address=status.address,
    )


def detail(
    resource: ModelDeployment,
    pods: Iterable[Raw],
    events: Iterable[Raw],
    look: Look = NO_LOOK,
    typed: Typed = AS_USUAL,
) -> Detail:
    """Return the view of one ModelDeployment.

    Args:
        resource: The ModelDeployment.
        pods: Pods of its namespace. Pods of other ModelDeployments are ignored.
        events: Events (events.k8s.io) of its namespace. Events about other objects are ignored.
        look: What the operator measures now.
        typed: How the user types commands.
    """
    status = resource.status
    shares = look.measured.shares if look.measured is not None else {}
    ready, available = _condition(resource, ConditionType.READY), _condition(resource, ConditionType.AVAILABLE)
    by_revision: dict[RevisionHash, list[PodView]] = {}
    for raw in pods:
        if parse.owner_key(raw) == resource.key and (revision := parse.revision_hash(raw)) is not None:
            by_revision.setdefault(revision, []).append(pod(raw))
    revisions = tuple(_revision(each, by_revision.pop(each.revision, []), shares) for each in status.revisions)
    strays = tuple(
        RevisionView(
            names.child_name(resource.metadata.name, revision),
            None,
            "-",
            None,
            0,
            None,
            None,
            _ready(found),
            0,
            None,
            None,
            tuple(found),
        )
        for revision, found in sorted(by_revision.items())
    )
    model, rollout = status.model, status.rollout
    return Detail(
        row=row(resource),
        since=time_of(ready.last_transition_time) if ready else None,
        available=available.status if available else "Unknown",
        uri=resource.spec.model.uri,
        serves=f"{model.name} version {model.version}" if model and model.name and model.version else None,
        canary=_canary(resource.spec.canary, status.canary) if resource.spec.canary else None,
        rollout=rollout.phase if rollout else None,
        rollout_since=time_of(rollout.started_at) if rollout else None,
        progress=progress(resource, look, typed),
        waits=tuple(_waits(resource, (*revisions, *strays))),
        conditions=status.conditions,
        revisions=(*revisions, *strays),
        events=_events(resource, events),
    )


def _condition(resource: ModelDeployment, kind: ConditionType) -> Condition | None:
    return next((each for each in resource.status.conditions if each.type == kind.value), None)


def _conditions_waiting(resource: ModelDeployment) -> list[str]:
    """Return the messages of the conditions that do not have their desired status.

    The most important message comes first, and each message occurs once.
    """
    status, generation = resource.status, resource.metadata.generation
    if resource.metadata.deletion_timestamp:
        return ["It is being deleted."]
    if not status.observed_generation:
        return ["The operator has not seen it yet: check that it runs, and that it serves this namespace."]
    found: list[str] = []
    if status.observed_generation < generation:
        found.append(f"The operator has not seen generation {generation} yet (it is at {status.observed_generation}).")
    for condition in unmet(status.conditions):
        found.append(f"{condition.reason}: {condition.message}" if condition.message else condition.reason)
    return found


def _waits(resource: ModelDeployment, revisions: Iterable[RevisionView]) -> list[str]:
    """Return the messages of conditions, and the problems with reasons that none of them has.

    For each revision, this adds at most one problem of the revision or of its pods.
    """
    found = _conditions_waiting(resource)
    reported = {condition.reason for condition in unmet(resource.status.conditions)}
    for revision in revisions:
        problems = [(revision.reason, revision.problem), *((pod.reason, pod.problem) for pod in revision.pods)]
        unreported = (problem for reason, problem in problems if problem is not None and reason not in reported)
        found.extend(f"{revision.name}: {problem}" for problem in itertools.islice(unreported, 1))
    return found


def _revision(entry: RevisionStatus, pods: list[PodView], shares: Mapping[str, float]) -> RevisionView:
    problem = f"{entry.reason}: {entry.message or ''}" if entry.reason else None
    return RevisionView(
        name=entry.name,
        number=entry.number,
        role=entry.role,
        model=entry.model,
        weight=entry.weight,
        accepted=entry.accepted_weight,
        measured=shares.get(entry.revision),
        ready=entry.ready_replicas,
        wanted=entry.replicas,
        reason=entry.reason,
        problem=problem,
        pods=tuple(sorted(pods, key=lambda each: each.name)),
    )


def _ready(pods: list[PodView]) -> int:
    return sum(each.ready for each in pods)


def pod(raw: Raw) -> PodView:
    """Return the view of one pod."""
    facts = parse.pod(raw)
    status = raw.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return PodView(
        name=facts.name,
        state=_state(raw, facts.ready, facts.deleting),
        ready=facts.ready and not facts.deleting,
        restarts=sum(int(each.get("restartCount") or 0) for each in containers),
        created=time_of(raw["metadata"].get("creationTimestamp")),
        node=(raw.get("spec") or {}).get("nodeName"),
        reason=facts.problem.reason if facts.problem and not facts.deleting else None,
        problem=f"{facts.problem.reason}: {facts.problem.message}" if facts.problem and not facts.deleting else None,
    )


def _state(raw: Raw, ready: bool, deleting: bool) -> str:
    """Return the state of a pod in one word."""
    status = raw.get("status") or {}
    if deleting:
        return "Terminating"
    if ready:
        return "Ready"
    if status.get("reason"):
        return str(status["reason"])
    for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        state = each.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return str(waiting)
        ended = state.get("terminated") or {}
        if ended.get("exitCode"):
            return str(ended.get("reason") or "Error")
        if "running" in state and each.get("name") == names.FETCH_CONTAINER:
            return "Fetching"
        if "running" in state and each.get("name") == names.INSTALL_CONTAINER:
            return "Installing"
        if "running" in state and each.get("name") == names.MODEL_CONTAINER:
            return "NotReady" if each.get("started") else "Loading"
    scheduled: Raw = next((each for each in status.get("conditions") or () if each.get("type") == "PodScheduled"), {})
    return str(scheduled.get("reason") or status.get("phase") or "Pending")


def _canary(canary: CanarySpec, accepted: str | None) -> str:
    """Describe the traffic share of the canary, as declared and as accepted."""
    parts = [f"{canary.weight}% wanted, {accepted or 'nothing'} accepted"]
    for match in canary.match or ():
        sign = "~" if match.header.type == "RegularExpression" else "="
        parts.append(f"requests with {match.header.name}{sign}{match.header.value}")
    if canary.mirror is not None:
        parts.append(f"copies of {canary.mirror.percent}%")
    return "; ".join(parts)


def _events(resource: ModelDeployment, events: Iterable[Raw]) -> tuple[EventView, ...]:
    """Return the newest Events of the resource, and Warnings about its children.

    The oldest of them comes first.
    """
    child = re.compile(rf"{re.escape(resource.metadata.name)}(-[a-z0-9]{{{names.HASH_LENGTH}}}(-.*)?)?")
    found = []
    for raw in events:
        about = raw.get("regarding") or {}
        own = about.get("kind") == names.KIND and about.get("name") == resource.metadata.name
        warning = raw.get("type") == "Warning"
        if own or (warning and about.get("kind") != names.KIND and child.fullmatch(str(about.get("name") or ""))):
            found.append(_event(raw, about, warning))
    found.sort(key=lambda each: (each.at.timestamp() if each.at else 0.0, each.about, each.reason))
    return tuple(found[-EVENTS:])


def _event(raw: Raw, about: Raw, warning: bool) -> EventView:
    series = raw.get("series") or {}
    at = (
        series.get("lastObservedTime")
        or raw.get("deprecatedLastTimestamp")
        or raw.get("eventTime")
        or raw["metadata"].get("creationTimestamp")
    )
    return EventView(
        at=time_of(at),
        warning=warning,
        reason=str(raw.get("reason") or ""),
        about=f"{about.get('kind')}/{about.get('name')}",
        message=" ".join(str(raw.get("note") or "").split()),
        count=int(series.get("count") or raw.get("deprecatedCount") or 1),
    )
