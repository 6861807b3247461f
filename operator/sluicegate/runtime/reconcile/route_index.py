"""The index of the paths and the Gateways that resources claim.

It finds the few resources whose paths overlap those of one resource, and the resources to reconcile when a path is
claimed or becomes free. The claims themselves are read from the caches at each use, so they are never out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sluicegate.api.resource import Key, ModelDeployment
from sluicegate.config.settings import Settings
from sluicegate.core.decide.path_claims import Claimant, ancestors, claimant, rival, routed_elsewhere
from sluicegate.core.snapshot.facts import Rival
from sluicegate.kube import kinds
from sluicegate.runtime.reconcile.caches import Caches, observed_route
from sluicegate.runtime.resources import Resources


@dataclass(frozen=True, slots=True)
class PathConflict:
    """The resources that paths of one resource belong to."""

    rival: Rival | None = None
    """The one that has a path that the spec asks for."""
    route_taken: bool = False
    """Whether the HTTPRoute in the cluster has a path that belongs to another resource."""


class RouteIndex:
    """Claimants by path prefix and by Gateway."""

    def __init__(self, resources: Resources, caches: Caches, settings: Settings) -> None:
        """Create an empty index.

        Args:
            resources: All ModelDeployments.
            caches: The informers' caches.
            settings: The operator's settings.
        """
        self._resources = resources
        self._caches = caches
        self._settings = settings
        self._claimants: dict[Key, Claimant] = {}
        self._exact: dict[str, set[Key]] = {}
        self._below: dict[str, set[Key]] = {}
        """Claimants by each path prefix that covers one of theirs."""
        self._gateways: dict[Key, set[Key]] = {}
        self._waiting: set[Key] = set()
        """Claimants without a route for a part of what they want."""

    def update(self, key: Key) -> set[Key]:
        """Read the claims of one resource anew.

        Args:
            key: A resource that was created, changed or deleted, or whose HTTPRoute was.

        Returns:
            The other resources to reconcile, because their paths overlap a claim that changed.
        """
        before, now = self._claimants.get(key), self._claimant(key)
        if before == now or (before is None and not now.gateways):
            return set()
        concerned: set[Key] = set()
        if before is not None:
            concerned |= self._overlapping(before.prefixes)
            self._remove(before)
        if now.gateways:
            concerned |= self._overlapping(now.prefixes)
            self._add(now)
        for other in concerned & self._waiting:
            # Whether the other one keeps a third one from its path depends on this claim.
            concerned = concerned | (self._overlapping(self._claimants[other].prefixes) & self._waiting)
        return concerned - {key}

    def of_gateway(self, gateway: Key) -> set[Key]:
        """Return the resources that name a Gateway, or whose HTTPRoute does."""
        return set(self._gateways.get(gateway, ()))

    def conflict(self, resource: ModelDeployment) -> PathConflict:
        """Return the other resources that paths of `resource` belong to."""
        mine = self._claimant(resource.key, resource)
        others = [*self._others(mine)]
        return PathConflict(
            rival=rival(mine, mine.wanted, others, self._blocked),
            route_taken=rival(mine, mine.held, others, self._blocked) is not None,
        )

    def _blocked(self, entry: Claimant) -> bool:
        return any(routed_elsewhere(entry, other) for other in self._others(entry))

    def _others(self, entry: Claimant) -> Iterator[Claimant]:
        return (self._claimant(key) for key in self._overlapping(entry.prefixes) - {entry.key})

    def _claimant(self, key: Key, resource: ModelDeployment | None = None) -> Claimant:
        resource = resource or self._resources.get(key)
        if resource is not None:
            child = self._caches.named(kinds.HTTP_ROUTE, resource.metadata)
        else:
            child = self._caches.children[kinds.HTTP_ROUTE].get(*key)
        route = observed_route(self._caches, child)
        return claimant(key, resource, route, self._caches.gateway, self._settings)

    def _overlapping(self, prefixes: Iterable[str]) -> set[Key]:
        keys: set[Key] = set()
        for prefix in prefixes:
            for covering in (*ancestors(prefix), prefix):
                keys |= self._exact.get(covering, set())
            keys |= self._below.get(prefix, set())
        return keys

    def _add(self, entry: Claimant) -> None:
        self._claimants[entry.key] = entry
        if entry.waits:
            self._waiting.add(entry.key)
        for index, value in self._positions(entry):
            index.setdefault(value, set()).add(entry.key)

    def _remove(self, entry: Claimant) -> None:
        del self._claimants[entry.key]
        self._waiting.discard(entry.key)
        for index, value in self._positions(entry):
            keys = index.get(value, set())
            keys.discard(entry.key)
            if not keys:
                index.pop(value, None)

    def _positions(self, entry: Claimant) -> Iterator[tuple[dict[Any, set[Key]], Any]]:
        for prefix in entry.prefixes:
            yield self._exact, prefix
            for covering in ancestors(prefix):
                yield self._below, covering
        for gateway in entry.gateways:
            yield self._gateways, gateway
