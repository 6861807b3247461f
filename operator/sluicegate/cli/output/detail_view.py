"""The view of `sluicegate get`: one ModelDeployment and what belongs to it.

The view has its revisions, pods and Events. It is data and has no clock: its times become ages when it is printed.
Two views are therefore equal where nothing has happened between them.
A live view is shown again only after a change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.spec import CanarySpec
from sluicegate.api.status import Condition, ConditionType, Phase, RevisionStatus
from sluicegate.cli.output import step_text
from sluicegate.cli.output.live_metrics import LiveMetrics
from sluicegate.cli.output.pod_state import container_statuses, pod_state
from sluicegate.cli.output.rollout_view import DEFAULT_SHELL, ProgressView, Shell, progress
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.parse import time_of
from sluicegate.core.status.unmet import unmet

Raw = Mapping[str, Any]
NOT_MEASURED = LiveMetrics()
EVENTS = 10
"""Number of Events to show: the newest ones."""
NOT_OBSERVED = "NotObserved"
"""Shown as the reason of a ModelDeployment that has no condition Ready yet."""


@dataclass(frozen=True, slots=True)
class ProblemView:
    """Why something is not as desired."""

    reason: str
    """One CamelCase word. One cause has the same reason wherever it shows. Empty for the command's own messages."""
    message: str
    name: str = ""
    """Name of the revision that it is about. Empty for a condition."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.name, self.reason, self.message) if part)


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
    message: str
    """Why it is not ready, and what to do. Empty where it is ready."""
    url: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod."""

    name: str
    state: str
    """One word, see `pod_state`."""
    ready: bool
    restarts: int
    created: datetime | None
    node: str | None
    problem: ProblemView | None
    """Why the pod does not serve."""


@dataclass(frozen=True, slots=True)
class RevisionView:
    """One revision and its pods."""

    name: str
    role: str
    ready: int
    desired: int
    """Desired number of pods."""
    pods: tuple[PodView, ...]
    number: int | None = None
    model: str | None = None
    weight: int = 0
    accepted: int | None = None
    measured: float | None = None
    """Percent of the requests that the revision really received, while the operator measures that."""
    problem: ProblemView | None = None


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
    model: str | None
    """Model name and version that the URI resolved to."""
    canary: str | None
    phase: Phase | None
    rollout_since: datetime | None
    progress: ProgressView | None
    """The progress of a rollout with steps."""
    problems: tuple[ProblemView, ...]
    """Why the state is not as the spec declares, each with what to do."""
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
        reason=ready.reason if ready else NOT_OBSERVED,
        model=(stable.model if stable else None) or (status.model.name if status.model else None),
        version=(stable.version if stable else None) or (status.model.version if status.model else None),
        canary=status.canary or (f"{resource.spec.canary.weight}%" if resource.spec.canary else None),
        pods=f"{first.ready_replicas}/{first.replicas}" if first else "0/0",
        created=time_of(resource.metadata.creation_timestamp),
        message=next((str(problem) for problem in _problems(resource)), ""),
        url=status.url,
        address=status.address,
    )


def detail(
    resource: ModelDeployment,
    pods: Iterable[Raw],
    events: Iterable[Raw],
    live: LiveMetrics = NOT_MEASURED,
    shell: Shell = DEFAULT_SHELL,
) -> Detail:
    """Return the view of one ModelDeployment.

    Args:
        resource: The ModelDeployment.
        pods: Pods of its namespace. Pods of other ModelDeployments are ignored.
        events: Events of its namespace. Events about other objects are ignored.
        live: What the operator measures now.
        shell: How the user types commands.
    """
    status = resource.status
    shares = live.measured.shares if live.measured is not None else {}
    ready, available = _condition(resource, ConditionType.READY), _condition(resource, ConditionType.AVAILABLE)
    by_revision: dict[RevisionHash, list[PodView]] = {}
    for raw in pods:
        if parse.owner_key(raw) == resource.key and (revision := parse.revision_hash(raw)) is not None:
            by_revision.setdefault(revision, []).append(pod(raw))
    revisions = [_revision(entry, by_revision.pop(entry.revision, []), shares) for entry in status.revisions]
    revisions += [_unlisted(resource, revision, views) for revision, views in sorted(by_revision.items())]
    model, rollout = status.model, status.rollout
    return Detail(
        row=row(resource),
        since=time_of(ready.last_transition_time) if ready else None,
        available=available.status if available else "Unknown",
        uri=resource.spec.model.uri,
        model=f"{model.name} version {model.version}" if model and model.name and model.version else None,
        canary=_canary(resource.spec.canary, status.canary) if resource.spec.canary else None,
        phase=rollout.phase if rollout else None,
        rollout_since=time_of(rollout.started_at) if rollout else None,
        progress=progress(resource, live, shell),
        problems=tuple(_all_problems(resource, revisions)),
        conditions=status.conditions,
        revisions=tuple(revisions),
        events=_events(resource, events),
    )


