"""What a revision is: the user's intent and what it resolved to, and the hash that names it.

Never part of it: the scaling, the operator's version, the operator's defaults. So an upgrade restarts nothing, and the
same intent always finds the same pods again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from sluicegate.api import names
from sluicegate.api.gpu import GpuSpec
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.spec import ModelDeploymentSpec, ModelSpec, Resources, RuntimeSpec
from sluicegate.config.settings import Settings
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.models.uri import Baked, Volume, parse

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' own alphabet for generated names: no vowels, so no words, and nothing that looks like something else."""


@dataclass(frozen=True)
class Intent:
    """Everything that makes one revision different from another. It has no slots, so that its hash is computed once."""

    model: ResolvedModel
    registry: str | None
    """Configured name or URL of the registry; None for a model that needs none."""
    registry_secret: str | None
    runtime: RuntimeSpec
    resources: Resources
    gpu: GpuSpec | None
    pod_template: dict[str, Any] | None
    roll: str | None

    @property
    def identity(self) -> dict[str, Any]:
        """The content of the hash. Absent fields are left out, so that a field added later changes no old hash; `gpu: {}` asks for one."""
        fields = {
            "registry": self.registry,
            "registrySecret": self.registry_secret,
            "model": self.model.name,
            "version": self.model.version,
            "source": self.model.source,
            "runtime": self.runtime,
            "resources": self.resources,
            "gpu": self.gpu,
            "podTemplate": self.pod_template,
            "roll": self.roll,
        }
        plain: dict[str, Any] = msgspec.to_builtins(fields)
        return {
            key: value for key, value in plain.items() if value not in (None, [], {}) or (key == "gpu" and value == {})
        }

    @property
    def display(self) -> str:
        """What it serves, for people: NAME/VERSION, or the source."""
        return f"{self.model.name}/{self.model.version}" if self.model.version else self.model.source

    @cached_property
    def hash(self) -> str:
        """Ten characters that name the revision."""
        digest = hashlib.sha256(msgspec.json.encode(self.identity, order="sorted")).digest()
        number = int.from_bytes(digest[:16], "big")
        characters = []
        for _ in range(names.HASH_LENGTH):
            number, index = divmod(number, len(_ALPHABET))
            characters.append(_ALPHABET[index])
        return "".join(characters)


def registry_of(model: ModelSpec, default: str) -> str:
    """What the registry of `model` is known by: its URL when inline, else a configured name."""
    if model.inline_registry is not None:
        return model.inline_registry.tracking_uri
    return model.registry or default


def fetched_from(resource: ModelDeployment, resolved: ResolvedModel, settings: Settings) -> str | None:
    """The registry whose address and Secret the fetching container gets; None where nothing is fetched, or none is known."""
    if isinstance(parse(resolved.source), Volume | Baked):
        return None
    registry = registry_of(resource.spec.model, settings.default_registry)
    known = resource.spec.model.inline_registry is not None or registry in settings.registries
    return registry if known else None


def intent_of(resource: ModelDeployment, resolved: ResolvedModel, registry: str | None) -> Intent:
    """The intent of the base of `resource`, once its model is resolved."""
    spec: ModelDeploymentSpec = resource.spec
    inline = spec.model.inline_registry
    return Intent(
        model=resolved,
        registry=registry,
        registry_secret=inline.secret_ref.name if inline is not None and inline.secret_ref is not None else None,
        runtime=spec.runtime,
        resources=spec.resources,
        gpu=spec.gpu,
        pod_template=spec.pod_template,
        roll=resource.metadata.annotations.get(names.ANNOTATION_ROLL),
    )
