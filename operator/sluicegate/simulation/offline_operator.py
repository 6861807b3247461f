"""Predict what the operator does with a spec before it is applied.

This reads a namespace as the operator reads it, and writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.resource import ModelDeployment
from sluicegate.config.settings import Settings
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden
from sluicegate.runtime.reconcile.caches import Caches
from sluicegate.runtime.reconcile.gather import Gatherer, parent_refs
from sluicegate.runtime.reconcile.route_index import RouteIndex
from sluicegate.runtime.registry.registries import Registries
from sluicegate.runtime.registry.resolver import Resolver
from sluicegate.runtime.resources import Resources
from sluicegate.simulation.offline_resolver import NoPolls, OfflineResolver
from sluicegate.simulation.settle import FinalState, settled

_RESYNC = 600.0
"""Seconds between two full lists of an informer. The caches are listed once only."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a ModelDeployment becomes, as it is and with the spec to apply."""

    snapshot: Snapshot
    """The snapshot of the cluster, with the spec to apply."""
    before: FinalState | None
    """The outcome of the live object, or None where there is none."""
    after: FinalState
    inputs: Mapping[str, Mapping[str, Any]]
    """The recorded parts of the existing revisions, by hash."""
    guessed: frozenset[str] = field(default_factory=frozenset)
    """The new revisions whose hash the operator will compute differently, because their model is a guess."""
    notes: tuple[str, ...] = ()
    """What was assumed, for the user."""


class OfflineOperator:
    """The operator's decisions on the user's machine."""

    def __init__(self, client: KubeClient, settings: Settings, versions: Mapping[str, str]) -> None:
        """Create an operator that has read nothing yet.

        Args:
            client: The client of the cluster.
            settings: The operator's settings.
            versions: Model version by model URI, from the user.
        """
        self._client = client
        self._settings = settings
        self._versions = versions

    async def predict(self, live: ModelDeployment | None, desired: ModelDeployment) -> Prediction:
        """Return what an apply of `desired` leads to, if nothing fails."""
        caches, notes = await self._caches(desired)
        records = caches.owned(kinds.CONTROLLER_REVISION, desired.metadata)
        data = {record.revision: record.desired_part()["data"] for record in records if record.revision}
        async with contextlib.aclosing(RegistryPool()) as pool:
            operators = Resolver(Registries(self._client, self._settings), self._settings, pool, NoPolls())
            models = [entry["model"] for entry in data.values()]
            resolver = OfflineResolver(operators, self._settings.default_registry, self._versions, models)
            resources = await self._resources(desired.metadata.namespace)
            routes = RouteIndex(resources, caches, self._settings)
            for resource in resources.items():
                routes.update(resource.key)
            gatherer = Gatherer(caches, resolver, self._settings, conflict=routes.conflict)
            now = datetime.now(UTC)
            before = settled(await gatherer.gather(live, lambda: now)) if live is not None else None
            gathered = await gatherer.gather(desired, lambda: now)
        after = settled(gathered)
        guessed = {revision for revision, intent in after.intents.items() if intent.model in resolver.guessed}
        return Prediction(
            snapshot=gathered.snapshot,
            before=before,
            after=after,
            inputs={revision: entry.get("intent") or {} for revision, entry in data.items()},
            guessed=frozenset(guessed - data.keys()),
            notes=(*notes, *resolver.notes),
        )

    async def _caches(self, desired: ModelDeployment) -> tuple[Caches, list[str]]:
        """Return the caches, listed once, and notes on the kinds that the user may not read.

        Where the user may not read Gateways, every Gateway of the route counts as existing.
        """
        refs = parent_refs(desired, self._settings)
        namespace = desired.metadata.namespace
        caches = Caches(self._client, namespace, _RESYNC, {ref.namespace for ref in refs if ref.namespace})
        results = await asyncio.gather(*(informer.fill() for informer in caches.all), return_exceptions=True)
        unreadable: dict[kinds.Kind, str] = {}
        for informer, result in zip(caches.all, results, strict=True):
            if isinstance(result, Forbidden) and informer.kind in (kinds.GATEWAY, kinds.GATEWAY_CLASS):
                unreadable[informer.kind] = result.message
            elif isinstance(result, BaseException):
                raise result
        if kinds.GATEWAY in unreadable:
            for ref in refs:
                name = {"namespace": ref.namespace or namespace, "name": ref.name}
                gateway = {"metadata": {**name, "uid": f"assumed-{ref.name}", "resourceVersion": "1"}}
                for informer in caches.all:
                    if informer.kind is kinds.GATEWAY:
                        informer.put(gateway)
        return caches, [
            f"{kind.kind}s cannot be read, so they are assumed to accept the route: {message}"
            for kind, message in unreadable.items()
        ]

    async def _resources(self, namespace: str) -> Resources:
        resources = Resources(lambda _: None)
        for raw in (await self._client.list(kinds.MODEL_DEPLOYMENT, namespace)).items:
            resources.offer(raw)
        return resources
