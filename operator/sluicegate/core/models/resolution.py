"""The result of resolving a model URI: a source for pods to fetch, or a failure.

A failure is a value. It becomes the condition ModelResolved, and users read its message there. So every message names
what failed and says what to do, and no message contains a credential.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sluicegate.api.reasons import Reason
from sluicegate.core.models.uri import Artifacts, Baked, InvalidModelUri, ModelRef, Volume


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """What a URI means at the time of resolution, pinned.

    Attributes:
        uri: The URI that was resolved, in its canonical form.
        source: Where pods get the artifacts, such as `mlflow-artifacts:` or `s3://`. `pvc://` and `image://` stay
            unchanged.
        name: The name of the registered model. None where no registered model is involved.
        version: The version of the registered model.
        run_id: The run that created the model, where known.
        model_id: The ID of the logged model (MLflow 3), where known.
        registered_at: When the version was registered, in the time format of status. None where there is no version.
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
    """The highest version of a registered model.

    `registered_at` says when it was registered, where that is known.
    """

    version: str
    registered_at: str | None = None


@dataclass(frozen=True, slots=True)
class ResolutionFailure:
    """Why a URI was not resolved.

    Attributes:
        reason: The cause, for programs.
        message: What is wrong and what to do, for users.
        transient: Whether the failure may pass without any change by a user. The operator then retries soon instead of
            at the next poll.
    """

    reason: Reason
    message: str
    transient: bool = False


class ResolutionError(Exception):
    """An exception that carries a `ResolutionFailure`.

    Calls that return a `ResolvedModel` raise it.
    """

    def __init__(self, failure: ResolutionFailure) -> None:
        super().__init__(f"{failure.reason}: {failure.message}")
        self.failure = failure


def resolve_locally(ref: ModelRef) -> ResolvedModel | None:
    """Resolve a reference that needs no registry.

    Return None where the operator must ask the registry.
    """
    match ref:
        case Artifacts() | Volume() | Baked():
            return ResolvedModel(uri=str(ref), source=str(ref))
    return None


def invalid_uri(error: InvalidModelUri) -> ResolutionFailure:
    """Return the failure for a URI that `uri.parse` rejected."""
    return ResolutionFailure(Reason.INVALID_MODEL_URI, str(error))


def registry_unknown(name: str, registries: Iterable[str]) -> ResolutionFailure:
    """Return the failure for a registry name that the operator's settings lack."""
    names = sorted(registries)
    available = f"Available registries: {', '.join(names)}." if names else "The settings have no registries."
    return ResolutionFailure(
        Reason.REGISTRY_UNKNOWN,
        f'Registry "{name}" does not exist in the operator\'s settings. {available} Change spec.model.registry, set '
        "spec.model.inlineRegistry, or ask the platform team to add the registry.",
    )


def inline_registry_refused(host: str, allowed: Iterable[str]) -> ResolutionFailure:
    """Return the failure for an inline registry on a host that the operator's settings do not allow."""
    hosts = ", ".join(allowed)
    available = f"It allows: {hosts}." if hosts else "It allows none."
    return ResolutionFailure(
        Reason.REGISTRY_UNKNOWN,
        f'spec.model.inlineRegistry: the platform does not allow the host "{host}" (setting '
        f"tenants.inlineRegistryHosts). {available} Set spec.model.registry to a configured registry, or ask the "
        "platform team to allow the host.",
    )


def secret_not_found(namespace: str, name: str, registry: str) -> ResolutionFailure:
    """Return the failure for a registry's Secret that does not exist.

    The operator may also lack the permission to read it.
    """
    return ResolutionFailure(
        Reason.SECRET_NOT_FOUND,
        f'The Secret "{name}" in namespace "{namespace}", with the credentials of registry "{registry}", '
        "does not exist, or the operator may not read it. Create it with MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and allow the operator to get it with a Role in that "
        "namespace.",
    )


def webhook_secret_not_found(namespace: str, name: str, registry: str) -> ResolutionFailure:
    """Return the failure for a webhook Secret that does not exist.

    The operator may also lack the permission to read it.
    """
    return ResolutionFailure(
        Reason.SECRET_NOT_FOUND,
        f'The Secret "{name}" in namespace "{namespace}", which signs the webhooks of registry "{registry}", '
        'does not exist, or the operator may not read it. Create it with the key "secret".',
    )


def secret_unread(namespace: str, name: str, registry: str, error: Exception) -> ResolutionFailure:
    """Return the failure for a registry whose Secret could not be read.

    The API server did not return the Secret. The failure is transient.
    """
    return ResolutionFailure(
        Reason.SECRET_NOT_FOUND,
        f'The Secret "{name}" in namespace "{namespace}", with the credentials of registry "{registry}", could not be '
        f"read: {error}. The operator retries.",
        transient=True,
    )


def secret_invalid(secret: str, problem: str) -> ResolutionFailure:
    """Return the failure for a Secret that holds no usable credentials.

    `problem` must not quote a value of the Secret.
    """
    return ResolutionFailure(Reason.SECRET_INVALID, f"{secret} cannot be used: {problem}.")


def internal_error(what: str, error: BaseException) -> ResolutionFailure:
    """Return the failure for an unexpected exception.

    The message contains only the type of the exception, because its text may quote a credential.

    Args:
        what: What failed, as the subject of a sentence, such as `Asking registry "default"`.
        error: The exception.
    """
    return ResolutionFailure(
        Reason.INTERNAL_ERROR,
        f"{what} failed with an unexpected {type(error).__name__}. Report it as a bug, with the traceback from the "
        "operator's log. The operator retries.",
        transient=True,
    )
