"""The resource ModelDeployment as a type, and the decoding of objects from the API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from sluicegate.api import free_objects
from sluicegate.api.free_objects import TooLarge
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.api.status import ModelDeploymentStatus, Role

Key: TypeAlias = tuple[str, str]
"""Namespace and name of an object."""
Manifest: TypeAlias = dict[str, Any]
"""A Kubernetes object, or a part of one, as plain data."""
_OLD_CANDIDATE_ROLE: Final = "Target"


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The part of the metadata that decisions use."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class ModelDeployment(msgspec.Struct, frozen=True):
    """A ModelDeployment as it is in the cluster."""

    metadata: Meta
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = ModelDeploymentStatus()
    too_large: TooLarge | None = None
    """Set if the free objects of the spec were over their limit. `spec` is without them, so it must not be used."""

    @property
    def key(self) -> Key:
        """Return (namespace, name), the key in the work queue and the caches."""
        return (self.metadata.namespace, self.metadata.name)


class InvalidResource(ValueError):
    """The object is not a readable ModelDeployment. The message names the field."""


def decode(raw: Mapping[str, Any]) -> ModelDeployment:
    """Decode a ModelDeployment.

    A status that another version of the operator wrote may be unreadable to this one. Such a status is dropped, and
    rebuilt from what the operator observes. Free objects over their limit are dropped, so that they take no memory.

    Raises:
        InvalidResource: The metadata or the spec do not have the right types. The CRD rejects such objects, so this
            occurs only offline, or if the CRD is older than the operator.
    """
    try:
        status = _renamed(msgspec.convert(raw.get("status") or {}, ModelDeploymentStatus))
    except msgspec.ValidationError:
        status = ModelDeploymentStatus()
    spec, too_large = free_objects.bounded(raw.get("spec") or {})
    try:
        return ModelDeployment(
            metadata=msgspec.convert(raw.get("metadata") or {}, Meta),
            spec=msgspec.convert(spec, ModelDeploymentSpec),
            status=status,
            too_large=too_large,
        )
    except msgspec.ValidationError as error:
        raise InvalidResource(str(error)) from error


def _renamed(status: ModelDeploymentStatus) -> ModelDeploymentStatus:
    """Return `status` with the present names of what an older operator called the target of a rollout.

    So an upgrade neither restarts a rollout that is in progress nor retries one that was rolled back. The CRD keeps the
    old field, because the API server removes fields that the CRD does not have.
    """
    rollout = status.rollout
    if rollout is not None and rollout.target is not None:
        rollout = msgspec.structs.replace(rollout, candidate=rollout.candidate or rollout.target, target=None)
        status = msgspec.structs.replace(status, rollout=rollout)
    if any(entry.role == _OLD_CANDIDATE_ROLE for entry in status.revisions):
        revisions = tuple(
            msgspec.structs.replace(entry, role=Role.CANDIDATE.value) if entry.role == _OLD_CANDIDATE_ROLE else entry
            for entry in status.revisions
        )
        status = msgspec.structs.replace(status, revisions=revisions)
    return status
