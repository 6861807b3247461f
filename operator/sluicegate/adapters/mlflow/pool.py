"""One client a registry, shared by all resources that use it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from sluicegate.adapters.clients import ClientPool
from sluicegate.adapters.mlflow.http import ClientFactory, RegistryEndpoint, make_client
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.core.models.following import ModelView
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.models.uri import ModelRef, RegistryVersion


class RegistryPool:
    """Keeps one `MlflowRegistry` for each endpoint. A rotated Secret makes a new one and fails no call."""

    def __init__(self, client_factory: ClientFactory = make_client) -> None:
        self._clients: ClientPool[RegistryEndpoint, MlflowRegistry] = ClientPool(
            lambda endpoint: MlflowRegistry(endpoint, client_factory), lambda registry: registry.aclose()
        )

    def lease(self, endpoint: RegistryEndpoint) -> AbstractAsyncContextManager[MlflowRegistry]:
        """The registry at `endpoint`, open at least as long as the `async with`.

        Raises:
            ResolutionError: the tracking URI or the certificates are unusable.
        """
        return self._clients.lease(endpoint)

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
        await self._clients.aclose()
