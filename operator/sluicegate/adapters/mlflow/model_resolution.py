"""The resolution of model URIs by one registry."""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import quote

from sluicegate.adapters.mlflow import artifact_uris, failures, responses
from sluicegate.adapters.mlflow.http import MlflowError
from sluicegate.adapters.mlflow.rest import RestClient
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

_UNQUOTABLE: Final = frozenset("/:.%\"'")
"""Characters that the name of a logged model cannot contain (mlflow utils/validation.py). So a filter on the name needs
no escaping."""


class ModelResolution:
    """Finds the version and the artifacts that a model URI means. Its callers limit the time."""

    def __init__(self, rest: RestClient) -> None:
        """Create the resolution, which sends no request yet."""
        self._rest = rest
        self._endpoint = rest.endpoint

    async def resolve(self, ref: ModelRef) -> ResolvedModel:
        """Return what `ref` resolves to now.

        Raises:
            MlflowError: MLflow refused a request.
            ResolutionError: The URI cannot be resolved, or a request failed.
        """
        return await self._resolve(ref, MAX_HOPS)

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
            raise failures.version_not_ready(self._endpoint, version)
        params = {"name": version.name, "version": version.version}
        source = (
            await self._rest.get("model-versions/get-download-uri", responses.DownloadResponse, params)
        ).artifact_uri
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
            return replace(resolved, source=artifact_uris.fetchable(self._endpoint, source, str(ref)))
        if hops == 0:
            raise failures.too_many_hops(self._endpoint, str(ref), source)
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
            return (await self._rest.get("model-versions/get", responses.VersionResponse, params)).model_version
        except MlflowError as error:
            if not error.missing:
                raise
        raise failures.no_version(self._endpoint, ref, await self.registered(ref.name))

    async def _by_alias(self, ref: RegistryAlias) -> responses.Version:
        """Return the version of an alias (MLflow REST `registered-models/alias`).

        The response to a missing model is 404. The response to a missing alias is 400 INVALID_PARAMETER_VALUE.
        """
        params = {"name": ref.name, "alias": ref.alias}
        try:
            return (await self._rest.get("registered-models/alias", responses.VersionResponse, params)).model_version
        except MlflowError as error:
            if not error.missing and error.code != "INVALID_PARAMETER_VALUE":
                raise
        raise failures.no_alias(self._endpoint, ref, await self.registered(ref.name))

    async def _by_stage(self, ref: RegistryStage) -> responses.Version:
        versions = await self._latest_versions(ref.name, [ref.stage])
        if not versions:
            raise failures.empty_stage(self._endpoint, ref, await self.registered(ref.name))
        return max(versions, key=lambda version: int(version.version))

    async def _latest(self, ref: RegistryLatest) -> responses.Version:
        versions = await self._latest_versions(ref.name, [])
        if not versions:
            raise failures.no_versions(self._endpoint, ref.name)
        return max(versions, key=lambda version: int(version.version))

    async def _latest_versions(self, name: str, stages: list[str]) -> tuple[responses.Version, ...]:
        """Return the highest version of each stage.

        An empty list of stages means all stages. This is MLflow REST `registered-models/get-latest-versions`.
        """
        body = {"name": name, "stages": stages}
        try:
            response = await self._rest.send(
                "POST", "registered-models/get-latest-versions", responses.VersionsResponse, json=body
            )
        except MlflowError as error:
            if not error.missing:
                raise
            raise await self._model_missing(name) from None
        return response.model_versions

    async def registered(self, name: str) -> responses.Registered:
        """Return the registered model, so that an error can name what it has.

        Raises:
            ResolutionError: ModelNotFound. It is more precise than the caller's error.
        """
        try:
            return (
                await self._rest.get("registered-models/get", responses.RegisteredResponse, {"name": name})
            ).registered_model
        except MlflowError as error:
            if not error.missing:
                raise
        raise await self._model_missing(name)

    async def _model_missing(self, name: str) -> ResolutionError:
        """Return ModelNotFound, with the models of the registry if it lists them."""
        try:
            models = await self._rest.get("registered-models/search", responses.RegisteredList, {"max_results": "20"})
        except (MlflowError, ResolutionError):  # the list is optional: which model is missing is known already
            models = responses.RegisteredList()
        return failures.no_model(self._endpoint, name, models)

    async def _logged_model(self, ref: LoggedModel) -> ResolvedModel:
        """Return a logged model (MLflow REST `logged-models/ID`, MLflow 3)."""
        try:
            path = f"logged-models/{quote(ref.model_id, safe='')}"
            info = (await self._rest.get(path, responses.LoggedResponse, {})).model.info
        except MlflowError as error:
            if not error.missing:
                raise
            raise failures.no_logged_model(self._endpoint, ref) from None
        return self._of_logged(ref, info, "")

    def _of_logged(self, ref: ModelRef, info: responses.LoggedInfo, path: str) -> ResolvedModel:
        if info.status in ("LOGGED_MODEL_PENDING", "LOGGED_MODEL_UPLOAD_FAILED"):
            raise failures.logged_model_not_ready(self._endpoint, info)
        return ResolvedModel(
            uri=str(ref),
            source=artifact_uris.fetchable(self._endpoint, artifact_uris.join(info.artifact_uri, path), str(ref)),
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
            info = (await self._rest.get("runs/get", responses.RunResponse, {"run_id": ref.run_id})).run.info
        except MlflowError as error:
            if not error.missing:
                raise
            raise failures.no_run(self._endpoint, ref) from None
        if info.lifecycle_stage == "deleted":
            raise failures.no_run(self._endpoint, ref, deleted=True)
        name, _, rest = ref.path.partition("/")
        logged = await self._logged_by_run(info, name)
        if logged is not None:
            return self._of_logged(ref, logged, rest)
        listing = {"run_id": ref.run_id, "path": ref.path}
        if not (await self._rest.get("artifacts/list", responses.FilesResponse, listing)).files:
            raise failures.no_artifact(self._endpoint, ref, await self._top_level(ref.run_id))
        source = artifact_uris.fetchable(self._endpoint, artifact_uris.join(info.artifact_uri, ref.path), str(ref))
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
            logged = await self._rest.send("POST", "logged-models/search", responses.LoggedList, json=body)
        except ResolutionError:
            if await self._rest.is_mlflow_2():
                return None
            raise
        return logged.models[0].info if logged.models else None

    async def _top_level(self, run_id: str) -> list[str]:
        """Return the run's top-level artifacts, for a message.

        The list is empty if the registry does not return one.
        """
        try:
            listing = await self._rest.get("artifacts/list", responses.FilesResponse, {"run_id": run_id})
        except (MlflowError, ResolutionError):
            return []
        return [file.path for file in listing.files]
