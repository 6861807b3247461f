"""What the MLflow REST API answers, as far as it is read here (mlflow 3.17 `protos/model_registry.proto`,
`service.proto`).

Typed, so that nonsense is refused in one place; fields that MLflow leaves out when empty have defaults.
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
    """Milliseconds since 1970; 0 where the registry does not say."""

    @property
    def registered_at(self) -> str | None:
        """When it was registered, as a status writes times."""
        if not 0 < self.creation_timestamp < _YEAR_9999:
            return None
        return datetime.fromtimestamp(self.creation_timestamp / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class VersionAnswer(Struct, frozen=True):
    """`model-versions/get` and `registered-models/alias`."""

    model_version: Version


class VersionsAnswer(Struct, frozen=True):
    """`registered-models/get-latest-versions`; empty means none."""

    model_versions: tuple[Version, ...] = ()


class Tag(Struct, frozen=True):
    """A tag of a version."""

    key: str
    value: str = ""


class TaggedVersion(Struct, frozen=True):
    """A version as a search shows it, as far as its tags are asked for."""

    name: str
    version: Number
    tags: tuple[Tag, ...] = ()


class TaggedVersions(Struct, frozen=True):
    """`model-versions/search`."""

    model_versions: tuple[TaggedVersion, ...] = ()
    next_page_token: str = ""


class WebhookEvent(Struct, frozen=True):
    """What a webhook tells of."""

    entity: str = ""
    action: str = ""


class Webhook(Struct, frozen=True):
    """A webhook; its secret is never shown."""

    webhook_id: str
    name: str = ""
    url: str = ""
    events: tuple[WebhookEvent, ...] = ()
    status: str = "ACTIVE"


class Webhooks(Struct, frozen=True):
    """`webhooks`; empty means none."""

    webhooks: tuple[Webhook, ...] = ()
    next_page_token: str = ""


class WebhookAnswer(Struct, frozen=True):
    """The answer to a write of one."""

    webhook: Webhook


class WebhookTest(Struct, frozen=True):
    """What came of a trial delivery."""

    success: bool = False
    response_status: int | None = None
    error_message: str = ""


class WebhookTestAnswer(Struct, frozen=True):
    """`webhooks/ID/test`."""

    result: WebhookTest


class Nothing(Struct, frozen=True):
    """The empty answer to a write."""


class DownloadAnswer(Struct, frozen=True):
    """`model-versions/get-download-uri`."""

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


class RegisteredAnswer(Struct, frozen=True):
    """`registered-models/get`."""

    registered_model: Registered


class RegisteredList(Struct, frozen=True):
    """`registered-models/search`."""

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


class LoggedAnswer(Struct, frozen=True):
    """`logged-models/ID`."""

    model: Logged


class LoggedList(Struct, frozen=True):
    """`logged-models/search`."""

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


class RunAnswer(Struct, frozen=True):
    """`runs/get`."""

    run: Run


class File(Struct, frozen=True):
    """One entry of a listing."""

    path: str


class FilesAnswer(Struct, frozen=True):
    """`artifacts/list`; empty where there is nothing at the path."""

    root_uri: str = ""
    files: tuple[File, ...] = ()
