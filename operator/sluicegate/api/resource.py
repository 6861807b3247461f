"""The whole resource, and how it is read from what the API server sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.api.status import ModelDeploymentStatus


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The part of metadata that decisions look at."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class ModelDeployment(msgspec.Struct, frozen=True):
    """A ModelDeployment as it is in the cluster."""

    metadata: Meta
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = ModelDeploymentStatus()

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name): what the work queue and the caches know it by."""
        return (self.metadata.namespace, self.metadata.name)


class InvalidResource(ValueError):
    """The object is not a readable ModelDeployment; the sentence names the field."""


def decode(raw: Mapping[str, Any]) -> ModelDeployment:
    """Reads a ModelDeployment.

    A status that an older or newer operator wrote and this one cannot read is dropped rather than fatal: it is rebuilt from
    what is observed.

    Raises:
        InvalidResource: metadata or spec do not have the right types. The CRD refuses such objects, so this is met
            only offline or when the CRD is older than the operator.
    """
    try:
        status = msgspec.convert(raw.get("status") or {}, ModelDeploymentStatus)
    except msgspec.ValidationError:
        status = ModelDeploymentStatus()
    try:
        return ModelDeployment(
            metadata=msgspec.convert(raw.get("metadata") or {}, Meta),
            spec=msgspec.convert(raw.get("spec") or {}, ModelDeploymentSpec),
            status=status,
        )
    except msgspec.ValidationError as error:
        raise InvalidResource(str(error)) from error
