"""Writes of a resource's status: when, and how."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from sluicegate.api import names
from sluicegate.api.resource import Key, ModelDeployment
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.core.status.compose import differs_in_state, differs_in_words, moved
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict, NotFound, Undecodable
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.resources import Resources

STATUS_INTERVAL: Final = 1.0
"""Minimum seconds between two status writes of one resource. The later write includes the changes in between.

The operator writes at once what the next decision reads from status, such as roles and release times.
It delays changes that only affect counts and messages, because these come in bursts.
"""

StatusObserver: TypeAlias = Callable[[ModelDeployment, ModelDeploymentStatus], None]
"""Called after a write with the resource, whose status is the one before, and the status that was written."""


@dataclass(slots=True)
class _Pacing:
    written_at: float = -math.inf
    differs_since: float | None = None
    """Time since when the status differs from the written one, or None."""


class StatusWriter:
    """Writes each status if it differs, at most once a second."""

    def __init__(
        self,
        client: KubeClient,
        resources: Resources,
        queue: WorkQueue[Key],
        observers: Sequence[StatusObserver] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a writer.

        Args:
            client: The API server.
            resources: The store, which receives the responses to writes.
            queue: The work queue. A delayed write enqueues the resource again.
            observers: Called after each write.
            clock: Returns monotonic seconds.
        """
        self._client = client
        self._resources = resources
        self._queue = queue
        self._observers = observers
        self._clock = clock
        self._pacing: dict[Key, _Pacing] = {}

    def forget(self, key: Key) -> None:
        """Forget a deleted resource."""
        self._pacing.pop(key, None)

    async def write(self, resource: ModelDeployment, status: ModelDeploymentStatus) -> None:
        """Write the status of a resource, now or with a later reconcile.

        A change that the next decision depends on is written at once.

        Raises:
            KubeError: The write failed.
        """
        key, now = resource.key, self._clock()
        pacing = self._pacing.setdefault(key, _Pacing())
        if status == resource.status:
            pacing.differs_since = None
            return
        wait = self._wait(pacing, resource.status, status, now)
        if wait > 0 and not differs_in_state(resource.status, status):
            self._queue.add_after(key, wait)
            return
        if not await self._apply(resource, status):
            return
        pacing.written_at, pacing.differs_since = now, None
        if moved(resource.status, status):
            self._queue.add(key)
        for observe in self._observers:
            observe(resource, status)

    def _wait(self, pacing: _Pacing, before: ModelDeploymentStatus, after: ModelDeploymentStatus, now: float) -> float:
        """Return the seconds until the status may be written. A message also waits after its first change."""
        since = pacing.written_at
        if differs_in_words(before, after):
            if pacing.differs_since is None:
                pacing.differs_since = now
            since = max(since, pacing.differs_since)
        return since + STATUS_INTERVAL - now

    async def _apply(self, resource: ModelDeployment, status: ModelDeploymentStatus) -> bool:
        """Apply the status and store the response.

        Returns:
            False if the resource was deleted or cannot be decoded. The stream delivers that change.
        """
        metadata = resource.metadata
        identity = {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}
        manifest = {"metadata": identity, "status": msgspec.to_builtins(status)}
        try:
            response = await self._client.apply(
                MODEL_DEPLOYMENT, manifest, manager=names.STATUS_MANAGER, subresource="status"
            )
        except (NotFound, Conflict):
            return False
        except Undecodable as error:
            self._resources.skip(error)
            return False
        self._resources.offer(response)
        return True
