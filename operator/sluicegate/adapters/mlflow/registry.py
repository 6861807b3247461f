"""Resolution of model URIs by the MLflow REST API (`/api/2.0/mlflow`).

The client uses httpx and not the mlflow package. That package would add 43 packages and no async client, for six calls.
The client retries nothing. The work queue retries, and decides how long to wait.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx

from sluicegate.adapters import bounded
from sluicegate.adapters.mlflow import artifact_uris, failures, responses
from sluicegate.adapters.mlflow.http import (
    TOTAL_SECONDS,
    ClientFactory,
    MlflowError,
    RegistryEndpoint,
    call,
    endless,
    make_client,
    unexpected_failure,
    unreachable,
)
from sluicegate.adapters.unexpected import cancelled_from_outside
from sluicegate.core.models.following import ModelView
from sluicegate.core.models.resolution import ResolutionError, ResolvedModel, resolve_locally
from sluicegate.core.models.uri import (
    LoggedModel,
    ModelRef,
    RegistryAlias,
    RegistryLatest,
    RegistryStage,
    RegistryVersion,
    RunArtifact,
)

MAX_HOPS: Final = 4
"""Maximum length of a chain of model URIs. A version's source may be another models:/ URI, and a longer chain is a
mistake or a cycle."""

MAX_VERSION_BYTES: Final = 1024
"""Maximum size of the response to a request for the server's version, in bytes. The version is one short line."""

MAX_PAGES: Final = 100
MAX_LISTED: Final = 50_000
"""Maximum number of pages and entries of one listing. A listing without an end would fill the memory."""

