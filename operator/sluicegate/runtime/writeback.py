"""Keeps the tags of the served versions in the registries that want them: see `core.writeback`."""

from __future__ import annotations

import asyncio
import logging

from sluicegate.adapters.pool import RegistryPool
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.settings import Settings
from sluicegate.core.resolution import ResolutionError
from sluicegate.core.writeback import changes, served, tag_key
from sluicegate.runtime.registries import Registries
from sluicegate.runtime.resources import Resources

logger = logging.getLogger(__name__)
INTERVAL = 60.0
MOST = 200
"""Writes of a round: more wait for the next one."""


class WriteBack:
    """Compares and writes once a minute. What fails is tried again then, and holds up nothing."""

    def __init__(self, resources: Resources, registries: Registries, pool: RegistryPool, settings: Settings) -> None:
        """Nothing is sent before `run`."""
        self._resources = resources
        self._registries = registries
        self._pool = pool
        self._key = tag_key(settings.cluster_name, settings.namespace)
        self._names = [name for name, each in settings.registries.items() if each.write_back]
        self._absent: dict[str, set[tuple[str, str]]] = {}
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            for name in self._names:
                await self._try(name)

    async def _try(self, name: str) -> None:
        try:
            await self.round(name)
        except ResolutionError as error:
            if name not in self._failing:
                logger.warning("tags of served versions are not written: %s", error.failure.message)
            self._failing.add(name)
        except Exception:
            logger.exception("tags of served versions are not written to registry %s", name)
        else:
            self._failing.discard(name)

    async def round(self, name: str) -> None:
        """One comparison with one registry.

        Raises:
            ResolutionError: the registry cannot be asked, or refuses a tag.
        """
        registry = self._registries.configured(name)
        mine = [each for each in self._resources.items() if self._is_of(each, name)]
        wanted = served(mine)
        async with self._pool.lease(await self._registries.endpoint(registry)) as client:
            there = await client.tagged(self._key)
            todo = changes(wanted, there, self._absent.get(name, ()))
            self._absent[name] = set(there) - set(wanted)
            for change in todo[:MOST]:
                await client.tag(change.model, change.version, self._key, change.value)

    def _is_of(self, resource: ModelDeployment, name: str) -> bool:
        try:
            return self._registries.ref_of(resource).name == name
        except ResolutionError:
            return False
