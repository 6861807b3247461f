"""Enqueues resources when something that they depend on changes."""

from __future__ import annotations

from collections.abc import Iterable

from sluicegate.api.resource import Key
from sluicegate.config.settings import Settings
from sluicegate.runtime.reconcile.gather import names_gateway
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.reconcile.route_index import RouteIndex
from sluicegate.runtime.resources import Resources


class Waker:
    """Enqueues existing resources."""

    def __init__(self, resources: Resources, queue: WorkQueue[Key], settings: Settings, routes: RouteIndex) -> None:
        """Create a waker.

        Args:
            resources: All ModelDeployments.
            queue: The work queue.
            settings: The operator's settings, which define the default Gateways.
            routes: The paths and Gateways that resources claim.
        """
        self._resources = resources
        self._queue = queue
        self._settings = settings
        self._routes = routes

    def wake(self, key: Key) -> None:
        """Enqueue a resource, unless it does not exist."""
        if self._resources.get(key) is not None:
            self._queue.add(key)

    def resource_changed(self, key: Key) -> None:
        """Enqueue a resource that was created, changed or deleted, and those whose paths its change concerns."""
        self._queue.add(key)
        self._wake_all(self._routes.update(key))

    def wake_route(self, key: Key) -> None:
        """Enqueue the owner of an HTTPRoute that changed, and those whose paths its change concerns."""
        self.wake(key)
        self._wake_all(self._routes.update(key))

    def _wake_all(self, keys: Iterable[Key]) -> None:
        for key in sorted(keys):
            self.wake(key)

    def wake_gateway(self, gateway: Key) -> None:
        """Enqueue the resources that refer to a Gateway, and those whose HTTPRoute still does."""
        for resource in self._resources.items():
            if names_gateway(resource, self._settings, gateway):
                self._queue.add(resource.key)
        for key in self._routes.of_gateway(gateway):
            self._wake_all({key, *self._routes.update(key)})
