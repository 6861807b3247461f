"""Periodic checks of fixed versions (`models:/churn/3`).

They find out whether the registries still have these versions, and whether a version was deleted and registered anew.
That is rare, so fixed versions are checked far less often than followed models. One check serves all resources that
refer to the version. A registry that does not respond gives no information about its versions, and is not asked again
until the next round.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Final

from sluicegate.api.model import ModelSpec
from sluicegate.api.resource import Key
from sluicegate.core.models.following import Registration, concerns_registry, fixed
from sluicegate.core.models.reference import RegistryVersion
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.registries import RegistryRef
from sluicegate.runtime.supervise import contained, keep, resolved

SLOWER: Final = 10
"""Number of follow intervals between two checks of a fixed version."""


class FixedVersions:
    """Checks the fixed versions that resources refer to.

    It enqueues the resources of a version that is deleted, that exists again, or that was registered anew.
    """

    def __init__(self, context: PollContext) -> None:
        """Create the checks, which send no requests before `run`."""
        self._context = context
        self._checked: dict[tuple[RegistryRef, RegistryVersion], Registration | None] = {}
        """The registration of each version at its last check, or None if it was missing."""
        self._registries: set[RegistryRef] = set()

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool | None:
        """Tell whether a version was missing at its last check.

        Returns:
            None before the first check.
        """
        checked = (registry, ref) in self._checked
        return self._checked[registry, ref] is None if checked else None

    def registration(self, registry: RegistryRef, ref: RegistryVersion) -> Registration | None:
        """Return the registration of a version at its last check. None if it was missing, or before the first check."""
        return self._checked.get((registry, ref))

    async def run(self, interval: float) -> None:
        """Check each version once in `SLOWER` intervals, until cancelled.

        Every registry has its own task, so a slow registry delays no other.
        """
        async with asyncio.TaskGroup() as group:  # No child raises, see `keep`.
            while True:
                with contained("searching for fixed versions"):
                    named = self._named()
                    current = {(registry, ref) for registry, refs in named.items() for ref in refs}
                    for unreferenced in self._checked.keys() - current:
                        del self._checked[unreferenced]
                    for registry in named.keys() - self._registries:
                        self._registries.add(registry)
                        group.create_task(self._keep(registry, SLOWER * interval), name=f"versions {registry.name}")
                await asyncio.sleep(interval)

    async def _keep(self, registry: RegistryRef, period: float) -> None:
        """Check the versions of one registry as long as a resource refers to one.

        The checks continue after errors.
        """
        try:
            await keep(
                f"checking the fixed versions of registry {registry.name}", partial(self._rounds, registry, period)
            )
        finally:
            self._registries.discard(registry)

    async def _rounds(self, registry: RegistryRef, period: float) -> None:
        loop = asyncio.get_running_loop()
        while refs := self._named().get(registry):
            due = loop.time() + period * random.uniform(0.9, 1.1)
            await self._round(registry, refs, period / len(refs))
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _round(self, registry: RegistryRef, refs: dict[RegistryVersion, list[Key]], pause: float) -> None:
        """Check each version of one registry. A failure of the registry ends the round."""
        for ref, keys in sorted(refs.items(), key=lambda item: str(item[0])):
            await asyncio.sleep(pause * random.uniform(0.5, 0.9))
            try:
                endpoint = await self._context.registries.endpoint(registry)
                asking = self._context.pool.registration(endpoint, ref)
                registration = await resolved(f"A request to {endpoint}", asking)
            except ResolutionError as error:
                if concerns_registry(error.failure):
                    return
                continue  # A failure of one model says nothing about the others.
            changed = (registration is None) is not bool(self.missing(registry, ref))
            anew = registration is not None and registration != self.registration(registry, ref)
            self._checked[registry, ref] = registration
            for key in keys:
                if changed or (anew and self._pins_another(key, ref, registration)):
                    self._context.wake(key)

    def _pins_another(self, key: Key, ref: RegistryVersion, registration: Registration | None) -> bool:
        """Tell whether status has another version of the same number."""
        resource = self._context.resources.get(key)
        models = (resource.status.model, resource.status.canary_model) if resource is not None else ()
        return registration is not None and any(
            registration.differs(model.registered_at, model.run_id)
            for model in models
            if model is not None and fixed(model.uri) == ref
        )

    def _named(self) -> dict[RegistryRef, dict[RegistryVersion, list[Key]]]:
        """Return the keys of the resources that refer to each version, by registry."""
        context = self._context
        keys: dict[RegistryRef, dict[RegistryVersion, list[Key]]] = {}
        for registry, key, ref in context.registries.named(context.resources.items(), _fixed_version):
            keys.setdefault(registry, {}).setdefault(ref, []).append(key)
        return keys


def _fixed_version(model: ModelSpec) -> tuple[RegistryVersion, ...]:
    ref = fixed(model.uri)
    return () if ref is None else (ref,)
