"""Write-back: which model versions are served here, as tags that people who look at the registry can see.

It is for reading only. Nothing is decided by it, so it is written late, in one place, and by comparison with what the registry has:
no memory of what was written is needed, and none can be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import Role

Served = Mapping[tuple[str, str], str]
"""From (registered model, version) to the tag's value: the resources that serve it."""
LONGEST = 1000
"""Characters of a value; MLflow takes 5,000 of a tag at least."""


@dataclass(frozen=True, slots=True)
class Change:
    """One tag to set, or with None to remove."""

    model: str
    version: str
    value: str | None


def tag_key(cluster: str, namespace: str | None) -> str:
    """The tag's key. An operator of one namespace has its own, so that two of them do not undo each other's."""
    return f"sluicegate.dev/served-by.{cluster}" + (f".{namespace}" if namespace else "")


def served(resources: Iterable[ModelDeployment]) -> dict[tuple[str, str], str]:
    """What `resources` serve, by their status: their stable revisions, and their canaries."""
    found: dict[tuple[str, str], list[str]] = {}
    for resource in resources:
        who = "/".join(resource.key)
        for entry in resource.status.revisions:
            if entry.role not in (Role.STABLE, Role.CANARY) or entry.version is None or entry.model is None:
                continue
            name = entry.model.removesuffix(f"/{entry.version}")
            found.setdefault((name, entry.version), []).append(f"{who} (canary)" if entry.role == Role.CANARY else who)
    return {key: _value(sorted(names)) for key, names in found.items()}


def _value(names: list[str]) -> str:
    text, left = "", len(names)
    for name in names:
        longer = f"{text}, {name}" if text else name
        if len(longer) > LONGEST:
            return f"{text} and {left} more"
        text, left = longer, left - 1
    return text


def changes(wanted: Served, there: Served, absent_before: Iterable[tuple[str, str]]) -> list[Change]:
    """What to write so that `there` becomes `wanted`.

    A tag is removed only where nothing was served in the round before either (`absent_before`): just after a start not all
    resources are known.
    """
    gone = set(absent_before)
    found = [Change(*key, value) for key, value in wanted.items() if there.get(key) != value]
    found += [Change(*key, None) for key in there if key not in wanted and key in gone]
    return sorted(found, key=lambda each: (each.model, each.version))
