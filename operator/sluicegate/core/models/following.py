"""Following a registered model: which URIs can come to mean another version, and what they mean by what the registry shows.

One answer of MLflow (`registered-models/get`) has every alias and the highest version of every stage, so one poll of a model
serves all resources that follow it, however many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from sluicegate.api.spec import ModelSpec
from sluicegate.core.models.reference import ModelRef, RegistryAlias, RegistryLatest, RegistryStage, RegistryVersion
from sluicegate.core.models.resolution import ResolutionFailure, ResolutionReason
from sluicegate.core.models.uri import InvalidModelUri, parse

Followed = RegistryAlias | RegistryStage | RegistryLatest

_OF_THE_REGISTRY = frozenset(
    {
        ResolutionReason.REGISTRY_UNKNOWN,
        ResolutionReason.REGISTRY_UNREACHABLE,
        ResolutionReason.REGISTRY_UNAUTHORIZED,
        ResolutionReason.REGISTRY_HOST_REFUSED,
        ResolutionReason.SECRET_NOT_FOUND,
        ResolutionReason.SECRET_INVALID,
    }
)
_OF_EITHER = frozenset(
    {
        ResolutionReason.REGISTRY_FORBIDDEN,
        ResolutionReason.REGISTRY_INVALID_ANSWER,
        ResolutionReason.REGISTRY_ERROR,
        ResolutionReason.INTERNAL_ERROR,
    }
)


@dataclass(frozen=True, slots=True)
class ModelView:
    """What the names of one registered model point to now: versions, as MLflow writes them."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    stages: Mapping[str, str] = field(default_factory=dict)
    """The highest version of each stage; `None` is the stage of those that have none."""
    newest_at: str | None = None
    """When the highest version of all was registered."""

    def pointed(self, ref: Followed) -> str | None:
        """The version that `ref` means; None where it means none."""
        match ref:
            case RegistryAlias():
                return self.aliases.get(ref.alias)
            case RegistryStage():
                return self.stages.get(ref.stage)
        return max(self.stages.values(), key=int, default=None)

    def pointing(self, ref: Followed, version: str) -> ModelView:
        """The same, but `ref` means `version`."""
        match ref:
            case RegistryAlias():
                return replace(self, aliases={**self.aliases, ref.alias: version})
            case RegistryStage():
                return replace(self, stages={**self.stages, ref.stage: version})
        return self if self.pointed(ref) == version else replace(self, stages={**self.stages, "None": version})


@lru_cache(maxsize=8192)
def followed(uri: str) -> Followed | None:
    """What `uri` follows; None where it means the same for ever, or nothing."""
    try:
        ref: ModelRef = parse(uri)
    except InvalidModelUri:
        return None
    return ref if isinstance(ref, Followed) else None


@lru_cache(maxsize=8192)
def fixed(uri: str) -> RegistryVersion | None:
    """The version of a registered model that `uri` means for ever; None where it is no such."""
    try:
        ref: ModelRef = parse(uri)
    except InvalidModelUri:
        return None
    return ref if isinstance(ref, RegistryVersion) else None


def watched(model: ModelSpec) -> tuple[Followed, ...]:
    """What the registry is polled for on behalf of a resource: what its URI follows and, where staleness is the model's, the newest version."""
    ref = followed(model.uri)
    of_model = ref or fixed(model.uri)
    if model.stale_against != "Model" or of_model is None or isinstance(of_model, RegistryLatest):
        return (ref,) if ref is not None else ()
    newest = RegistryLatest(of_model.name)
    return (ref, newest) if ref is not None else (newest,)


def concerns_registry(failure: ResolutionFailure) -> bool:
    """Whether the registry itself is the trouble, so that nothing can be said of any of its models."""
    return failure.reason in _OF_THE_REGISTRY


def may_concern_registry(failure: ResolutionFailure) -> bool:
    """Whether this can be the trouble of one model (no permission for it, a broken row) as well as of the whole registry."""
    return failure.reason in _OF_EITHER
