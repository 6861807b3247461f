"""What a model URI came to: a source that pods can fetch, or the reason why not.

A failure is a value: it ends in the condition ModelResolved, and its message is what the user reads
there. So every message names the thing and says what to do, and none holds a credential.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sluicegate.core.models.uri import Artifacts, Baked, InvalidModelUri, ModelRef, Volume


class ResolutionReason(StrEnum):
    """Why a model URI was not resolved; the reason of the condition ModelResolved."""

    INVALID_MODEL_URI = "InvalidModelURI"
    MODEL_NOT_FOUND = "ModelNotFound"
    VERSION_NOT_FOUND = "VersionNotFound"
    VERSION_NOT_READY = "VersionNotReady"
    ALIAS_NOT_FOUND = "AliasNotFound"
    STAGE_EMPTY = "StageEmpty"
    RUN_NOT_FOUND = "RunNotFound"
    LOGGED_MODEL_NOT_FOUND = "LoggedModelNotFound"
    ARTIFACT_NOT_FOUND = "ArtifactNotFound"
    """The run is there, and nothing at the path: neither an artifact nor a logged model of that name."""
    SOURCE_UNSUPPORTED = "SourceUnsupported"
    """The registry keeps the artifacts where a pod cannot fetch them, such as file:/ or http:."""
    REGISTRY_UNKNOWN = "RegistryUnknown"
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    REGISTRY_UNAUTHORIZED = "RegistryUnauthorized"
    REGISTRY_FORBIDDEN = "RegistryForbidden"
    REGISTRY_HOST_REFUSED = "RegistryHostRefused"
    REGISTRY_INVALID_ANSWER = "RegistryInvalidAnswer"
    REGISTRY_ERROR = "RegistryError"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_INVALID = "SecretInvalid"
    INTERNAL_ERROR = "InternalError"
    """The operator itself failed: a bug, whose traceback is in its log."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a URI means now, pinned.

    Attributes:
        uri: The URI that was resolved, in its canonical form.
        source: Where pods get the artifacts: `mlflow-artifacts:`, `s3://` and the like; `pvc://` and
        `image://` unchanged. name: The registered model's name; None where no registered model is involved.
        version: Its version.
        run_id: The run that made the model, where known.
        model_id: The id of the logged model (MLflow 3), where known.
        registered_at: When the version was registered, as status writes times; None where there is no version.
    """

    uri: str
    source: str
    name: str | None = None
    version: str | None = None
    run_id: str | None = None
    model_id: str | None = None
    registered_at: str | None = None


@dataclass(frozen=True, slots=True)
class Newest:
    """The highest version of a registered model, and when it was registered, where that is known."""

    version: str
    registered_at: str | None = None


@dataclass(frozen=True, slots=True)
class ResolutionFailure:
    """Why a URI was not resolved.

    Attributes:
        reason: For programs.
        message: For people: what is wrong, and what to do.
        transient: Whether it may pass without anybody changing anything: retry soon rather than at the
        next poll.
    """

    reason: ResolutionReason
    message: str
    transient: bool = False


class ResolutionError(Exception):
    """Carries a `ResolutionFailure` through calls that return a `ResolvedModel`."""

    def __init__(self, failure: ResolutionFailure) -> None:
        super().__init__(f"{failure.reason}: {failure.message}")
        self.failure = failure


def resolve_locally(ref: ModelRef) -> ResolvedModel | None:
    """The resolution of a reference that says everything itself; None where the registry must be asked."""
    match ref:
        case Artifacts() | Volume() | Baked():
            return ResolvedModel(uri=str(ref), source=str(ref))
    return None


def invalid_uri(error: InvalidModelUri) -> ResolutionFailure:
    """The failure for a URI that `model_uri.parse` refused."""
    return ResolutionFailure(ResolutionReason.INVALID_MODEL_URI, str(error))


def registry_unknown(name: str, known: Iterable[str]) -> ResolutionFailure:
    """The failure for a registry's name that the operator's settings do not have."""
    names = sorted(known)
    there = f"Registries there: {', '.join(names)}." if names else "It has none."
    return ResolutionFailure(
        ResolutionReason.REGISTRY_UNKNOWN,
        f'The operator\'s settings have no registry "{name}". {there} Change spec.model.registry, set '
        "spec.model.inlineRegistry, or ask the platform to add it.",
    )


def secret_not_found(namespace: str, name: str, registry: str) -> ResolutionFailure:
    """The failure for a registry whose Secret does not exist (or may not be read)."""
    return ResolutionFailure(
        ResolutionReason.SECRET_NOT_FOUND,
        f'The Secret "{name}" in namespace "{namespace}", with the credentials of registry "{registry}", '
        "does not exist or may "
        "not be read by the operator. Create it with MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN, and let the operator get it by a Role in that namespace.",
    )


def webhook_secret_not_found(namespace: str, name: str, registry: str) -> ResolutionFailure:
    """The failure for a webhook secret that does not exist (or may not be read)."""
    return ResolutionFailure(
        ResolutionReason.SECRET_NOT_FOUND,
        f'The Secret "{name}" in namespace "{namespace}", which the webhooks of registry "{registry}" are signed with, does not exist '
        'or may not be read by the operator. Create it with a key "secret".',
    )


def secret_unread(namespace: str, name: str, registry: str, error: Exception) -> ResolutionFailure:
    """The failure for a registry whose Secret the API server did not give; it passes by itself."""
    return ResolutionFailure(
        ResolutionReason.SECRET_NOT_FOUND,
        f'The Secret "{name}" in namespace "{namespace}", with the credentials of registry "{registry}", could not be read: '
        f"{error}. It is tried again by itself.",
        transient=True,
    )


def secret_invalid(secret: str, problem: str) -> ResolutionFailure:
    """The failure for a Secret that holds no usable credentials; `problem` must not quote a value."""
    return ResolutionFailure(ResolutionReason.SECRET_INVALID, f"{secret} cannot be used: {problem}.")


def internal_error(what: str, error: BaseException) -> ResolutionFailure:
    """Return the failure for an exception that nobody expected.

    The message has the type of the exception only: its text may quote a credential.

    Args:
        what: What failed, as the subject of a sentence, such as `Asking registry "default"`.
        error: The exception.
    """
    return ResolutionFailure(
        ResolutionReason.INTERNAL_ERROR,
        f"{what} failed with an unexpected {type(error).__name__}. The traceback is in the operator's log: report it as a bug. "
        "The operator tries again.",
        transient=True,
    )
