"""The webhook subscription of the operator in a registry.

This module defines its name and its events, and tells whether the operator has to write it. The operator finds it by
its name, which is unique because it contains the name of the cluster. Failing that, the operator finds it by its URL,
so that it adopts a webhook that a user created for the same URL. The operator removes no webhook, and changes no other
one.
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
"""The (entity, action) pairs of events that may change what an alias or `latest` means. MLflow has no event for stages
and deleted versions."""
_LONGEST = 63
"""The largest number of characters of a webhook name. MLflow accepts lowercase letters, digits, dots, underscores and
hyphens."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook as a registry lists it. No registry shows the secret of a webhook."""

    id: str
    name: str
    url: str
    events: frozenset[tuple[str, str]]
    active: bool


def hook_name(cluster: str, namespace: str | None) -> str:
    """Return the name of this operator's webhook.

    An operator of one namespace has its own.
    """
    plain = f"sluicegate.{cluster}" + (f".{namespace}" if namespace else "")
    name = re.sub(r"[^a-z0-9._-]", "-", plain.lower()).rstrip("._-")
    if len(name) <= _LONGEST:
        return name
    return f"{name[:52].rstrip('._-')}.{hashlib.sha256(plain.encode()).hexdigest()[:10]}"


def own_hooks(registered: Iterable[Hook], name: str, url: str) -> tuple[Hook, ...]:
    """Return the webhooks of `registered` that are this operator's.

    They have its name. Where no webhook has the name, they have its URL.
    """
    hooks = tuple(registered)
    return tuple(hook for hook in hooks if hook.name == name) or tuple(hook for hook in hooks if hook.url == url)


def is_right(hook: Hook, name: str, url: str) -> bool:
    """Tell whether the webhook is as it should be, by what a registry shows of it.

    The operator then has to write nothing.
    """
    return (hook.name, hook.url, hook.events, hook.active) == (name, url, EVENTS, True)
