"""The brake on writes that another client reverts again and again.

The operator applies with force, so it puts back what others change. Another controller that does the same would turn
this into an endless loop, because each write wakes the other writer. So the operator counts how often it writes the
same content to the same object. After a few writes it waits, twice as long each time, and reports the field and the
field manager that changes it. A change of what the operator itself wants starts anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import Key, Manifest
from sluicegate.core.snapshot.facts import Problem
from sluicegate.runtime.reconcile.refusals import Write

FREE: Final = 3
"""Number of times that the same content is written again at once. A user's change by hand is put back at once."""
BASE_SECONDS: Final = 10.0
MAX_SECONDS: Final = 600.0
QUIET_SECONDS: Final = 60.0
"""Least number of seconds without a revert until a conflict counts as over."""
UNKNOWN: Final = "unknown"
"""Stands for the managers of a field that no manager but the operator's own has. Two operators have the same one."""


@dataclass(slots=True)
class _Writes:
    """The series of writes of the same content to one object."""

    digest: bytes
    at: datetime
    """Time of the last write."""
    repeats: int = 0
    path: str = ""
    """The field that differed last."""
    managers: str = ""
    """The other field managers of that field, as text."""

    @property
    def active(self) -> bool:
        return self.repeats >= FREE

    @property
    def delay(self) -> float:
        """Return the seconds between the last write and the next one."""
        return min(MAX_SECONDS, BASE_SECONDS * 2.0 ** min(self.repeats - FREE, 16)) if self.active else 0.0

    @property
    def quiet(self) -> float:
        return max(QUIET_SECONDS, 2 * self.delay)

    def age(self, now: datetime) -> float:
        return (now - self.at).total_seconds()


class FieldConflicts:
    """The writes of each resource that others may revert."""

    def __init__(self) -> None:
        self._writes: dict[Key, dict[Write, _Writes]] = {}

    def forget(self, key: Key) -> None:
        """Forget a deleted resource."""
        self._writes.pop(key, None)

    def wait(self, key: Key, write: Write, desired: Manifest, now: datetime) -> float:
        """Return the seconds until `desired` may be written to an object that differs from it."""
        series = self._writes.get(key, {}).get(write)
        if series is None or series.digest != _digest(desired):
            return 0.0
        return max(0.0, series.delay - series.age(now))

    def written(self, key: Key, write: Write, desired: Manifest, path: str, now: datetime) -> bool:
        """Note a write to an object that existed and differed at `path`.

        Returns:
            Whether the write is one of a conflict.
        """
        ours, digest = self._writes.setdefault(key, {}), _digest(desired)
        for other in [other for other, series in ours.items() if series.age(now) >= series.quiet]:
            del ours[other]
        series = ours.get(write)
        if series is None or series.digest != digest:
            ours[write] = _Writes(digest, now, path=path)
            return False
        series.at, series.repeats = now, series.repeats + 1
        return series.active

    def begins(self, key: Key, write: Write, desired: Manifest, path: str) -> bool:
        """Tell whether the next write makes a conflict of which the other field managers are not known yet."""
        series = self._writes.get(key, {}).get(write)
        if series is None or series.digest != _digest(desired) or series.repeats + 1 < FREE:
            return False
        return series.path != path or not series.managers

    def note_managers(self, key: Key, write: Write, path: str, metadata: Mapping[str, Any]) -> None:
        """Note who manages a field, from the metadata of the object as the other client left it."""
        series = self._writes[key][write]
        series.path, series.managers = path, ", ".join(managers_of(metadata, path)) or UNKNOWN

    def problem(self, key: Key, write: Write, now: datetime) -> tuple[Problem, float] | None:
        """Return the problem of a conflict that is not over, and the seconds until it may be over."""
        series = self._writes.get(key, {}).get(write)
        if series is None or not series.active:
            return None
        left = series.quiet - series.age(now)
        if left <= 0:
            del self._writes[key][write]
            return None
        if series.managers in ("", UNKNOWN):
            who = "Another client, perhaps a second operator,"
        else:
            who = f"The field manager {series.managers}"
        field = series.path.lstrip(".")
        message = (
            f"{who} changes {field} of {write} each time that the operator has written it. Let only one of them manage "
            "the field. The operator writes it ever more rarely, at least every 10 minutes."
        )
        return Problem(Reason.FIELD_CONFLICT, message, waits_for_user=False), left


def managers_of(metadata: Mapping[str, Any], path: str) -> list[str]:
    """Return the other field managers of a field, the one with the latest change first.

    Args:
        metadata: The metadata of the object, with managedFields.
        path: The field, such as `.spec.rules[0].matches`. Items of lists do not count.
    """
    rest = path.lstrip(".").partition("[")[0]
    found = {
        str(entry.get("manager")): str(entry.get("time") or "")
        for entry in metadata.get("managedFields") or ()
        if entry.get("manager") != names.MANAGER
        and entry.get("subresource") != "status"
        and _manages(entry.get("fieldsV1") or {}, rest)
    }
    return sorted(found, key=lambda manager: (found[manager], manager), reverse=True)


def _manages(fields: Any, rest: str) -> bool:
    if not rest or not fields:
        return True
    for name, inner in fields.items():
        key = name.removeprefix("f:")
        # The keys of labels and annotations contain dots.
        if name.startswith("f:") and (rest == key or rest.startswith(f"{key}.")):
            return _manages(inner, rest[len(key) + 1 :])
    return False


def _digest(desired: Manifest) -> bytes:
    metadata = {key: value for key, value in desired["metadata"].items() if key != "resourceVersion"}
    encoded = msgspec.json.encode({**desired, "metadata": metadata}, order="sorted")
    return hashlib.blake2b(encoded, digest_size=8).digest()