def _condition(resource: ModelDeployment, kind: ConditionType) -> Condition | None:
    return next((condition for condition in resource.status.conditions if condition.type == kind), None)


def _problems(resource: ModelDeployment) -> Iterator[ProblemView]:
    """Yield why the resource is not as desired, the most important cause first, and each cause once."""
    status, generation = resource.status, resource.metadata.generation
    if resource.metadata.deletion_timestamp:
        yield ProblemView("", "The ModelDeployment is being deleted.")
        return
    if not status.observed_generation:
        yield ProblemView(
            "",
            "The operator has not observed the resource yet: check that the operator runs and watches this namespace.",
        )
        return
    if status.observed_generation < generation:
        yield ProblemView(
            "",
            f"The operator has observed generation {status.observed_generation}, and not yet generation {generation}.",
        )
    for condition in unmet(resource.status.conditions):
        yield ProblemView(condition.reason, condition.message)


def _all_problems(resource: ModelDeployment, revisions: Iterable[RevisionView]) -> list[ProblemView]:
    """Return the problems of the resource, and of each revision at most one whose reason is not among them."""
    problems = list(_problems(resource))
    reported = {problem.reason for problem in problems}
    for revision in revisions:
        for problem in (revision.problem, *(view.problem for view in revision.pods)):
            if problem is not None and problem.reason not in reported:
                problems.append(ProblemView(problem.reason, problem.message, revision.name))
                break
    return problems


def _revision(entry: RevisionStatus, pods: list[PodView], shares: Mapping[str, float]) -> RevisionView:
    return RevisionView(
        name=entry.name,
        number=entry.number,
        role=entry.role,
        model=entry.model,
        weight=entry.weight,
        accepted=entry.accepted_weight,
        measured=shares.get(entry.revision),
        ready=entry.ready_replicas,
        desired=entry.replicas,
        problem=ProblemView(entry.reason, entry.message or "") if entry.reason else None,
        pods=tuple(sorted(pods, key=lambda view: view.name)),
    )


def _unlisted(resource: ModelDeployment, revision: RevisionHash, pods: list[PodView]) -> RevisionView:
    """Return the view of a revision that has pods and that status does not list."""
    name = names.child_name(resource.metadata.name, revision)
    return RevisionView(name=name, role="-", ready=sum(view.ready for view in pods), desired=0, pods=tuple(pods))


def pod(raw: Raw) -> PodView:
    """Return the view of one pod."""
    facts = parse.pod(raw)
    problem = facts.problem if not facts.deleting else None
    return PodView(
        name=facts.name,
        state=pod_state(raw, facts),
        ready=facts.ready and not facts.deleting,
        restarts=sum(int(container.get("restartCount") or 0) for container in container_statuses(raw)),
        created=time_of(raw["metadata"].get("creationTimestamp")),
        node=(raw.get("spec") or {}).get("nodeName"),
        problem=ProblemView(problem.reason, problem.message) if problem is not None else None,
    )


def _canary(canary: CanarySpec, accepted: str | None) -> str:
    """Describe the traffic share of the canary, as declared and as accepted."""
    weight = f"{canary.weight}% declared, {accepted or 'none'} accepted"
    return "; ".join([weight, *step_text.matches(canary.match or ()), *step_text.mirror(canary.mirror)])


def _events(resource: ModelDeployment, events: Iterable[Raw]) -> tuple[EventView, ...]:
    """Return the newest Events of the resource, and Warnings about its children.

    The oldest of them comes first.
    """
    child = re.compile(rf"{re.escape(resource.metadata.name)}(-[a-z0-9]{{{names.HASH_LENGTH}}}(-.*)?)?")
    views = []
    for raw in events:
        about = raw.get("involvedObject") or {}
        own = about.get("kind") == names.KIND and about.get("name") == resource.metadata.name
        warning = raw.get("type") == "Warning"
        if raw.get("reason") == "Unhealthy" and str(raw.get("message") or "").startswith("Startup probe failed"):
            continue  # every start has them, until the model is loaded
        if own or (warning and about.get("kind") != names.KIND and child.fullmatch(str(about.get("name") or ""))):
            views.append(_event(raw, about, warning))
    views.sort(key=lambda view: (view.at.timestamp() if view.at else 0.0, view.about, view.reason))
    return tuple(views[-EVENTS:])


def _event(raw: Raw, about: Raw, warning: bool) -> EventView:
    series = raw.get("series") or {}
    at = (
        series.get("lastObservedTime")
        or raw.get("lastTimestamp")
        or raw.get("eventTime")
        or raw["metadata"].get("creationTimestamp")
    )
    return EventView(
        at=time_of(at),
        warning=warning,
        reason=str(raw.get("reason") or ""),
        about=f"{about.get('kind')}/{about.get('name')}",
        message=" ".join(str(raw.get("message") or "").split()),
        count=int(series.get("count") or raw.get("count") or 1),
    )
