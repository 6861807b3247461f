"""The client of one registry, by the MLflow REST API (`/api/2.0/mlflow`).

The client uses httpx and not the mlflow package. That package would add 43 packages and no async client, for six calls.
The client retries nothing. The work queue retries, and decides how long to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from sluicegate.adapters.mlflow import failures, responses
from sluicegate.adapters.mlflow.http import (
    TOTAL_SECONDS,
    ClientFactory,
    MlflowError,
    RegistryEndpoint,
    endless,
    make_client,
    unexpected_failure,
    unreachable,
)
from sluicegate.adapters.mlflow.model_resolution import ModelResolution
from sluicegate.adapters.mlflow.rest import RestClient
from sluicegate.adapters.unexpected import cancelled_from_outside
from sluicegate.core.models.following import ModelView, Registration
from sluicegate.core.models.resolution import ResolutionError, ResolvedModel
from sluicegate.core.models.uri import ModelRef, RegistryVersion

MAX_PAGES: Final = 100
MAX_LISTED: Final = 50_000
"""Maximum number of pages and entries of one listing. A listing without an end would fill the memory."""

T = TypeVar("T")
U = TypeVar("U")


class MlflowRegistry:
    """Client of one registry. Tasks of one event loop can share it."""

    def __init__(self, endpoint: RegistryEndpoint, client_factory: ClientFactory = make_client) -> None:
        """Create the client. It sends no request yet.

        Raises:
            ResolutionError: The tracking URI or the certificates cannot be used.
        """
        self.endpoint = endpoint
        try:
            self._client = client_factory(endpoint)
        except ResolutionError:
            raise
        except Exception as error:
            raise unexpected_failure(endpoint, error) from None
        self._rest = RestClient(endpoint, self._client)
        self._resolution = ModelResolution(self._rest)

    async def aclose(self) -> None:
        """Close the pooled connections."""
        await self._client.aclose()

    async def resolve(self, ref: ModelRef) -> ResolvedModel:
        """Return what `ref` resolves to in this registry now.

        This takes one to four requests, and `TOTAL_SECONDS` at most.

        Raises:
            ResolutionError: The URI cannot be resolved. The message says why and what to do about it.
        """
        async with self._failures():
            return await self._resolution.resolve(ref)

    async def view(self, name: str) -> ModelView:
        """Return the versions that the names of a registered model resolve to now.

        This takes one request.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        async with self._failures():
            model = await self._resolution.registered(name)
            newest = max(model.latest_versions, key=lambda version: int(version.version), default=None)
            return ModelView(
                aliases={alias.alias: alias.version for alias in model.aliases},
                stages={version.current_stage: version.version for version in model.latest_versions},
                newest_at=newest.registered_at if newest is not None else None,
                created_at=model.created_at,
                registrations={version.version: _registration(version) for version in model.latest_versions},
            )

    async def registration(self, ref: RegistryVersion) -> Registration | None:
        """Return the registration of a version, or None if it does not exist any more. This takes one request.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        params = {"name": ref.name, "version": str(ref.version)}
        response = await self._asked(self._rest.get("model-versions/get", responses.VersionResponse, params), None)
        return _registration(response.model_version) if response is not None else None

    async def tagged(self, key: str) -> dict[tuple[str, str], str]:
        """Return the versions that have a tag, as (name, version), and its value.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        tags: dict[tuple[str, str], str] = {}
        params = {"filter": f"tags.`{key}` LIKE '%'", "max_results": "1000"}
        for _ in range(MAX_PAGES):
            asking = self._rest.get("model-versions/search", responses.TaggedVersions, params)
            page = await self._asked(asking, otherwise=responses.TaggedVersions())
            for entry in page.model_versions:
                # A version has at most one tag with this key.
                tags |= {(entry.name, entry.version): tag.value for tag in entry.tags if tag.key == key}  # noqa: B035
            if not page.next_page_token:
                return tags
            if len(tags) > MAX_LISTED:
                break
            params = {**params, "page_token": page.next_page_token}
        raise endless(self.endpoint)

    async def tag(self, name: str, version: str, key: str, value: str | None) -> None:
        """Set a tag of a version, or remove it if `value` is None.

        It is not an error if the version does not exist.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        about = {"name": name, "version": version, "key": key}
        if value is None:
            writing = self._rest.send("DELETE", "model-versions/delete-tag", responses.Nothing, json=about)
        else:
            writing = self._rest.send(
                "POST", "model-versions/set-tag", responses.Nothing, json={**about, "value": value}
            )
        await self._asked(writing, otherwise=responses.Nothing())

    async def ask(self, method: str, path: str, response_type: type[T], **content: Any) -> T:
        """Send one request to a path below `/api/2.0/mlflow/`.

        If MLflow refuses the request, the error quotes its message.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        async with self._failures():
            return await self._rest.send(method, path, response_type, **content)

    async def _asked(self, asking: Awaitable[T], otherwise: U) -> T | U:
        """Await one request within its time limit.

        Returns:
            The response, or `otherwise` if the object of the request does not exist.

        Raises:
            ResolutionError: The request failed.
        """
        async with self._failures():
            try:
                return await asking
            except MlflowError as error:
                if error.missing:
                    return otherwise
                raise

    @asynccontextmanager
    async def _failures(self) -> AsyncIterator[None]:
        """Limit the time of a call, and turn every exception into a ResolutionError.

        Callers serve other registries as well, so a call must not raise any other exception.
        """
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                yield
        except ResolutionError:
            raise
        except TimeoutError:
            raise unreachable(self.endpoint) from None
        except MlflowError as error:
            raise failures.unexpected(self.endpoint, error) from None
        except asyncio.CancelledError as error:
            if cancelled_from_outside():
                raise
            raise unexpected_failure(self.endpoint, error) from None
        except Exception as error:
            raise unexpected_failure(self.endpoint, error) from None


def _registration(version: responses.Version) -> Registration:
    return Registration(version.registered_at, version.run_id or None)
