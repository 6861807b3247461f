"""Fixed versions (`models:/churn/3`): whether the registry still has them.

They mean the same for ever, so they are looked for far less often than what is followed, once for all resources that name them. A registry that
does not answer says nothing about them, and is left alone until the next round.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Final

from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.spec import ModelSpec
from sluicegate.core.models.following import concerns_registry, fixed
from sluicegate.core.models.reference import RegistryVersion
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.runtime.registry.resolver import Registries, RegistryRef
from sluicegate.runtime.resources import Resources
from sluicegate.runtime.supervise import contained, keep, resolved

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
        self._watched: set[RegistryRef] = set()

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool | None:
        """Whether a version was gone when it was last looked for; None before that."""
        return self._missing.get((registry, ref))

    async def run(self, interval: float) -> None:
        """Look until cancelled, for each version once in `SLOWER` intervals.

        Every registry has a task of its own, so a slow one delays no other.
        """
        async with asyncio.TaskGroup() as group:  # no child raises: see `keep`
            while True:
                with contained("looking for fixed versions"):
                    named = self._named()
                    current = {(registry, ref) for registry, refs in named.items() for ref in refs}
                    for gone in self._missing.keys() - current:
                        del self._missing[gone]
                    for registry in named.keys() - self._watched:
                        self._watched.add(registry)
                        group.create_task(self._keep(registry, SLOWER * interval), name=f"versions {registry.name}")
                await asyncio.sleep(interval)

    async def _keep(self, registry: RegistryRef, period: float) -> None:
        """Look for the versions of one registry for as long as a resource names one, whatever it does."""
        try:
            await keep(f"looking for versions of registry {registry.name}", partial(self._rounds, registry, period))
        finally:
            self._watched.discard(registry)

    async def _rounds(self, registry: RegistryRef, period: float) -> None:
        loop = asyncio.get_running_loop()
        while refs := self._named().get(registry):
            due = loop.time() + period * random.uniform(0.9, 1.1)
            await self._round(registry, refs, period / len(refs))
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _round(self, registry: RegistryRef, refs: dict[RegistryVersion, list[Key]], pause: float) -> None:
        """Look for each version of one registry; the registry's own trouble ends the round."""
        for ref, keys in sorted(refs.items(), key=lambda each: str(each[0])):
            await asyncio.sleep(pause * random.uniform(0.5, 0.9))
            try:
                endpoint = await self._registries.endpoint(registry)
                missing = not await resolved(f"Asking {endpoint}", self._pool.has(endpoint, ref))
            except ResolutionError as error:
                if concerns_registry(error.failure):
                    return
                continue  # one model's failure says nothing about the others
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
