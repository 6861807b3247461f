"""The reconciler: gather, decide, render, diff, apply, status.

Every change of a resource starts the same steps in the same order.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from sluicegate.adapters.unexpected import cancelled_from_outside, log_unexpected
from sluicegate.api import names
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.core.decide.decision import decide
from sluicegate.core.plan.types import Plan
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.core.status.compose import compose, differs_in_state, differs_in_words, internal_error, moved
from sluicegate.core.status.events import announcements, rollback, version_changes
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict, KubeError, NamespaceTerminating, NotFound, Undecodable
from sluicegate.kube.events import EventRecorder
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.notifications import Notifier
from sluicegate.runtime.reconcile.apply import Applied, Applier
from sluicegate.runtime.reconcile.gather import Gatherer
from sluicegate.runtime.reconcile.queue import Closed, WorkQueue
from sluicegate.runtime.resources import Resources

logger = logging.getLogger(__name__)
Key = tuple[str, str]

STATUS_INTERVAL = 1.0
"""Minimum seconds between two status writes of one resource. The later write includes the changes in between.

The operator writes at once what the next decision reads from status, such as roles and release times.
It delays changes that only affect counts and messages, because these come in bursts.
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the operator that a reconciler uses."""

    client: KubeClient
    resources: Resources
    gatherer: Gatherer
    applier: Applier
    events: EventRecorder
    metrics: Metrics
    notifier: Notifier


class Reconciler:
    """Takes keys from the work queue and reconciles their resources."""

    def __init__(self, parts: Parts, queue: WorkQueue[Key], now: Callable[[], datetime]) -> None:
        """Create a reconciler.

        Args:
            parts: The parts that a reconcile uses.
            queue: The work queue of resource keys.
            now: Returns the time that snapshots carry, see `SteadyClock`.
        """
        self._parts = parts
        self._queue = queue
        self._now = now
        self._status_written: dict[Key, float] = {}
        self._status_differs: dict[Key, float] = {}
        self._leaving: dict[Key, str] = {}
        """UID by key of the resources in terminating namespaces. The operator skips them until they are deleted."""

    async def work(self) -> None:
        """Run one worker until the queue shuts down."""
        while True:
            try:
                key = await self._queue.get()
            except Closed:
                return
            started = time.monotonic()
            outcome = "done"
            try:
                outcome = await self._once(key)
            except NamespaceTerminating:
                self._leave(key)
            except KubeError as error:
                outcome = "retry"
                logger.warning("%s/%s: again in %.1f s: %s", *key, self._queue.retry(key), error)
            except asyncio.CancelledError as error:
                if cancelled_from_outside():
                    raise
                outcome = "error"
                await self._failed(key, error)
            except Exception as error:
                outcome = "error"
                await self._failed(key, error)
            finally:
                self._parts.metrics.reconciles.labels(outcome).observe(time.monotonic() - started)
                self._queue.done(key)

    async def _once(self, key: Key) -> str:
        resource = self._parts.resources.get(key)
        if resource is None or resource.metadata.deletion_timestamp is not None:
            for known in (self._status_written, self._status_differs, self._leaving):
                known.pop(key, None)
            self._queue.forget(key)
            return "done"
        if self._leaving.get(key) == resource.metadata.uid:
            return "done"
        gathered = await self._parts.gatherer.gather(resource, self._now)
        assessment = assess(gathered.snapshot)
        plan = decide(assessment)
        applied = await self._parts.applier.apply(resource, gathered, plan)
        await self._write_status(resource, compose(assessment, plan, applied.refused))
        return self._schedule(key, gathered.snapshot, plan, applied)

    async def _failed(self, key: Key, error: BaseException) -> None:
        """Log an unexpected exception of one reconcile, report it in status and retry."""
        delay = self._queue.retry(key)
        log_unexpected(logger, "{}/{}".format(*key), error)
        logger.warning("%s/%s: unexpected %s, again in %.1f s", *key, type(error).__name__, delay)
        resource = self._parts.resources.get(key)
        if resource is None or resource.metadata.deletion_timestamp is not None:
            return
        try:
            await self._write_status(resource, internal_error(resource, error, self._now()))
        except KubeError as failure:
            logger.warning("%s/%s: the error cannot be written to its status: %s", *key, failure)
        except Exception as failure:
            log_unexpected(logger, "{}/{}: writing the error to its status".format(*key), failure)

    def _leave(self, key: Key) -> None:
        logger.debug("%s/%s: the namespace is being deleted, and this with it", *key)
        self._queue.forget(key)
        if (resource := self._parts.resources.get(key)) is not None:
            self._leaving[key] = resource.metadata.uid

    def _schedule(self, key: Key, snapshot: Snapshot, plan: Plan, applied: Applied) -> str:
        """Requeue a resource that needs another reconcile even if nothing changes.

        Returns:
            The outcome of this reconcile for the metrics: `done` or `retry`.
        """
        if plan.recheck_after is not None:
            self._queue.add_after(key, plan.recheck_after + 0.05)
        if applied.conflicts:
            self._queue.add_after(key, 0.2)
            return "retry"
        desired = snapshot.all_desired
        unresolved = any(each.problem is not None and each.intent is None for each in desired)
        if applied.refused is not None or unresolved or any(each.again for each in desired):
            self._queue.retry(key)
            return "retry"
        self._queue.forget(key)
        return "done"

    async def _write_status(self, resource: ModelDeployment, status: ModelDeploymentStatus) -> None:
        """Write the status if it differs, at most once a second.

        A change that the next decision depends on is written at once.
        """
        key, now = resource.key, time.monotonic()
        if status == resource.status:
            self._status_differs.pop(key, None)
            return
        since = self._status_written.get(key, -STATUS_INTERVAL)
        if differs_in_words(resource.status, status):
            since = max(since, self._status_differs.setdefault(key, now))
        wait = since + STATUS_INTERVAL - now
        if wait > 0 and not differs_in_state(resource.status, status):
            self._queue.add_after(key, wait)
            return
        metadata = _identity(resource)
        manifest = {"metadata": metadata, "status": msgspec.to_builtins(status)}
        try:
            answer = await self._parts.client.apply(
                MODEL_DEPLOYMENT, manifest, manager=names.STATUS_MANAGER, subresource="status"
            )
        except (NotFound, Conflict):
            return  # The resource was deleted, and possibly recreated. The stream delivers that change.
        except Undecodable as error:
            self._parts.resources.skip(error)
            return
        self._status_written[key] = now
        self._status_differs.pop(key, None)
        self._parts.resources.offer(answer)
        if moved(resource.status, status):
            self._queue.add(key)
        about = _about(resource)
        if (condemned := rollback(resource.status, status)) is not None:
            self._parts.metrics.rollbacks.labels(*key, condemned).inc()
        for _ in version_changes(resource.status, status):
            self._parts.metrics.model_changes.inc()
        for severity, reason, message in announcements(resource.status, status):
            self._parts.events.record(about, severity, reason, message, "Reconcile")
        self._parts.notifier.watch(resource, status, self._now())


def _identity(resource: ModelDeployment) -> dict[str, str]:
    metadata = resource.metadata
    return {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}


def _about(resource: ModelDeployment) -> dict[str, str]:
    """Return the object reference that an Event about the resource has."""
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, **_identity(resource)}
