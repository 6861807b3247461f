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

from sluicegate.adapters.unexpected import cancelled_from_outside, log_unexpected
from sluicegate.api.resource import Key, ModelDeployment
from sluicegate.core.decide.decision import decide
from sluicegate.core.plan.types import Plan
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.core.status.compose import compose, internal_error, other_operator, too_large
from sluicegate.kube.errors import KubeError, NamespaceTerminating
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.reconcile.apply import Applied, Applier
from sluicegate.runtime.reconcile.gather import Gatherer
from sluicegate.runtime.reconcile.queue import Closed, WorkQueue
from sluicegate.runtime.reconcile.status_writer import StatusWriter
from sluicegate.runtime.resources import Resources

logger = logging.getLogger(__name__)

REPORT_SECONDS = 120.0
"""Seconds that another operator has to report on a spec before this one says that it stands back."""


def _no_other_operator(resource: ModelDeployment) -> str | None:
    """Return that no other operator acts on a resource."""
    del resource
    return None


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the operator that a reconciler uses."""

    resources: Resources
    gatherer: Gatherer
    applier: Applier
    status_writer: StatusWriter
    metrics: Metrics
    other_operator: Callable[[ModelDeployment], str | None] = _no_other_operator
    """Returns the other operator that acts on a resource, or None if this one does. See `app.peers`."""


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
        self._terminating: dict[Key, str] = {}
        """UID by key of the resources in terminating namespaces. The operator skips them until they are deleted."""
        self._unreported: dict[Key, tuple[int, datetime]] = {}
        """The generation of each resource that another operator should report on, and since when it should."""

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
                self._skip_until_deleted(key)
            except KubeError as error:
                outcome = "retry"
                logger.warning("%s/%s: retry in %.1f s: %s", *key, self._queue.retry(key), error)
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
            self._parts.status_writer.forget(key)
            self._parts.applier.forget(key)
            self._terminating.pop(key, None)
            self._unreported.pop(key, None)
            self._queue.forget(key)
            return "done"
        if self._terminating.get(key) == resource.metadata.uid:
            return "done"
        if (other := self._parts.other_operator(resource)) is not None:
            await self._stand_back(resource, other)
            return "done"
        if resource.too_large is not None:
            await self._parts.status_writer.write(resource, too_large(resource, resource.too_large, self._now()))
            self._queue.forget(key)
            return "done"
        gathered = await self._parts.gatherer.gather(resource, self._now)
        assessment = assess(gathered.snapshot)
        plan = decide(assessment)
        applied = await self._parts.applier.apply(resource, gathered, plan)
        await self._parts.status_writer.write(resource, compose(assessment, plan, applied.refused))
        return self._schedule(key, gathered.snapshot, plan, applied)

    async def _stand_back(self, resource: ModelDeployment, operator: str) -> None:
        """Write nothing, because another operator acts on the resource.

        If it does not report on the current spec for long, status says so.
        """
        key, generation = resource.key, resource.metadata.generation
        self._parts.applier.forget(key)
        self._queue.forget(key)
        if resource.status.observed_generation == generation:
            self._unreported.pop(key, None)
            return
        now = self._now()
        before = self._unreported.get(key)
        since = before[1] if before is not None and before[0] == generation else now
        self._unreported[key] = (generation, since)
        left = REPORT_SECONDS - (now - since).total_seconds()
        if left > 0:
            self._queue.add_after(key, left)
        else:
            await self._parts.status_writer.write(resource, other_operator(resource, operator, now))

    async def _failed(self, key: Key, error: BaseException) -> None:
        """Log an unexpected exception of one reconcile, report it in status and retry."""
        delay = self._queue.retry(key)
        log_unexpected(logger, "{}/{}".format(*key), error)
        logger.warning("%s/%s: unexpected %s, retry in %.1f s", *key, type(error).__name__, delay)
        resource = self._parts.resources.get(key)
        if resource is None or resource.metadata.deletion_timestamp is not None:
            return
        try:
            await self._parts.status_writer.write(resource, internal_error(resource, error, self._now()))
        except KubeError as failure:
            logger.warning("%s/%s: cannot write the error to status: %s", *key, failure)
        except Exception as failure:
            log_unexpected(logger, "{}/{}: writing the error to status".format(*key), failure)

    def _skip_until_deleted(self, key: Key) -> None:
        logger.debug("%s/%s: skipped, because its namespace is being deleted", *key)
        self._queue.forget(key)
        if (resource := self._parts.resources.get(key)) is not None:
            self._terminating[key] = resource.metadata.uid

    def _schedule(self, key: Key, snapshot: Snapshot, plan: Plan, applied: Applied) -> str:
        """Requeue a resource that needs another reconcile even if nothing changes.

        Returns:
            The outcome of this reconcile for the metrics: `done` or `retry`.
        """
        if plan.recheck_after is not None:
            self._queue.add_after(key, plan.recheck_after + 0.05)
        if applied.recheck_after is not None:
            self._queue.add_after(key, applied.recheck_after + 0.05)
        desired = snapshot.all_desired
        unresolved = any(revision.problem is not None and revision.intent is None for revision in desired)
        if applied.refused is not None and applied.deletions:
            self._queue.forget(key)  # The deletions may have made room in a quota.
        # A conflict usually passes with the next event of a watch. It lasts until the next list if etcd was restored.
        repeat = bool(applied.conflicts) or applied.refused is not None or unresolved
        if repeat or any(revision.again for revision in desired):
            self._queue.retry(key)
            return "retry"
        self._queue.forget(key)
        return "done"
