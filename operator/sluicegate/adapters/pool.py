"""One client a registry, shared by all resources that use it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from sluicegate.adapters.http import ClientFactory, RegistryEndpoint, make_client
from sluicegate.adapters.mlflow import MlflowRegistry
from sluicegate.core.follow import ModelView
from sluicegate.core.model_uri import ModelRef, RegistryVersion
from sluicegate.core.resolution import ResolvedModel

MAX_CLIENTS: Final = 64
"""Resources may each bring a registry of their own; idle clients beyond this many are closed, the longest
unused first."""


@dataclass(slots=True, eq=False)
class _Entry:
    registry: MlflowRegistry
    users: int = 0
    retired: bool = False


class RegistryPool:
    """Keeps one `MlflowRegistry` for each name and URL, and makes it anew when credentials or trust change.

    A replaced client is closed once the calls that use it have ended, so a rotated Secret fails no call.
    """

    def __init__(self, client_factory: ClientFactory = make_client) -> None:
        self._client_factory = client_factory
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    @asynccontextmanager
    async def lease(self, endpoint: RegistryEndpoint) -> AsyncIterator[MlflowRegistry]:
        """The registry at `endpoint`, open at least as long as the `async with`.

        Raises:
            ResolutionError: the tracking URI or the certificates are unusable.
        """
        entry = self._entry(endpoint)
        entry.users += 1
        try:
            await self._trim()
            yield entry.registry
        finally:
            entry.users -= 1
            if entry.retired and not entry.users:
                await entry.registry.aclose()

    async def resolve(self, endpoint: RegistryEndpoint, ref: ModelRef) -> ResolvedModel:
        """What `ref` means in the registry at `endpoint` now.

        Raises:
            ResolutionError: with the reason and what to do about it.
        """
        async with self.lease(endpoint) as registry:
            return await registry.resolve(ref)

    async def view(self, endpoint: RegistryEndpoint, model: str) -> ModelView:
        """What the names of a registered model point to now.

        Raises:
            ResolutionError: with the reason and what to do about it.
        """
        async with self.lease(endpoint) as registry:
            return await registry.view(model)

    async def has(self, endpoint: RegistryEndpoint, ref: RegistryVersion) -> bool:
        """Whether a version is there (still).

        Raises:
            ResolutionError: with the reason and what to do about it.
        """
        async with self.lease(endpoint) as registry:
            return await registry.has(ref)

    async def aclose(self) -> None:
        """Close every client; calls under way end first."""
        for key in list(self._entries):
            await self._retire(key)

    def _entry(self, endpoint: RegistryEndpoint) -> _Entry:
        key = (endpoint.name, endpoint.tracking_uri)
        entry = self._entries.get(key)
        if entry is not None and entry.registry.endpoint == endpoint:
            self._entries.move_to_end(key)
            return entry
        fresh = _Entry(MlflowRegistry(endpoint, self._client_factory))
        if entry is not None:
            self._entries[(endpoint.name, f"{endpoint.tracking_uri}#{id(entry)}")] = entry
            entry.retired = True
        self._entries[key] = fresh
        self._entries.move_to_end(key)
        return fresh

    async def _trim(self) -> None:
        """Close what was replaced, and the longest unused beyond the limit."""
        for key, entry in list(self._entries.items()):
            if entry.retired or (len(self._entries) > MAX_CLIENTS and not entry.users):
                await self._retire(key)

    async def _retire(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        entry.retired = True
        if not entry.users:
            await entry.registry.aclose()
