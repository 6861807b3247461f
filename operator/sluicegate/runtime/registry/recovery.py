"""Resources that wait for a registry that does not respond.

The work queue retries each of them with a growing delay, so a resource that has no model yet would notice the end of a
long outage up to a minute late. This module retries one resource of each registry every few seconds. As soon as the
registry responds, it retries all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sluicegate.api.resource import Key
from sluicegate.runtime.registry.registries import RegistryRef
from sluicegate.runtime.supervise import contained

PROBE_INTERVAL = 2.0
"""Seconds between two retries on behalf of one registry."""


class Recovery:
    """The resources that wait for each registry."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        """Create a recovery, which retries nothing before `run`.

        Args:
            wake: Enqueues a resource, unless it does not exist.
        """
        self._wake = wake
        self._waiting: dict[RegistryRef, dict[Key, None]] = {}

    def failed(self, registry: RegistryRef, key: Key) -> None:
        """Note that a resource has no model, because the registry did not respond."""
        self._waiting.setdefault(registry, {})[key] = None

    def responded(self, registry: RegistryRef) -> None:
        """Retry the resources that wait for the registry."""
        for key in self._waiting.pop(registry, ()):
            self._wake(key)

    async def run(self) -> None:
        """Retry one resource of each registry every `PROBE_INTERVAL` seconds, until cancelled."""
        while True:
            await asyncio.sleep(PROBE_INTERVAL)
            with contained("retrying resources that wait for a registry"):
                for registry in list(self._waiting):
                    self._probe(registry)

    def _probe(self, registry: RegistryRef) -> None:
        # The resource leaves the list. If the registry still does not respond, `failed` adds it again at the end.
        waiting = self._waiting[registry]
        key = next(iter(waiting))
        del waiting[key]
        if not waiting:
            del self._waiting[registry]
        self._wake(key)
