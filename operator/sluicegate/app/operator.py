"""The operator's process, which runs all parts and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sluicegate.api.resource import Key
from sluicegate.app import kopf_stream
from sluicegate.app.leadership import Leadership
from sluicegate.app.peers import Peers
from sluicegate.app.stream_watchdog import Watchdog
from sluicegate.config.settings import Settings
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError
from sluicegate.kube.events import EventRecorder
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.runtime.analysis.analyst import Analyst
from sluicegate.runtime.clock import SteadyClock
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.notifications import Notifier
from sluicegate.runtime.reconcile.caches import Caches
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.reconcile.reconciler import Reconciler
from sluicegate.runtime.reconcile.waker import Waker
from sluicegate.runtime.registry.follower import Follower
from sluicegate.runtime.registry.recovery import Recovery
from sluicegate.runtime.registry.served_tags import ServedTagWriter
from sluicegate.runtime.registry.webhook_server import Webhooks
from sluicegate.runtime.registry.webhook_subscription import WebhookSubscriptions
from sluicegate.runtime.resources import Resources

logger = logging.getLogger(__name__)

WORKERS: Final = 8.0
"""Seconds that the operator waits at its stop for reconciles in progress."""
FLUSH: Final = 3.0
"""Seconds that the operator waits at its stop for notifications that are being sent."""
SILENCE_LIMIT: Final = 420.0
"""Seconds without activity after which the operator considers a watch dead. A healthy watch ends within 225 s."""


class Closable(Protocol):
    """Holds connections."""

    async def aclose(self) -> None:
        """Close all connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """All parts of one process. `wiring.build` creates it."""

    settings: Settings
    client: KubeClient
    metrics: Metrics
    leadership: Leadership
    peers: Peers
    clock: SteadyClock
    working: asyncio.Event
    """Set once this process leads and its parts run."""
    queue: WorkQueue[Key]
    resources: Resources
    waker: Waker
    caches: Caches
    reconciler: Reconciler
    watchdog: Watchdog
    follower: Follower
    recovery: Recovery
    webhooks: Webhooks
    served_tags: ServedTagWriter
    subscriptions: WebhookSubscriptions
    analyst: Analyst
    events: EventRecorder
    notifier: Notifier
    clients: Sequence[Closable]
    """The HTTP clients, which are closed last."""

    def live(self) -> dict[str, Callable[[], str | None]]:
        """Return the checks of /healthz."""
        return {"watches": self._check_watches, "stream": self.watchdog.check}

    def ready(self) -> dict[str, Callable[[], str | None]]:
        """Return the checks of /readyz.

        A standby that waits for the Lease is ready too.
        """
        return {"process": lambda: None}

    def _check_watches(self) -> str | None:
        return self.caches.silent(SILENCE_LIMIT) if self.working.is_set() else None

    async def run(self, stop: asyncio.Event) -> int:
        """Wait for leadership, run the parts and clean up.

        The parts run until `stop` is set, leadership is lost or one of them ends.

        Args:
            stop: Set when the process is asked to stop.

        Returns:
            The process's exit code: 0 after `stop`, otherwise 1.
        """
        async with self._leading(stop) as lost:
            if stop.is_set():
                return 0
            self.metrics.leading.set(1)
            async with self._work(stop) as tasks:
                await _first(stop.wait(), lost, *tasks)
            self.metrics.leading.set(0)
            if not stop.is_set():
                logger.error("the process ends, because it lost the Lease or a part of it ended")
            return 0 if stop.is_set() else 1

    @contextlib.asynccontextmanager
    async def _leading(self, stop: asyncio.Event) -> AsyncIterator[asyncio.Task[None]]:
        """Wait for leadership, and yield a task that ends when leadership is lost.

        It also yields when `stop` is set before the operator leads.
        """
        await _first(self.leadership.acquire(), stop.wait())
        holding = asyncio.create_task(self.leadership.hold())
        try:
            yield holding
        finally:
            holding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await holding
            await self.leadership.release()

    @contextlib.asynccontextmanager
    async def _work(self, stop: asyncio.Event) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Run watches, stream and workers, and yield their tasks.

        A task that ends before `stop` is set has failed. On exit, the workers finish the reconciles in progress.
        """
        await self._wait_for_crd(stop)
        self.clock.set(*self.client.date)
        await _first(self.peers.look(self.clock.now()), stop.wait())
        self.caches.subscribe(self.waker.wake, self.waker.wake_gateway, self.waker.wake_route)
        kopf_stop = asyncio.Event()
        background = self._start_background()
        self.working.set()
        workers: list[asyncio.Task[None]] = []
        streaming: asyncio.Task[None] | None = None
        try:
            await _first(self.caches.synced(), stop.wait())
            streaming = asyncio.create_task(kopf_stream.run(self.resources, self.settings, kopf_stop), name="stream")
            if not stop.is_set():
                workers = [asyncio.create_task(self.reconciler.work()) for _ in range(self.settings.workers)]
                logger.info("watching %s", self.settings.namespace or "all namespaces")
            yield [*background, *workers, streaming]
        finally:
            self.queue.shut_down()
            if workers:
                _, busy = await asyncio.wait(workers, timeout=WORKERS)
                for worker in busy:  # the next start continues where they are
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
            kopf_stop.set()
            if streaming is not None:
                await asyncio.wait([streaming], timeout=5.0)
                background.append(streaming)
            await self.events.flush()
            await self.notifier.flush(FLUSH)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await asyncio.gather(*(client.aclose() for client in self.clients))

    def _start_background(self) -> list[asyncio.Task[None]]:
        """Start everything but the stream and the workers."""
        return [
            asyncio.create_task(self.caches.run(), name="caches"),
            asyncio.create_task(self.peers.run(self.clock.now, self.waker.wake), name="other operators"),
            asyncio.create_task(self.events.run(), name="events"),
            asyncio.create_task(self.watchdog.run(), name="watchdog"),
            asyncio.create_task(self.follower.run(self.settings.follow_interval), name="follower"),
            asyncio.create_task(self.recovery.run(), name="recovery"),
            asyncio.create_task(self.served_tags.run(), name="served tags"),
            asyncio.create_task(self.subscriptions.run(), name="webhook subscriptions"),
            asyncio.create_task(self.notifier.run(), name="notifier"),
            asyncio.create_task(self.analyst.run(), name="analyst"),
        ]

    async def _wait_for_crd(self, stop: asyncio.Event) -> None:
        """Wait until ModelDeployments can be listed.

        kopf looks for the resource only once, at its start.
        """
        while not stop.is_set():
            try:
                async for _ in self.client.pages(MODEL_DEPLOYMENT, self.settings.namespace, limit=1):
                    return  # One page is enough. All pages would take a request for each resource.
            except KubeError as error:
                logger.warning("cannot list ModelDeployments yet: %s", error)
                await _first(asyncio.sleep(3.0), stop.wait())


async def _first(*awaitables: Awaitable[Any]) -> None:
    """Wait for the first of `awaitables` to end, and cancel the others.

    An exception of the first one is raised.
    """
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
