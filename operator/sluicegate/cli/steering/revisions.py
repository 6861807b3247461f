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
_UNDER_WAY = (Role.TARGET, Role.CANARY, Role.NEXT_CANARY)


class NoSuchRevision(ValueError):
    """The user did not name exactly one revision that has a record.

    The message says what to name instead.
    """


@dataclass(frozen=True, slots=True)
class Entry:
    """One revision: what it is, from its record, and what it does, from status."""

    hash: RevisionHash
    name: str
    """Name of its children: NAME-HASH."""
    number: int | None
    model: str | None
    """The model that it serves: NAME/VERSION or a URI."""
    version: str | None
    image: str | None
    made_at: datetime | None
    recorded: bool
    """Whether a user can roll back to it, because it has a ControllerRevision."""
    role: str | None
    """None where status does not list the revision, or not yet."""
    weight: int
    accepted: int | None
    ready: int
    wanted: int
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
    entries: tuple[Entry, ...]
    pin: RevisionHash | None
    """The hash that the annotation `pin` names, whether or not such a revision exists."""
    abort: RevisionHash | None

    @property
    def name(self) -> str:
        """Return the name of the ModelDeployment."""
        return self.resource.metadata.name

    @property
    def stable(self) -> Entry | None:
        """Return the stable revision."""
        return next((each for each in self.entries if each.role == Role.STABLE), None)

    @property
    def target(self) -> Entry | None:
        """Return the desired revision, while it is not stable yet."""
        return next((each for each in self.entries if each.role == Role.TARGET), None)

    @property
    def pinned(self) -> Entry | None:
        """Return the revision that the annotation `pin` holds."""
        return next((each for each in self.entries if each.pinned), None)

    def serves_alone(self, entry: Entry) -> bool:
        """Tell whether `entry` receives all requests, and no rollout will change that."""
        rollout = self.resource.status.rollout
        calm = rollout is None or rollout.phase in (Phase.IDLE, Phase.ABORTED)
        others = any(each.role in _UNDER_WAY for each in self.entries)
        return entry.role == Role.STABLE and entry.accepted == 100 and calm and not others


def history(resource: ModelDeployment, records: Iterable[Raw] | None) -> History:
    """Return the revisions of `resource`.

    Args:
        resource: The ModelDeployment.
        records: ControllerRevisions of its namespace. Those of other ModelDeployments are ignored. None where the user
            may not read them: then every revision that status lists counts as recorded.
    """
    overrides = Overrides.parse(resource)
    pin, abort = overrides.pin, overrides.abort
    listed = {each.revision: each for each in resource.status.revisions}
    ours = ((revision_hash(raw), raw) for raw in records or () if _belongs(raw, resource))
    kept = {revision: raw for revision, raw in ours if revision is not None}
    entries = [
        _entry(
            resource,
            each,
            kept.get(each),
            listed.get(each),
            (each in kept or records is None, each == pin, each == abort),
        )
        for each in {*listed, *kept}
    ]
    entries.sort(key=lambda each: (-(each.number or 0), each.name))
    return History(resource, tuple(entries), pin, abort)


def _belongs(raw: Raw, resource: ModelDeployment) -> bool:
    return labels(raw).get(names.LABEL_DEPLOYMENT) == resource.metadata.name


def _entry(
    resource: ModelDeployment,
    revision: RevisionHash,
    record: Raw | None,
    status: RevisionStatus | None,
    marks: tuple[bool, bool, bool],
) -> Entry:
    facts = facts_of(record) if record is not None else None
    recorded, pinned, aborted = marks
    return Entry(
        hash=revision,
        name=names.child_name(resource.metadata.name, revision),
        number=facts.number if facts is not None else status.number if status is not None else None,
        model=(facts.model if facts is not None else None) or (status.model if status is not None else None),
        version=facts.version if facts is not None else status.version if status is not None else None,
        image=_image(record),
        made_at=time_of(record["metadata"].get("creationTimestamp")) if record is not None else None,
        recorded=recorded,
        role=status.role if status is not None else None,
        weight=status.weight if status is not None else 0,
        accepted=status.accepted_weight if status is not None else None,
        ready=status.ready_replicas if status is not None else 0,
        wanted=status.replicas if status is not None else 0,
        released_at=time_of(status.released_at) if status is not None else None,
        reason=status.reason if status is not None else None,
        message=status.message if status is not None else None,
        pinned=pinned,
        aborted=aborted,
    )


