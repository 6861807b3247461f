"""The operator's own webhook in a registry: what it is called, what it tells of, and what has to be written so that it is there.

A webhook is found by its name, which the cluster's name makes its own; failing that, by its URL, so that one that was made by hand for
this very door is taken over. Nothing is ever removed, and nobody else's is touched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

EVENTS = frozenset(
    {
        ("MODEL_VERSION_ALIAS", "CREATED"),
        ("MODEL_VERSION_ALIAS", "DELETED"),
        ("MODEL_VERSION", "CREATED"),
    }
)
"""(entity, action) of what may change what an alias or `latest` means; MLflow has no event for stages and deleted versions."""
_LONGEST = 63
"""Characters of a webhook's name, of which MLflow takes small letters, digits, dots, underscores and hyphens."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook as a registry lists it. Its secret is not shown by any."""

    id: str
    name: str
    url: str
    events: frozenset[tuple[str, str]]
    active: bool


def hook_name(cluster: str, namespace: str | None) -> str:
    """The name of this operator's webhook. An operator of one namespace has its own."""
    plain = f"sluicegate.{cluster}" + (f".{namespace}" if namespace else "")
    name = re.sub(r"[^a-z0-9._-]", "-", plain.lower()).rstrip("._-")
    if len(name) <= _LONGEST:
        return name
    return f"{name[:52].rstrip('._-')}.{hashlib.sha256(plain.encode()).hexdigest()[:10]}"


def mine(there: Iterable[Hook], name: str, url: str) -> tuple[Hook, ...]:
    """Those of `there` that are this operator's."""
    known = tuple(there)
    return tuple(each for each in known if each.name == name) or tuple(each for each in known if each.url == url)


def is_right(hook: Hook, name: str, url: str) -> bool:
    """Whether nothing that a registry shows of it has to be written."""
    return (hook.name, hook.url, hook.events, hook.active) == (name, url, EVENTS, True)
