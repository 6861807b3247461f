"""The content of a revision, and the hash that names it.

A revision is the user's intent and what it resolved to. The scaling, the operator's version and the operator's defaults
are never part of it. So an upgrade of the operator restarts no pod, and the same intent always finds the same pods
again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from sluicegate.api import names
from sluicegate.api.gpu import GpuSpec
from sluicegate.api.model import ModelSpec
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.runtime import Resources, RuntimeSpec
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.config.settings import Settings
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.models.uri import Baked, Volume, parse

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""The alphabet that Kubernetes uses for generated names. It has no vowels, so names form no words, and no characters
that look like others."""


@dataclass(frozen=True)
class Intent:
    """Everything that makes one revision different from another.

    The class has no slots, so that an instance computes its hash only once.
    """

    model: ResolvedModel
    registry: str | None
    """The configured name or the URL of the registry. None for a model that needs none."""
    registry_secret: str | None
    runtime: RuntimeSpec
    resources: Resources
    gpu: GpuSpec | None
    pod_template: dict[str, Any] | None
    roll: str | None

    @property
    def identity(self) -> dict[str, Any]:
        """Return the content of the hash.

        Absent fields are left out, so that a field that is added later changes no existing hash. An empty `gpu: {}`
        stays in, because it asks for one GPU.
        """
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
        """Return what the revision serves, for display: NAME/VERSION, or the source."""
        return f"{self.model.name}/{self.model.version}" if self.model.version else self.model.source

    @cached_property
    def hash(self) -> RevisionHash:
        """Return the ten characters that name the revision."""
        digest = hashlib.sha256(msgspec.json.encode(self.identity, order="sorted")).digest()
        number = int.from_bytes(digest[:16], "big")
        characters = []
        for _ in range(names.HASH_LENGTH):
            number, index = divmod(number, len(_ALPHABET))
            characters.append(_ALPHABET[index])
        return RevisionHash("".join(characters))


def registry_of(model: ModelSpec, default: str) -> str:
    """Return the URL of an inline registry of `model`, or else a configured name.

    This is what identifies the registry.
    """
    if model.inline_registry is not None:
        return model.inline_registry.tracking_uri
    return model.registry or default


def fetched_from(resource: ModelDeployment, resolved: ResolvedModel, settings: Settings) -> str | None:
    """Return the registry whose address and Secret the fetch container receives.

    Return None where no container fetches the model, or where the registry is not configured.
    """
    if isinstance(parse(resolved.source), Volume | Baked):
        return None
    registry = registry_of(resource.spec.model, settings.default_registry)
    configured = resource.spec.model.inline_registry is not None or registry in settings.registries
    return registry if configured else None


def intent_of(resource: ModelDeployment, resolved: ResolvedModel, registry: str | None) -> Intent:
    """Return the intent of the base of `resource`, once its model is resolved."""
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
