"""The revisions of a ModelDeployment, from their records and from status.

A user can roll back to the revisions that have a record, a ControllerRevision. Status says what each revision does now.
All functions here are pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import Phase, RevisionStatus, Role
from sluicegate.core.snapshot.overrides import Overrides
from sluicegate.core.snapshot.parse import labels, revision_hash, time_of
from sluicegate.core.snapshot.parse import revision as facts_of

Raw = Mapping[str, Any]
_VERSION = re.compile(r"v(\d+)")
_CANDIDATES = (Role.CANDIDATE, Role.CANARY, Role.NEXT_CANARY)


class NoSuchRevision(ValueError):
    """The user did not name exactly one revision that has a record.

    The message says what to name instead.
    """


@dataclass(frozen=True, slots=True)
class RevisionSummary:
    """One revision: what it is, from its record, and what it does, from status."""

    hash: RevisionHash
    name: str
    """Name of its children: NAME-HASH."""
    number: int | None
    model: str | None
    """The model that it serves: NAME/VERSION or a URI."""
    version: str | None
    image: str | None
    created_at: datetime | None
    recorded: bool
    """Whether a user can roll back to it, because it has a ControllerRevision."""
    role: str | None
    """None where status does not list the revision, or not yet."""
    weight: int
    accepted: int | None
    ready: int
    desired: int
    """Desired number of pods."""
    released_at: datetime | None
    """When the revision last lost its traffic."""
    reason: str | None
    message: str | None
    pinned: bool
    aborted: bool

    @property
    def title(self) -> str:
        """Return the name that messages use: `churn-bcdfghjklm #7 (churn/7)`."""
        number = f" #{self.number}" if self.number is not None else ""
        return f"{self.name}{number}" + (f" ({self.model})" if self.model else "")


@dataclass(frozen=True, slots=True)
class History:
    """All revisions of one ModelDeployment, newest first."""

    resource: ModelDeployment
    revisions: tuple[RevisionSummary, ...]
    pin: str | None
    """The hash that the annotation `pin` names, whether or not such a revision exists."""
    abort: RevisionHash | None

    @property
    def name(self) -> str:
        """Return the name of the ModelDeployment."""
        return self.resource.metadata.name

    @property
    def cli_args(self) -> str:
        """Return the arguments of a command that name the ModelDeployment."""
        return names.cli_args(self.name, self.resource.metadata.namespace)

    @property
    def stable(self) -> RevisionSummary | None:
        """Return the stable revision."""
        return self._with_role(Role.STABLE)

    @property
    def desired(self) -> RevisionSummary | None:
        """Return the desired revision, while it is not stable yet."""
        return self._with_role(Role.CANDIDATE)

    @property
    def pinned(self) -> RevisionSummary | None:
        """Return the revision that the annotation `pin` holds."""
        return next((revision for revision in self.revisions if revision.pinned), None)

    def find(self, revision: str | None) -> RevisionSummary | None:
        """Return the revision with this hash."""
        return next((summary for summary in self.revisions if summary.hash == revision), None)

    def serves_alone(self, revision: RevisionSummary) -> bool:
        """Tell whether `revision` receives all requests, and no rollout will change that."""
        rollout = self.resource.status.rollout
        calm = rollout is None or rollout.phase in (Phase.IDLE, Phase.ABORTED)
        candidates = any(summary.role in _CANDIDATES for summary in self.revisions)
        return revision.role == Role.STABLE and revision.accepted == 100 and calm and not candidates

    def _with_role(self, role: Role) -> RevisionSummary | None:
        return next((revision for revision in self.revisions if revision.role == role), None)


def build_history(resource: ModelDeployment, records: Iterable[Raw] | None) -> History:
    """Return the revisions of `resource`.

    Args:
        resource: The ModelDeployment.
        records: ControllerRevisions of its namespace. Those of other ModelDeployments are ignored. None where the user
            may not read them: then every revision that status lists counts as recorded.
    """
    overrides = Overrides.parse(resource)
    pin, abort = overrides.pin, overrides.abort
    listed = {entry.revision: entry for entry in resource.status.revisions}
    hashes = ((revision_hash(raw), raw) for raw in records or () if _belongs(raw, resource))
    kept = {revision: raw for revision, raw in hashes if revision is not None}
    revisions = [
        _summary(
            resource,
            revision,
            kept.get(revision),
            listed.get(revision),
            (revision in kept or records is None, revision == pin, revision == abort),
        )
        for revision in {*listed, *kept}
    ]
    revisions.sort(key=lambda summary: (-(summary.number or 0), summary.name))
    return History(resource, tuple(revisions), pin, abort)


def _belongs(raw: Raw, resource: ModelDeployment) -> bool:
    return labels(raw).get(names.LABEL_DEPLOYMENT) == resource.metadata.name


def _summary(
    resource: ModelDeployment,
    revision: RevisionHash,
    record: Raw | None,
    status: RevisionStatus | None,
    marks: tuple[bool, bool, bool],
) -> RevisionSummary:
    facts = facts_of(record) if record is not None else None
    recorded, pinned, aborted = marks
    return RevisionSummary(
        hash=revision,
        name=names.child_name(resource.metadata.name, revision),
        number=facts.number if facts is not None else status.number if status is not None else None,
        model=(facts.model if facts is not None else None) or (status.model if status is not None else None),
        version=facts.version if facts is not None else status.version if status is not None else None,
        image=_image(record),
        created_at=time_of(record["metadata"].get("creationTimestamp")) if record is not None else None,
        recorded=recorded,
        role=status.role if status is not None else None,
        weight=status.weight if status is not None else 0,
        accepted=status.accepted_weight if status is not None else None,
        ready=status.ready_replicas if status is not None else 0,
        desired=status.replicas if status is not None else 0,
        released_at=time_of(status.released_at) if status is not None else None,
        reason=status.reason if status is not None else None,
        message=status.message if status is not None else None,
        pinned=pinned,
        aborted=aborted,
    )


def _image(record: Raw | None) -> str | None:
    """Return the image of the model container."""
    spec = (((record or {}).get("data") or {}).get("template") or {}).get("spec") or {}
    containers = {container.get("name"): container for container in spec.get("containers") or ()}
    image = containers.get(names.MODEL_CONTAINER, {}).get("image")
    return str(image) if image else None


def find(history: History, text: str) -> RevisionSummary:
    """Return the revision that `text` names.

    Args:
        history: The revisions of the ModelDeployment.
        text: The revision's hash, NAME-HASH, its number (`7` or `#7`), or the model version (`v7`).

    Raises:
        NoSuchRevision: The text names no revision, more than one, or one without a record.
    """
    text = text.strip()
    matching = _matching(history, text)
    if len(matching) > 1:
        raise NoSuchRevision(
            f"REVISION {text} matches {len(matching)} revisions: {_listed(matching)}. Use the number of one of them"
        )
    if not matching:
        raise NoSuchRevision(
            f"revision {text} of {history.name} does not exist. {_hint(history, text)}"
            f"Available revisions: {_listed(history.revisions)}"
        )
    if not matching[0].recorded:
        raise NoSuchRevision(
            f"{matching[0].title} cannot be restored, because its ControllerRevision was deleted. "
            "Use another REVISION. To keep more revisions, raise spec.rollout.historyLimit"
        )
    return matching[0]


def _matching(history: History, text: str) -> list[RevisionSummary]:
    exact = [summary for summary in history.revisions if text in (summary.hash, summary.name)]
    if exact:
        return exact
    number, version = text.removeprefix("#"), _VERSION.fullmatch(text)
    if number.isdecimal():
        return [summary for summary in history.revisions if summary.number == int(number)]
    return [summary for summary in history.revisions if version is not None and summary.version == version[1]]


def _listed(revisions: Iterable[RevisionSummary]) -> str:
    return ", ".join(summary.title for summary in revisions) or "none"


def _hint(history: History, text: str) -> str:
    """Return a hint where the user may have meant the number as a model version."""
    number = text.removeprefix("#")
    versions = {summary.version for summary in history.revisions}
    return f"For version {number} of the model, use v{number}. " if number in versions else ""


def previous(history: History) -> RevisionSummary:
    """Return the revision to roll back to where the user names none.

    While another revision is being rolled out, or has failed, this is the stable revision. Otherwise it is the revision
    that is losing its traffic or lost it last. Where status names none, it is the newest one older than stable.

    Raises:
        NoSuchRevision: There is no such revision, or it is not clear which one the user means.
    """
    name, stable, pinned = history.name, history.stable, history.pinned
    if pinned is not None:
        raise NoSuchRevision(
            f"{pinned.title} is pinned already: add a REVISION, or remove the pin with "
            f"`sluicegate unpin {history.cli_args}`"
        )
    if stable is None:
        raise NoSuchRevision(f"{name} has no stable revision yet: add a REVISION, or correct the spec")
    failed = any(summary.role == Role.FAILED for summary in history.revisions)
    if stable.recorded and (history.desired is not None or failed):
        return stable
    chosen = _last_released(history, stable) or _older(history, stable)
    if chosen is None:
        raise NoSuchRevision(f"{stable.title} is the only revision of {name}, so there is no previous revision")
    if (chosen.number or 0) > (stable.number or 0):
        raise NoSuchRevision(
            f"{chosen.title} had traffic last, but it is newer than the stable revision {stable.title} and may have "
            f"been rolled back for a reason. To pin it anyway: sluicegate rollback {history.cli_args} {chosen.number}"
        )
    return chosen


def _last_released(history: History, stable: RevisionSummary) -> RevisionSummary | None:
    others = [summary for summary in history.revisions if summary.recorded and summary is not stable]
    retiring = [summary for summary in others if summary.role == Role.RETIRING]
    released = [summary for summary in others if summary.role == Role.PARKED and summary.released_at is not None]
    released.sort(key=lambda summary: (summary.released_at or datetime.min, summary.number or 0))
    return retiring[0] if retiring else released[-1] if released else None


def _older(history: History, stable: RevisionSummary) -> RevisionSummary | None:
    """Return the newest revision that is older than stable."""
    older = (item for item in history.revisions if item.recorded and (item.number or 0) < (stable.number or 0))
    return next(older, None)
