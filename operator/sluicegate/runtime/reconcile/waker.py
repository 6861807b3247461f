"""Enqueues resources when something that they depend on changes."""

from __future__ import annotations

from sluicegate.api.resource import Key
from sluicegate.config.settings import Settings
from sluicegate.runtime.reconcile.gather import names_gateway
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.resources import Resources


class Waker:
    """Enqueues existing resources."""

    def __init__(self, resources: Resources, queue: WorkQueue[Key], settings: Settings) -> None:
        """Create a waker.

        Args:
            resources: All ModelDeployments.
            queue: The work queue.
            settings: The operator's settings, which define the default Gateways.
        """
        self._resources = resources
        self._queue = queue
        self._settings = settings

    def wake(self, key: Key) -> None:
        """Enqueue a resource, unless it does not exist."""
        if self._resources.get(key) is not None:
            self._queue.add(key)

    def wake_gateway(self, gateway: Key) -> None:
        """Enqueue the resources that refer to a Gateway."""
        for resource in self._resources.items():
            if names_gateway(resource, self._settings, gateway):
                self._queue.add(resource.key)