_UNQUOTABLE: Final = frozenset("/:.%\"'")
"""Characters that the name of a logged model cannot contain (mlflow utils/validation.py). So a filter on the name needs
no escaping."""

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
            return await self._resolve(ref, MAX_HOPS)

    async def view(self, name: str) -> ModelView:
        """Return the versions that the names of a registered model resolve to now.

        This takes one request.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        async with self._failures():
            model = await self._registered(name)
            newest = max(model.latest_versions, key=lambda version: int(version.version), default=None)
            return ModelView(
                aliases={alias.alias: alias.version for alias in model.aliases},
                stages={version.current_stage: version.version for version in model.latest_versions},
                newest_at=newest.registered_at if newest is not None else None,
            )

    async def has(self, ref: RegistryVersion) -> bool:
        """Tell whether a version still exists, with one request.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        params = {"name": ref.name, "version": str(ref.version)}
        return await self._asked(self._get("model-versions/get", responses.VersionResponse, params), None) is not None

    async def tagged(self, key: str) -> dict[tuple[str, str], str]:
        """Return the versions that have a tag, as (name, version), and its value.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        tags: dict[tuple[str, str], str] = {}
        params = {"filter": f"tags.`{key}` LIKE '%'", "max_results": "1000"}
        for _ in range(MAX_PAGES):
            asking = self._get("model-versions/search", responses.TaggedVersions, params)
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
            writing = self._send("DELETE", "model-versions/delete-tag", responses.Nothing, json=about)
        else:
            writing = self._send("POST", "model-versions/set-tag", responses.Nothing, json={**about, "value": value})
        await self._asked(writing, otherwise=responses.Nothing())

    async def ask(self, method: str, path: str, response_type: type[T], **content: Any) -> T:
        """Send one request to a path below `/api/2.0/mlflow/`.

        If MLflow refuses the request, the error quotes its message.

        Raises:
            ResolutionError: The request failed. The message says why and what to do about it.
        """
        async with self._failures():
            return await self._send(method, path, response_type, **content)

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

    async def _resolve(self, ref: ModelRef, hops: int) -> ResolvedModel:
        match ref:
            case RegistryVersion():
                version = await self._version(ref)
            case RegistryAlias():
                version = await self._by_alias(ref)
            case RegistryStage():
                version = await self._by_stage(ref)
            case RegistryLatest():
                version = await self._latest(ref)
            case LoggedModel():
                return await self._logged_model(ref)
            case RunArtifact():
                return await self._run_artifact(ref)
            case _:
                local = resolve_locally(ref)
                assert local is not None
                return local
        return await self._pinned(ref, version, hops)

    async def _pinned(self, ref: ModelRef, version: responses.Version, hops: int) -> ResolvedModel:
        """Return the resolution of one version, with the address of its artifacts.

        A version may refer to another models:/ URI, which is then resolved as well.
        """
        if version.status != "READY":
            raise failures.version_not_ready(self.endpoint, version)
        params = {"name": version.name, "version": version.version}
        source = (await self._get("model-versions/get-download-uri", responses.DownloadResponse, params)).artifact_uri
        resolved = ResolvedModel(
            uri=str(ref),
            source=source,
            name=version.name,
            version=version.version,
            run_id=version.run_id or None,
            model_id=version.model_id or artifact_uris.model_id(version.source),
            registered_at=version.registered_at,
        )
        inner = artifact_uris.inner(source)
        if inner is None:
            return replace(resolved, source=artifact_uris.fetchable(self.endpoint, source, str(ref)))
        if hops == 0:
            raise failures.too_many_hops(self.endpoint, str(ref), source)
        end = await self._resolve(inner, hops - 1)
        return replace(
            resolved,
            source=end.source,
            run_id=resolved.run_id or end.run_id,
            model_id=resolved.model_id or end.model_id,
        )

    async def _version(self, ref: RegistryVersion) -> responses.Version:
        """Return one version (MLflow REST `model-versions/get`).

        Its 404 does not tell a missing model from a missing version.
        """
        params = {"name": ref.name, "version": str(ref.version)}
        try:
            return (await self._get("model-versions/get", responses.VersionResponse, params)).model_version
        except MlflowError as error:
            if not error.missing:
                raise
        raise failures.no_version(self.endpoint, ref, await self._registered(ref.name))

    async def _by_alias(self, ref: RegistryAlias) -> responses.Version:
        """Return the version of an alias (MLflow REST `registered-models/alias`).

        The response to a missing model is 404. The response to a missing alias is 400 INVALID_PARAMETER_VALUE.
        """
        params = {"name": ref.name, "alias": ref.alias}
        try:
            return (await self._get("registered-models/alias", responses.VersionResponse, params)).model_version
        except MlflowError as error:
            if not error.missing and error.code != "INVALID_PARAMETER_VALUE":
                raise
        raise failures.no_alias(self.endpoint, ref, await self._registered(ref.name))

    async def _by_stage(self, ref: RegistryStage) -> responses.Version:
        versions = await self._latest_versions(ref.name, [ref.stage])
        if not versions:
            raise failures.empty_stage(self.endpoint, ref, await self._registered(ref.name))
        return max(versions, key=lambda version: int(version.version))

    async def _latest(self, ref: RegistryLatest) -> responses.Version:
        versions = await self._latest_versions(ref.name, [])
        if not versions:
            raise failures.no_versions(self.endpoint, ref.name)
        return max(versions, key=lambda version: int(version.version))

    async def _latest_versions(self, name: str, stages: list[str]) -> tuple[responses.Version, ...]:
        """Return the highest version of each stage.

        An empty list of stages means all stages. This is MLflow REST `registered-models/get-latest-versions`.
        """
        body = {"name": name, "stages": stages}
        try:
            response = await self._send(
                "POST", "registered-models/get-latest-versions", responses.VersionsResponse, json=body
            )
        except MlflowError as error:
            if not error.missing:
                raise
            raise await self._model_missing(name) from None
        return response.model_versions

    async def _registered(self, name: str) -> responses.Registered:
        """Return the registered model, so that an error can name what it has.

        Raises:
            ResolutionError: ModelNotFound. It is more precise than the caller's error.
        """
        try:
            return (
                await self._get("registered-models/get", responses.RegisteredResponse, {"name": name})
            ).registered_model
        except MlflowError as error:
            if not error.missing:
                raise
        raise await self._model_missing(name)

    async def _model_missing(self, name: str) -> ResolutionError:
        """Return ModelNotFound, with the models of the registry if it lists them."""
        try:
            models = await self._get("registered-models/search", responses.RegisteredList, {"max_results": "20"})
        except (MlflowError, ResolutionError):  # the list is optional: which model is missing is known already
            models = responses.RegisteredList()
        return failures.no_model(self.endpoint, name, models)

    async def _logged_model(self, ref: LoggedModel) -> ResolvedModel:
        """Return a logged model (MLflow REST `logged-models/ID`, MLflow 3)."""
        try:
            path = f"logged-models/{quote(ref.model_id, safe='')}"
            info = (await self._get(path, responses.LoggedResponse, {})).model.info
        except MlflowError as error:
            if not error.missing:
                raise
            raise failures.no_logged_model(self.endpoint, ref) from None
        return self._of_logged(ref, info, "")

    def _of_logged(self, ref: ModelRef, info: responses.LoggedInfo, path: str) -> ResolvedModel:
        if info.status in ("LOGGED_MODEL_PENDING", "LOGGED_MODEL_UPLOAD_FAILED"):
            raise failures.logged_model_not_ready(self.endpoint, info)
        return ResolvedModel(
            uri=str(ref),
            source=artifact_uris.fetchable(self.endpoint, artifact_uris.join(info.artifact_uri, path), str(ref)),
            run_id=info.source_run_id or None,
            model_id=info.model_id,
        )

    async def _run_artifact(self, ref: RunArtifact) -> ResolvedModel:
        """Return the logged model or the artifacts at a path of a run.

        The first segment of the path may name a model that the run logged. Otherwise the path is that of the run's
        artifacts. MLflow 3 keeps a logged model apart from its run's artifacts. Its client downloads both, the model
        over the artifacts (mlflow `runs_artifact_repo.py`). So the model takes precedence here. If there are several
        models, the newest one wins.
        """
        try:
            info = (await self._get("runs/get", responses.RunResponse, {"run_id": ref.run_id})).run.info
        except MlflowError as error:
            if not error.missing:
                raise
            raise failures.no_run(self.endpoint, ref) from None
        if info.lifecycle_stage == "deleted":
            raise failures.no_run(self.endpoint, ref, deleted=True)
        name, _, rest = ref.path.partition("/")
        logged = await self._logged_by_run(info, name)
        if logged is not None:
            return self._of_logged(ref, logged, rest)
        listing = {"run_id": ref.run_id, "path": ref.path}
        if not (await self._get("artifacts/list", responses.FilesResponse, listing)).files:
            raise failures.no_artifact(self.endpoint, ref, await self._top_level(ref.run_id))
        source = artifact_uris.fetchable(self.endpoint, artifact_uris.join(info.artifact_uri, ref.path), str(ref))
        return ResolvedModel(uri=str(ref), source=source, run_id=ref.run_id)

    async def _logged_by_run(self, info: responses.RunInfo, name: str) -> responses.LoggedInfo | None:
        if _UNQUOTABLE & set(name):
            return None
        body = {
            "experiment_ids": [info.experiment_id],
            "filter": f"name = '{name}' AND source_run_id = '{info.run_id}'",
            "order_by": [{"field_name": "creation_timestamp", "ascending": False}],
            "max_results": 1,
        }
        try:
            logged = await self._send("POST", "logged-models/search", responses.LoggedList, json=body)
        except ResolutionError:
            if await self._is_mlflow_2():
                return None
            raise
        return logged.models[0].info if logged.models else None

    async def _is_mlflow_2(self) -> bool:
        """Tell whether the server is older than logged models, by GET /version.

        The HTML 404 of such a server does not look like a response of MLflow.
        """
        version = httpx.URL(self.endpoint.tracking_uri.rstrip("/") + "/version").copy_with(username=None, password=None)
        build = functools.partial(self._client.build_request, "GET", version)
        try:
            response = await bounded.fetch(self._client, build, MAX_VERSION_BYTES)
        except (bounded.RequestFailed, bounded.ResponseRefused):
            return False
        return response.status == 200 and response.body.startswith((b"1.", b"2."))

    async def _top_level(self, run_id: str) -> list[str]:
        """Return the run's top-level artifacts, for a message.

        The list is empty if the registry does not return one.
        """
        try:
            listing = await self._get("artifacts/list", responses.FilesResponse, {"run_id": run_id})
        except (MlflowError, ResolutionError):
            return []
        return [file.path for file in listing.files]

    async def _get(self, path: str, response_type: type[T], params: dict[str, str]) -> T:
        return await self._send("GET", path, response_type, params=params)

    async def _send(self, method: str, path: str, response_type: type[T], **content: Any) -> T:
        build = functools.partial(self._client.build_request, method, path, **content)
        return await call(self._client, self.endpoint, build, response_type)
