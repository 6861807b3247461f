"""Following a registered model: what its aliases, stages and `latest` mean now.

Some URIs can come to mean another version. This module tells which ones, and what they mean according to the registry.
One response of MLflow (`registered-models/get`) has every alias and the highest version of every stage. So one poll of
a model is enough for all resources that follow it, however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from sluicegate.api.model import ModelSpec
from sluicegate.api.reasons import Reason
from sluicegate.core.models.reference import ModelRef, RegistryAlias, RegistryLatest, RegistryStage, RegistryVersion
from sluicegate.core.models.resolution import ResolutionFailure
from sluicegate.core.models.uri import InvalidModelUri, parse

Followed = RegistryAlias | RegistryStage | RegistryLatest

_OF_THE_REGISTRY = frozenset(
    {
        Reason.REGISTRY_UNKNOWN,
        Reason.REGISTRY_UNREACHABLE,
        Reason.REGISTRY_UNAUTHORIZED,
        Reason.REGISTRY_HOST_REFUSED,
        Reason.SECRET_NOT_FOUND,
        Reason.SECRET_INVALID,
    }
)
_OF_EITHER = frozenset(
    {
        Reason.REGISTRY_FORBIDDEN,
        Reason.REGISTRY_INVALID_ANSWER,
        Reason.REGISTRY_ERROR,
        Reason.INTERNAL_ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class Registration:
    """What tells a version of a registered model from another one with the same name and number.

    A registry gives the numbers out again after a model was deleted and created anew.
    """

    registered_at: str | None = None
    """When the version was registered, in the time format of status. None where the registry does not say it."""
    run_id: str | None = None

    def differs(self, registered_at: str | None, run_id: str | None) -> bool:
        """Tell whether these facts are those of another version. Unknown facts do not differ."""
        pairs = ((self.registered_at, registered_at), (self.run_id, run_id))
        return any(one is not None and other is not None and one != other for one, other in pairs)


@dataclass(frozen=True, slots=True)
class ModelView:
    """What the aliases and stages of one registered model point to now.

    The values are versions, as MLflow writes them.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    """The highest version of each stage. `None` is the stage of versions that have none."""
    newest_at: str | None = None
    """When the highest version of all was registered."""
    created_at: str | None = None
    """When the registered model was created."""
    registrations: Mapping[str, Registration] = field(default_factory=dict)
    """By version, for the highest version of each stage only."""

    def pointed(self, ref: Followed) -> str | None:
        """Return the version that `ref` means, or None where it means none."""
        match ref:
            case RegistryAlias():
                return self.aliases.get(ref.alias)
            case RegistryStage():
                return self.stages.get(ref.stage)
        return max(self.stages.values(), key=int, default=None)

    def replaced(self, version: str, registered_at: str | None, run_id: str | None) -> bool:
        """Tell whether `version` is not the one that was registered at that time.

        The model, or the version, was then deleted and registered anew.
        """
        registration = self.registrations.get(version)
        if registration is not None:
            return registration.differs(registered_at, run_id)
        return self.created_at is not None and registered_at is not None and registered_at < self.created_at

    def pointing(self, ref: Followed, version: str) -> ModelView:
        """Return a copy of this view in which `ref` means `version`."""
        match ref:
            case RegistryAlias():
                return replace(self, aliases={**self.aliases, ref.alias: version})
            case RegistryStage():
                return replace(self, stages={**self.stages, ref.stage: version})
        return self if self.pointed(ref) == version else replace(self, stages={**self.stages, "None": version})


@lru_cache(maxsize=8192)
def followed(uri: str) -> Followed | None:
    """Return what `uri` follows, or None where its meaning never changes.

    Return None as well where the URI is invalid.
    """
    try:
        ref: ModelRef = parse(uri)
    except InvalidModelUri:
        return None
    return ref if isinstance(ref, Followed) else None


@lru_cache(maxsize=8192)
def fixed(uri: str) -> RegistryVersion | None:
    """Return the version of a registered model that `uri` always means.

    Return None where the URI does not name a fixed version.
    """
    try:
        ref: ModelRef = parse(uri)
    except InvalidModelUri:
        return None
    return ref if isinstance(ref, RegistryVersion) else None


def watched(model: ModelSpec) -> tuple[Followed, ...]:
    """Return what the operator polls the registry for on behalf of a resource.

    This is what the URI of the resource follows. With `staleAgainst: Model`, it is also the highest version of the
    registered model.
    """
    ref = followed(model.uri)
    of_model = ref or fixed(model.uri)
    if model.stale_against != "Model" or of_model is None or isinstance(of_model, RegistryLatest):
        return (ref,) if ref is not None else ()
    newest = RegistryLatest(of_model.name)
    return (ref, newest) if ref is not None else (newest,)


def concerns_registry(failure: ResolutionFailure) -> bool:
    """Tell whether the failure is one of the registry itself.

    Then the operator knows nothing about any model of the registry.
    """
    return failure.reason in _OF_THE_REGISTRY


def may_concern_registry(failure: ResolutionFailure) -> bool:
    """Tell whether the failure may be one of a single model or of the whole registry.

    A failure of a single model is, for example, a missing permission for it or a broken row.
    """
    return failure.reason in _OF_EITHER
