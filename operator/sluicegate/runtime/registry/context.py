"""What the parts that send requests to registries share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.resource import Key
from sluicegate.runtime.registry.registries import Registries
from sluicegate.runtime.resources import Resources


@dataclass(frozen=True, slots=True)
class PollContext:
    """What polls of registries use, and the writes of tags and webhooks with them."""

    resources: Resources
    """All ModelDeployments."""
    registries: Registries
    """Finds the registry of a resource."""
    pool: RegistryPool
    """The clients of registries. The operator closes it."""
    wake: Callable[[Key], None]
    """Called with the key of each resource to reconcile."""
    stands_back: Callable[[], bool] = lambda: False
    """Whether another operator acts on all resources, so that this one writes nothing to registries."""
