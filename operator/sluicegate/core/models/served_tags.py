"""Write-back: tags in the registry that say which model versions are served.

The tags are only for users to read, and no decision depends on them. So the operator writes them late, in one place,
after a comparison with what the registry has. It keeps no record of what it wrote, so no such record can be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import Role

Served = Mapping[tuple[str, str], str]
"""The value of the tag, which names the resources that serve, by (registered model, version)."""
LONGEST = 1000
"""The largest number of characters of a value. MLflow accepts at least 5,000."""


@dataclass(frozen=True, slots=True)
class Change:
    """One tag to set, or to remove where the value is None."""

    model: str
    version: str
    value: str | None


def tag_key(cluster: str, namespace: str | None) -> str:
    """Return the key of the tag.

    An operator of one namespace has its own key, so that two operators do not undo each other's changes.
    """
    return f"sluicegate.dev/served-by.{cluster}" + (f".{namespace}" if namespace else "")


def served(resources: Iterable[ModelDeployment]) -> dict[tuple[str, str], str]:
    """Return what `resources` serve according to their status.

    These are their stable revisions and their canaries.
    """
    labels: dict[tuple[str, str], list[str]] = {}
    for resource in resources:
        who = "/".join(resource.key)
        for entry in resource.status.revisions:
            if entry.role not in (Role.STABLE, Role.CANARY) or entry.version is None or entry.model is None:
                continue
            name = entry.model.removesuffix(f"/{entry.version}")
            label = f"{who} (canary)" if entry.role == Role.CANARY else who
            labels.setdefault((name, entry.version), []).append(label)
    return {key: _value(sorted(names)) for key, names in labels.items()}


def _value(names: list[str]) -> str:
    text, left = "", len(names)
    for name in names:
        longer = f"{text}, {name}" if text else name
        if len(longer) > LONGEST:
            return f"{text} and {left} more"
        text, left = longer, left - 1
    return text


def changes(desired: Served, current: Served, absent_before: Iterable[tuple[str, str]]) -> list[Change]:
    """Return the changes that turn the tags `current` into the tags `desired`.

    A tag is removed only where no resource served the version in the previous round either (`absent_before`). The
    reason is that right after a start, the operator does not know all resources yet.
    """
    gone = set(absent_before)
    changed = [Change(*key, value) for key, value in desired.items() if current.get(key) != value]
    changed += [Change(*key, None) for key in current if key not in desired and key in gone]
    return sorted(changed, key=lambda change: (change.model, change.version))
