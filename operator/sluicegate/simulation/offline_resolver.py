"""Resolve models on the user's machine, where a registry of the operator may not be reachable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.core.models.following import Followed
from sluicegate.core.models.resolution import ResolutionError, ResolvedModel
from sluicegate.core.models.uri import LoggedModel, RegistryVersion, RunArtifact, parse
from sluicegate.core.snapshot.revision_spec import registry_of
from sluicegate.runtime.reconcile.gather import Resolves
from sluicegate.runtime.registry.registries import RegistryRef
from sluicegate.runtime.registry.resolver import Resolution

Record = Mapping[str, Any]
"""The model of a revision, as its ControllerRevision records it."""
_ONLY_HERE = {
    Reason.REGISTRY_UNKNOWN,
    Reason.REGISTRY_UNREACHABLE,
    Reason.REGISTRY_UNAUTHORIZED,
    Reason.REGISTRY_FORBIDDEN,
    Reason.REGISTRY_HOST_REFUSED,
    Reason.REGISTRY_INVALID_ANSWER,
    Reason.REGISTRY_ERROR,
    Reason.SECRET_NOT_FOUND,
    Reason.SECRET_INVALID,
}
"""Reasons of a failed resolution that may apply on the user's machine and not to the operator."""


class NoPolls:
    """Views without any poll of a followed model, so that the version in status counts. See `Views`."""

    def last_result(self, registry: RegistryRef, model: str) -> None:
        """Return no result of a poll."""

    def learn(self, registry: RegistryRef, ref: Followed, version: str) -> None:
        """Store nothing."""

    def missing(self, registry: RegistryRef, ref: RegistryVersion) -> bool:
        """Return False: no version counts as missing."""
        return False

    def registration(self, registry: RegistryRef, ref: RegistryVersion) -> None:
        """Return no registration, so that the version in status counts."""


class OfflineResolver:
    """Resolves as the operator does, or without a registry.

    The versions that the user gives take precedence over the registry. Where the registry cannot be used from here, the
    version comes from the records of the revisions, or is guessed.
    """

    def __init__(
        self, operators: Resolves, default_registry: str, versions: Mapping[str, str], records: Sequence[Record]
    ) -> None:
        """Create a resolver.

        Args:
            operators: The operator's resolver.
            default_registry: The name of the registry for resources that name none.
            versions: Model version by model URI, from the user.
            records: The models of the existing revisions.
        """
        self._operators = operators
        self._default = default_registry
        self._versions = versions
        self._records = records
        self.guessed: set[ResolvedModel] = set()
        self.notes: list[str] = []
        """What was assumed, for the user. No note is repeated."""

    async def resolve(self, resource: ModelDeployment) -> Resolution:
        """Return what spec.model.uri resolves to. See `Resolver.resolve`."""
        uri = resource.spec.model.uri
        if uri in self._versions:
            version = self._versions[uri]
            return Resolution(self._recorded(uri, version) or self._guess(uri, version))
        try:
            return await self._operators.resolve(resource)
        except ResolutionError as error:
            if error.failure.reason not in _ONLY_HERE:
                raise
            registry = registry_of(resource.spec.model, self._default)
            return Resolution(self._without_registry(uri, f"{registry} ({error.failure.reason.value})"))

    def _without_registry(self, uri: str, registry: str) -> ResolvedModel:
        ref = parse(uri)
        version = str(ref.version) if isinstance(ref, RegistryVersion) else None
        recorded = self._recorded(uri, version) if version is not None else None
        if recorded is not None:
            return recorded
        note = f"registry {registry} cannot be used from this machine, so "
        note += (
            f"the source of {uri} is not known"
            if version is not None
            else f"the version of {uri} is not known: set it with --resolve '{uri}=VERSION'"
        )
        if note not in self.notes:
            self.notes.append(note)
        return self._guess(uri, version)

    def _recorded(self, uri: str, version: str) -> ResolvedModel | None:
        """Return the model version as an existing revision records it."""
        for record in self._records:
            if (record.get("name"), record.get("version")) == (_name_of(uri), version):
                ids = (record.get("runId"), record.get("modelId"))
                return ResolvedModel(uri, record["source"], record["name"], version, *ids)
        return None

    def _guess(self, uri: str, version: str | None) -> ResolvedModel:
        name = _name_of(uri) or "model"
        source = f"mlflow-artifacts:/{name}/{version or 'unresolved'}"
        guess = ResolvedModel(uri, source, name, version or "to be resolved")
        self.guessed.add(guess)
        return guess


def _name_of(uri: str) -> str | None:
    ref = parse(uri)
    return None if isinstance(ref, LoggedModel | RunArtifact) else getattr(ref, "name", None)