def _image(record: Raw | None) -> str | None:
    """Return the image of the model container."""
    spec = (((record or {}).get("data") or {}).get("template") or {}).get("spec") or {}
    found = [each.get("image") for each in spec.get("containers") or () if each.get("name") == names.MODEL_CONTAINER]
    return str(found[0]) if found and found[0] else None


def find(known: History, word: str) -> Entry:
    """Return the revision that `word` names.

    Args:
        known: The revisions of the ModelDeployment.
        word: The revision's hash, NAME-HASH, its number (`7` or `#7`), or the model version (`v7`).

    Raises:
        NoSuchRevision: The word names no revision, more than one, or one without a record.
    """
    word = word.strip()
    exact = [each for each in known.entries if word in (each.hash, each.name)]
    number, version = word.removeprefix("#"), _VERSION.fullmatch(word)
    if exact:
        found = exact
    elif number.isdecimal():
        found = [each for each in known.entries if each.number == int(number)]
    else:
        found = [each for each in known.entries if version is not None and each.version == version[1]]
    if len(found) > 1:
        raise NoSuchRevision(
            f"REVISION {word} is not one revision but {len(found)}: {_listed(found)}; name one by its number"
        )
    if not found:
        raise NoSuchRevision(
            f"there is no revision {word} of {known.name} (there: {_listed(known.entries)}){_hint(known, number)}"
        )
    if not found[0].recorded:
        raise NoSuchRevision(
            f"{found[0].title} has no record (ControllerRevision {found[0].name}) any more, so nothing can be made "
            f"from it: name another REVISION; spec.rollout.historyLimit is how many are kept"
        )
    return found[0]


def _listed(entries: Iterable[Entry]) -> str:
    return ", ".join(each.title for each in entries) or "none"


def _hint(known: History, number: str) -> str:
    """Return a hint: the user may have meant the number as a model version."""
    if any(each.version == number for each in known.entries):
        return f"; for version {number} of the model write v{number}"
    return "; `sluicegate history` shows them" if known.entries else ""


def before(known: History) -> Entry:
    """Return the revision to roll back to where the user names none.

    While another revision is being rolled out, or has failed, this is the stable revision. Otherwise it is the revision
    that is losing its traffic or lost it last. Where status names none, it is the newest one older than stable.

    Raises:
        NoSuchRevision: There is no such revision, or it is not clear which one the user means.
    """
    name, stable, pinned = known.name, known.stable, known.pinned
    if pinned is not None:
        raise NoSuchRevision(
            f"the annotation {names.ANNOTATION_PIN} holds {pinned.title} already: name a REVISION, or let the spec "
            f"decide again by `sluicegate unpin {name}`"
        )
    if stable is None:
        raise NoSuchRevision(
            f"no revision of {name} serves, so none served before: name a REVISION, or correct the spec"
        )
    if stable.recorded and (known.target is not None or any(each.role == Role.FAILED for each in known.entries)):
        return stable
    found = _last_released(known, stable) or next(
        (each for each in known.entries if each.recorded and (each.number or 0) < (stable.number or 0)), None
    )
    if found is None:
        raise NoSuchRevision(f"there is nothing to go back to: {stable.title} is the only revision of {name}")
    if (found.number or 0) > (stable.number or 0):
        raise NoSuchRevision(
            f"the revision that had traffic last, {found.title}, is newer than {stable.title}, which serves, and may "
            f"have been taken back for a reason: if you mean it, name it (`sluicegate rollback {name} {found.number}`)"
        )
    return found


def _last_released(known: History, stable: Entry) -> Entry | None:
    others = [each for each in known.entries if each.recorded and each is not stable]
    leaving = [each for each in others if each.role == Role.RETIRING]
    released = [each for each in others if each.role == Role.PARKED and each.released_at is not None]
    released.sort(key=lambda each: (each.released_at.timestamp() if each.released_at else 0.0, each.number or 0))
    return leaving[0] if leaving else released[-1] if released else None
