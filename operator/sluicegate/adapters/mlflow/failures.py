"""Errors for what a registry does not have.

Each message names what is missing, what the registry has instead, and what the user can do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from sluicegate.adapters.mlflow.http import MlflowError, RegistryEndpoint, server_error
from sluicegate.adapters.mlflow.responses import LoggedInfo, Registered, RegisteredList, Version
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure
from sluicegate.core.models.uri import (
    LoggedModel,
    RegistryAlias,
    RegistryStage,
    RegistryVersion,
    RunArtifact,
    without_userinfo,
)

_SHOWN: Final = 8
_CHANGE: Final = "change spec.model.uri"


def no_model(endpoint: RegistryEndpoint, name: str, models: RegisteredList) -> ResolutionError:
    """Return a ModelNotFound error."""
    names = [model.name for model in models.registered_models]
    existing = f"Existing models: {_list(names, more=bool(models.next_page_token))}" if names else "It lists no models"
    return _failure(
        Reason.MODEL_NOT_FOUND,
        f"Registered model {_q(name)} does not exist in {endpoint}. {existing}. Register it, or {_CHANGE} "
        "(names are case-sensitive).",
    )


def no_version(endpoint: RegistryEndpoint, ref: RegistryVersion, model: Registered) -> ResolutionError:
    """Return a VersionNotFound error."""
    newest = max((int(version.version) for version in model.latest_versions), default=None)
    existing = "It has no versions" if newest is None else f"Its newest version is {newest}"
    return _failure(
        Reason.VERSION_NOT_FOUND,
        f"Model {_q(ref.name)} has no version {ref.version} in {endpoint}. {existing}. Register one, or {_CHANGE}.",
    )


def no_versions(endpoint: RegistryEndpoint, name: str) -> ResolutionError:
    """Return a VersionNotFound error, for `latest` of a model without versions."""
    return _failure(
        Reason.VERSION_NOT_FOUND,
        f"Model {_q(name)} has no versions in {endpoint}. Register one, or {_CHANGE}.",
    )


def no_alias(endpoint: RegistryEndpoint, ref: RegistryAlias, model: Registered) -> ResolutionError:
    """Return an AliasNotFound error."""
    aliases = [alias.alias for alias in model.aliases]
    existing = f"Existing aliases: {_list(aliases)}" if aliases else "It has no aliases"
    arguments = f"{_q(ref.name)}, {_q(ref.alias)}, VERSION"
    return _failure(
        Reason.ALIAS_NOT_FOUND,
        f"Model {_q(ref.name)} has no alias {_q(ref.alias)} in {endpoint}. {existing}. Set it with "
        f"MlflowClient().set_registered_model_alias({arguments}), or {_CHANGE}.",
    )


def empty_stage(endpoint: RegistryEndpoint, ref: RegistryStage, model: Registered) -> ResolutionError:
    """Return a StageEmpty error."""
    stages = [f"{version.current_stage} (version {version.version})" for version in model.latest_versions]
    existing = f"Stages with versions: {_list(stages)}" if stages else "It has no versions"
    arguments = f'{_q(ref.name)}, VERSION, "{ref.stage}"'
    return _failure(
        Reason.STAGE_EMPTY,
        f"Model {_q(ref.name)} has no version in stage {ref.stage} in {endpoint}. {existing}. Move one to it with "
        f"MlflowClient().transition_model_version_stage({arguments}), or {_CHANGE}.",
    )


def version_not_ready(endpoint: RegistryEndpoint, version: Version) -> ResolutionError:
    """Return a VersionNotReady error.

    The registration is in progress, or has failed permanently.
    """
    pending = version.status == "PENDING_REGISTRATION"
    detail = f" ({version.status_message[:200]})" if version.status_message else ""
    todo = "The operator checks it again" if pending else f"Register the model again, or {_CHANGE}"
    return _failure(
        Reason.VERSION_NOT_READY,
        f"Version {version.version} of model {_q(version.name)} in {endpoint} is "
        f"{version.status[:40]}{detail}. {todo}.",
        transient=pending,
    )


def logged_model_not_ready(endpoint: RegistryEndpoint, info: LoggedInfo) -> ResolutionError:
    """Return a VersionNotReady error for a logged model with incomplete artifacts.

    The upload is in progress, or has failed permanently.
    """
    pending = info.status == "LOGGED_MODEL_PENDING"
    state = "is still being logged" if pending else "was not uploaded completely"
    todo = "The operator checks it again" if pending else f"Log it again, or {_CHANGE}"
    return _failure(
        Reason.VERSION_NOT_READY,
        f"The logged model {_q(info.model_id)} in {endpoint} {state} ({info.status}). {todo}.",
        transient=pending,
    )


def no_logged_model(endpoint: RegistryEndpoint, ref: LoggedModel) -> ResolutionError:
    """Return a LoggedModelNotFound error."""
    return _failure(
        Reason.LOGGED_MODEL_NOT_FOUND,
        f"Logged model {_q(ref.model_id)} does not exist in {endpoint}, or was deleted. "
        f"For a registered model of that name use models:/{ref.model_id}/VERSION, or {_CHANGE}.",
    )


def no_run(endpoint: RegistryEndpoint, ref: RunArtifact, *, deleted: bool = False) -> ResolutionError:
    """Return a RunNotFound error."""
    what = (
        f"Run {_q(ref.run_id)} in {endpoint} was deleted"
        if deleted
        else f"Run {_q(ref.run_id)} does not exist in {endpoint}"
    )
    todo = "Restore it with mlflow runs restore" if deleted else "Check its ID and spec.model.registry"
    return _failure(Reason.RUN_NOT_FOUND, f"{what}. {todo}, or {_CHANGE}.")


def no_artifact(endpoint: RegistryEndpoint, ref: RunArtifact, artifacts: Iterable[str]) -> ResolutionError:
    """Return an ArtifactNotFound error."""
    listed = _list(list(artifacts))
    existing = f"Existing artifacts: {listed}" if listed else "It lists no artifacts"
    return _failure(
        Reason.ARTIFACT_NOT_FOUND,
        f"Run {_q(ref.run_id)} in {endpoint} has neither an artifact nor a logged model at {_q(ref.path)}. {existing}. "
        f"Log the model under that name, or {_CHANGE}.",
    )


def unsupported_source(endpoint: RegistryEndpoint, uri: str, source: str) -> ResolutionError:
    """Return a SourceUnsupported error, for a source that no pod can fetch."""
    shown = without_userinfo(source)[:200]
    if not source:
        why = "has no artifacts recorded. Log the model again"
    elif source.startswith(("/", "file:", ".")) or ":" not in source:
        why = (
            f"is stored in a directory of the MLflow server ({shown}), which no pod can fetch. Start the server with "
            "--serve-artifacts and --artifacts-destination, and log the model again in a new experiment"
        )
    else:
        why = (
            f"is stored at {shown}, which pods cannot fetch. Store it at mlflow-artifacts:/PATH, s3://, gs://, "
            "wasbs:// or abfss://"
        )
    return _failure(Reason.SOURCE_UNSUPPORTED, f'The model "{uri}" of {endpoint} {why}, or {_CHANGE}.')


def too_many_hops(endpoint: RegistryEndpoint, uri: str, source: str) -> ResolutionError:
    """Return a SourceUnsupported error, for versions that refer to each other."""
    return _failure(
        Reason.SOURCE_UNSUPPORTED,
        f'The source of model "{uri}" of {endpoint} refers to another model ({without_userinfo(source)[:200]}), '
        f"in a chain that is too long. Register the model from its artifacts, or {_CHANGE}.",
    )


def unexpected(endpoint: RegistryEndpoint, error: MlflowError) -> ResolutionError:
    """Return a RegistryError error, for an unexpected refusal.

    MLflow refused a request that every MLflow server accepts.
    """
    return server_error(endpoint, error.status, f"{error.code} {error.message}")


def _failure(reason: Reason, message: str, *, transient: bool = False) -> ResolutionError:
    return ResolutionError(ResolutionFailure(reason, message, transient))


def _q(text: str) -> str:
    """Return `text` in quotes, escaped if it could disturb a terminal or a log."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _list(names: list[str], *, more: bool = False) -> str:
    shown = [name if len(name) <= 60 and name.isprintable() else _q(name[:60]) for name in names[:_SHOWN]]
    return ", ".join(shown) + (", and more" if more or len(names) > _SHOWN else "")
