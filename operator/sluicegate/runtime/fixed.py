"""Fixed versions (`models:/churn/3`): whether the registry still has them.

They mean the same for ever, so they are looked for far less often than what is followed, once for all resources that name them. A registry that
does not answer says nothing about them, and is left alone until the next round.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from sluicegate.adapters.pool import RegistryPool
from sluicegate.api.spec import ModelSpec
from sluicegate.core.follow import fixed
from sluicegate.core.model_ref import RegistryVersion
from sluicegate.core.resolution import ResolutionError
from sluicegate.runtime.registries import Registries, RegistryRef
from sluicegate.runtime.resources import Resources

Key = tuple[str, str]
SLOWER: Final = 10
"""Intervals of following between two looks at a fixed version."""


class FixedVersions:
    """Looks for the versions that resources name, and wakes who is concerned when one goes or comes back."""

    def __init__(
        self, resources: Resources, registries: Registries, pool: RegistryPool, wake: Callable[[Key], None]
    ) -> None:
        """`wake` is called with the key of each resource that something has changed for."""
        self._resources = resources
        self._registries = registries
        self._pool = pool
        self._wake = wake
        self._missing: dict[tuple[RegistryRef, RegistryVersion], bool] = {}

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool | None:
        """Whether a version was gone when it was last looked for; None before that."""
        return self._missing.get((registry, ref))

    async def run(self, interval: float) -> None:
        """Looks until cancelled, for each version once in `SLOWER` intervals."""
        while True:
            named = self._named()
            for gone in self._missing.keys() - {(registry, ref) for registry, refs in named.items() for ref in refs}:
                del self._missing[gone]
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(SLOWER * interval * random.uniform(0.9, 1.1)))
                for registry, refs in named.items():
                    group.create_task(self._round(registry, refs, SLOWER * interval / len(refs)))

    async def _round(self, registry: RegistryRef, refs: dict[RegistryVersion, list[Key]], pause: float) -> None:
        """Looks for each version of one registry; the registry's own trouble ends the round."""
        for ref, keys in sorted(refs.items(), key=lambda each: str(each[0])):
            await asyncio.sleep(pause * random.uniform(0.5, 0.9))
            try:
                missing = not await self._pool.has(await self._registries.endpoint(registry), ref)
            except ResolutionError:
                return
            if missing is not self._missing.get((registry, ref), False):
                for key in keys:
                    self._wake(key)
            self._missing[(registry, ref)] = missing

    def _named(self) -> dict[RegistryRef, dict[RegistryVersion, list[Key]]]:
        """Who names which version."""
        found: dict[RegistryRef, dict[RegistryVersion, list[Key]]] = {}
        for registry, key, ref in self._registries.named(self._resources.items(), _fixed_version):
            found.setdefault(registry, {}).setdefault(ref, []).append(key)
        return found


def _fixed_version(model: ModelSpec) -> tuple[RegistryVersion, ...]:
    ref = fixed(model.uri)
    return () if ref is None else (ref,)
