"""One client for each registry, which all resources share."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from sluicegate.adapters.clients import ClientPool
from sluicegate.adapters.mlflow.http import ClientFactory, RegistryEndpoint, make_client
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.core.models.following import ModelView, Registration
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.models.uri import ModelRef, RegistryVersion


class RegistryPool:
    """Keeps one `MlflowRegistry` for each endpoint.

    A rotated Secret creates a new one, and no call fails because of it.
    """

    def __init__(self, client_factory: ClientFactory = make_client) -> None:
        self._clients: ClientPool[RegistryEndpoint, MlflowRegistry] = ClientPool(
            lambda endpoint: MlflowRegistry(endpoint, client_factory), lambda registry: registry.aclose()
        )

    def lease(self, endpoint: RegistryEndpoint) -> AbstractAsyncContextManager[MlflowRegistry]:
        """Return the registry at `endpoint`, open at least as long as the `async with`.

        Raises:
            ResolutionError: The tracking URI or the certificates cannot be used.
        """
        return self._clients.lease(endpoint)

    async def resolve(self, endpoint: RegistryEndpoint, ref: ModelRef) -> ResolvedModel:
        """Return what `ref` resolves to in the registry at `endpoint` now.

        Raises:
            ResolutionError: The URI cannot be resolved. The message says why and what to do about it.
        """
        async with self.lease(endpoint) as registry:
            return await registry.resolve(ref)

    async def view(self, endpoint: RegistryEndpoint, model: str) -> ModelView:
        """Return the versions that the names of a registered model resolve to now.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        async with self.lease(endpoint) as registry:
            return await registry.view(model)

    async def registration(self, endpoint: RegistryEndpoint, ref: RegistryVersion) -> Registration | None:
        """Return the registration of a version, or None if it does not exist any more.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        async with self.lease(endpoint) as registry:
            return await registry.registration(ref)

    async def aclose(self) -> None:
        """Close every client, after the calls in progress end."""
        await self._clients.aclose()
