"""Labels and annotations that children and pods inherit from their ModelDeployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sluicegate.api.resource import ModelDeployment
from sluicegate.config.child_settings import ChildSettings
from sluicegate.config.pod_settings import RESERVED

_TOOLS: Final = (
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "argocd.argoproj.io/",
    "helm.sh/",
    "helm.toolkit.fluxcd.io/",
    "kubectl.kubernetes.io/",
    "kustomize.toolkit.fluxcd.io/",
    "meta.helm.sh/",
)
"""Prefixes by which tools recognize the objects that they applied. A child with such a key would be pruned."""


def inherited_labels(resource: ModelDeployment, settings: ChildSettings) -> dict[str, str]:
    """Return the labels that children inherit."""
    return _with_prefix(resource.metadata.labels, settings.inherited_labels)


def inherited_annotations(resource: ModelDeployment, settings: ChildSettings) -> dict[str, str]:
    """Return the annotations that children inherit."""
    return _with_prefix(resource.metadata.annotations, settings.inherited_annotations)


def _with_prefix(values: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {
        key: value
        for key, value in sorted(values.items())
        if key.startswith(prefixes) and not key.startswith((*RESERVED, *_TOOLS))
    }
