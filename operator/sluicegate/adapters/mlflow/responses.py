"""Responses of the MLflow REST API, with the fields that the operator reads.

The source is mlflow 3.17 `protos/model_registry.proto` and `service.proto`. The types make one place reject invalid
responses. Fields that MLflow omits when they are empty have defaults.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

Number = Annotated[str, Meta(pattern=r"^[0-9]{1,10}$")]
"""A version: an integer in a JSON string."""


_YEAR_9999: Final = 253_370_764_800_000


class Version(Struct, frozen=True):
    """One version of a registered model."""

    name: str
    version: Number
    source: str = ""
    run_id: str = ""
    model_id: str = ""
    status: str = "READY"
    status_message: str = ""
    current_stage: str = "None"
    creation_timestamp: int = 0
    """Milliseconds since 1970. 0 if the registry does not return it."""

    @property
    def registered_at(self) -> str | None:
        """Return when the version was registered, in the time format of a status."""
        return _status_time(self.creation_timestamp)


def _status_time(milliseconds: int) -> str | None:
    if not 0 < milliseconds < _YEAR_9999:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class VersionResponse(Struct, frozen=True):
    """Response of `model-versions/get` and `registered-models/alias`."""

    model_version: Version


class VersionsResponse(Struct, frozen=True):
    """Response of `registered-models/get-latest-versions`. Empty means none."""

    model_versions: tuple[Version, ...] = ()


class Tag(Struct, frozen=True):
    """A tag of a version."""

    key: str
    value: str = ""


class TaggedVersion(Struct, frozen=True):
    """A version in a search, with the fields that its tags need."""

    name: str
    version: Number
    tags: tuple[Tag, ...] = ()


class TaggedVersions(Struct, frozen=True):
    """Response of `model-versions/search`."""

    model_versions: tuple[TaggedVersion, ...] = ()
    next_page_token: str = ""


class WebhookEvent(Struct, frozen=True):
    """An event that a webhook reports."""

    entity: str = ""
    action: str = ""


class Webhook(Struct, frozen=True):
    """A webhook. MLflow never returns its secret."""

    webhook_id: str
    name: str = ""
    url: str = ""
    events: tuple[WebhookEvent, ...] = ()
    status: str = "ACTIVE"


class Webhooks(Struct, frozen=True):
    """Response of `webhooks`. Empty means that there are none."""

    webhooks: tuple[Webhook, ...] = ()
    next_page_token: str = ""


class WebhookResponse(Struct, frozen=True):
    """Response to a write of a webhook."""

    webhook: Webhook


class WebhookTest(Struct, frozen=True):
    """Result of a test delivery."""

    success: bool = False
    response_status: int | None = None
    error_message: str = ""


class WebhookTestResponse(Struct, frozen=True):
    """Response of `webhooks/ID/test`."""

    result: WebhookTest


class Nothing(Struct, frozen=True):
    """The empty response to a write."""


class DownloadResponse(Struct, frozen=True):
    """Response of `model-versions/get-download-uri`."""

    artifact_uri: str = ""


class Alias(Struct, frozen=True):
    """An alias of a registered model."""

    alias: str
    version: Number


class Registered(Struct, frozen=True):
    """A registered model with its aliases and the highest version of each stage."""

    name: str
    aliases: tuple[Alias, ...] = ()
    latest_versions: tuple[Version, ...] = ()
    creation_timestamp: int = 0
    """Milliseconds since 1970. 0 if the registry does not return it."""

    @property
    def created_at(self) -> str | None:
        """Return when the model was created, in the time format of a status."""
        return _status_time(self.creation_timestamp)


class RegisteredResponse(Struct, frozen=True):
    """Response of `registered-models/get`."""

    registered_model: Registered


class RegisteredList(Struct, frozen=True):
    """Response of `registered-models/search`."""

    registered_models: tuple[Registered, ...] = ()
    next_page_token: str = ""


class LoggedInfo(Struct, frozen=True):
    """A logged model."""

    model_id: str
    name: str = ""
    artifact_uri: str = ""
    status: str = "LOGGED_MODEL_READY"
    source_run_id: str = ""


class Logged(Struct, frozen=True):
    """A logged model, as MLflow wraps it."""

    info: LoggedInfo


class LoggedResponse(Struct, frozen=True):
    """Response of `logged-models/ID`."""

    model: Logged


class LoggedList(Struct, frozen=True):
    """Response of `logged-models/search`."""

    models: tuple[Logged, ...] = ()


class RunInfo(Struct, frozen=True):
    """A run."""

    run_id: str
    experiment_id: str
    artifact_uri: str = ""
    lifecycle_stage: str = "active"


class Run(Struct, frozen=True):
    """A run, as MLflow wraps it."""

    info: RunInfo


class RunResponse(Struct, frozen=True):
    """Response of `runs/get`."""

    run: Run


class File(Struct, frozen=True):
    """One entry of a listing."""

    path: str


class FilesResponse(Struct, frozen=True):
    """Response of `artifacts/list`. It is empty if there is nothing at the path."""

    root_uri: str = ""
    files: tuple[File, ...] = ()
