"""The composition root, which builds all parts, runs them and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from sluicegate import __version__
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.pods.http import PodHttp
from sluicegate.adapters.pods.metrics import PodScraper
from sluicegate.adapters.pods.recent_predictions import AnswerReader
from sluicegate.adapters.prometheus import Prometheus
from sluicegate.api import names
from sluicegate.app import kopf_stream
from sluicegate.app.stream_watchdog import Watchdog
from sluicegate.config.settings import Settings
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError
from sluicegate.kube.events import EventRecorder
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.kube.lease import Elector
from sluicegate.kube.transport import ClientOptions
from sluicegate.runtime.analysis.analyst import Analyst, Sources
from sluicegate.runtime.analysis.pair_reader import PodPairs
from sluicegate.runtime.analysis.prometheus_resolver import Servers
from sluicegate.runtime.clock import SteadyClock
from sluicegate.runtime.health import HealthServer
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.notifications import Notifier
from sluicegate.runtime.reconcile.apply import Applier
from sluicegate.runtime.reconcile.caches import Caches
from sluicegate.runtime.reconcile.gather import Gatherer, names_gateway
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.reconcile.reconciler import Parts, Reconciler
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.follower import Follower
from sluicegate.runtime.registry.resolver import Registries, Resolver
from sluicegate.runtime.registry.served_tags import WriteBack
from sluicegate.runtime.registry.webhook_server import Webhooks, WebhookServer
from sluicegate.runtime.registry.webhook_subscription import Registration
from sluicegate.runtime.resources import Resources, record_undecodable

logger = logging.getLogger(__name__)
Key = tuple[str, str]

LEASE = "sluicegate-operator"
FLUSH = 3.0
"""Seconds that the operator waits at its stop for notifications that are being sent."""
SILENCE_LIMIT = 420.0
"""Seconds without activity after which the operator considers a watch dead. A healthy watch ends within 225 s."""


async def run(settings: Settings, kubeconfig: str | None) -> int:
    """Run the operator until SIGTERM or SIGINT, or until it loses its Lease.

    Args:
        settings: The operator's settings.
        kubeconfig: How to reach the API server, see `KubeClient.connect`.

    Returns:
        The process's exit code. It is 1 if the operator lost its Lease or a part of it ended, so that the kubelet
        starts a new standby.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics()
    options = ClientOptions(on_request=metrics.on_request)
    async with KubeClient.connect(kubeconfig, options=options) as client:
        operator = Operator(client, settings, metrics)
        health = HealthServer(operator.live(), operator.ready(), metrics.registry, settings.health_port)
        door = WebhookServer(operator.webhooks, settings.webhook_port)
        async with health, door:
            logger.info("sluicegate %s, health and metrics on port %d", __version__, health.port)
            if operator.webhooks.wanted:
                logger.info("webhooks of registries on port %d", door.port)
            return await operator.run(stop)


class Operator:
    """All parts of one process."""

    def __init__(self, client: KubeClient, settings: Settings, metrics: Metrics) -> None:
        """Connect the parts. Nothing runs before `run`."""
        self._client = client
        self._settings = settings
        self._metrics = metrics
        self.queue: WorkQueue[Key] = WorkQueue(time.monotonic)
        self._events = EventRecorder(client, "sluicegate.dev/operator", socket.gethostname(), time.monotonic)
        self.resources = Resources(self.queue.add, partial(record_undecodable, self._events))
        platform = {ref.namespace for ref in settings.gateway.parent_refs if ref.namespace}
        self.caches = Caches(client, settings.namespace, settings.resync, platform)
        self._pool = RegistryPool()
        self._pod_http, self._prometheus = PodHttp(), Prometheus()
        answers = AnswerReader(self._pod_http)
        measured = Sources(
            self.caches.pods_of,
            PodScraper(self._pod_http),
            Servers(client, settings, self._prometheus),
            lambda subject: PodPairs(subject, self.caches.pods_of, answers),
        )
        self._clock = SteadyClock(time.monotonic)
        self._analyst = Analyst(self.resources, measured, self._wake, self._clock.now)
        self._watchdog = Watchdog(client, self.resources, settings.namespace, settings.resync)
        registries = Registries(client, settings)
        self._follower = Follower(PollContext(self.resources, registries, self._pool, self.queue.add), metrics.on_poll)
        self._write_back = WriteBack(self.resources, registries, self._pool, settings)
        self._registration = Registration(registries, self._pool, settings, metrics.on_registration)
        self._notifier = Notifier(client, settings, metrics.on_notification)
        resolver = Resolver(registries, settings, self._pool, self._follower)
        parts = Parts(
            client=client,
            resources=self.resources,
            gatherer=Gatherer(self.caches, self.resources, resolver, settings, self._analyst.reading),
            applier=Applier(client, self.caches),
            events=self._events,
            metrics=metrics,
            notifier=self._notifier,
        )
        self._events.busy = lambda: self.queue.depth > 0
        self._reconciler = Reconciler(parts, self.queue, self._clock.now)
        self.webhooks = Webhooks(registries, self._follower.look, lambda: self._started, metrics.on_webhook)
        self._started = False
        metrics.watch_queue(lambda: self.queue.depth, lambda: self.queue.oldest_age)
        metrics.watch_resources(self.resources.items)
        metrics.watch_undecodable(lambda: {names.KIND: len(self.resources.skipped), **self.caches.skipped()})
        metrics.watch_analyses(self._analyst.judged)

    def live(self) -> dict[str, Callable[[], str | None]]:
        """Return the checks of /healthz."""
        return {"watches": self._watches, "stream": lambda: self._watchdog.verdict}

    def ready(self) -> dict[str, Callable[[], str | None]]:
        """Return the checks of /readyz.

        A standby that waits for the Lease is ready too.
        """
        return {"process": lambda: None}

    def _watches(self) -> str | None:
        return self.caches.silent(SILENCE_LIMIT) if self._started else None

    async def run(self, stop: asyncio.Event) -> int:
        """Wait for leadership, run the parts and clean up.

        The parts run until `stop` is set, leadership is lost or one of them ends.

        Args:
            stop: Set when the process is asked to stop.

        Returns:
            The process's exit code: 0 after `stop`, otherwise 1.
        """
        async with self._leadership(stop) as lost:
            if stop.is_set():
                return 0
            self._metrics.leading.set(1)
            async with self._work(stop) as parts:
                await _first(stop.wait(), lost, *parts)
            self._metrics.leading.set(0)
            if not stop.is_set():
                logger.error("the lease or a part of the operator was lost: stopping, to be started afresh")
            return 0 if stop.is_set() else 1

    @contextlib.asynccontextmanager
    async def _leadership(self, stop: asyncio.Event) -> AsyncIterator[asyncio.Task[None]]:
        """Wait for leadership, and yield a task that ends when leadership is lost.

        It also yields when `stop` is set before the operator leads.
        """
        if not self._settings.leader_election:
            forever = asyncio.create_task(asyncio.Event().wait())
            yield forever  # type: ignore[misc]
            forever.cancel()
            return
        identity = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        # Several operators may run in one cluster, each for its own namespace. Each of them has its own Lease.
        lease = f"{LEASE}-{self._settings.namespace}" if self._settings.namespace else LEASE
        elector = Elector(self._client, (self._settings.operator_namespace, lease), identity, time.monotonic)
        await _first(elector.acquire(), stop.wait())
        holding = asyncio.create_task(elector.hold())
        try:
            yield holding
        finally:
            holding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await holding
            await elector.release()

    @contextlib.asynccontextmanager
    async def _work(self, stop: asyncio.Event) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Run watches, stream and workers, and yield their tasks.

        A task that ends before `stop` is set has failed. On exit, the workers finish the reconciles in progress.
        """
        await self._crd(stop)
        self._clock.set(*self._client.date)
        self.caches.subscribe(self._wake, self._wake_gateway)
        kopf_stop = asyncio.Event()
        background = [
            asyncio.create_task(self.caches.run(), name="caches"),
            asyncio.create_task(self._events.run(), name="events"),
            asyncio.create_task(self._watchdog.run(), name="watchdog"),
            asyncio.create_task(self._follower.run(self._settings.follow_interval), name="follower"),
            asyncio.create_task(self._write_back.run(), name="write-back"),
            asyncio.create_task(self._registration.run(), name="registration"),
            asyncio.create_task(self._notifier.run(), name="notifier"),
            asyncio.create_task(self._analyst.run(), name="analyst"),
        ]
        self._started = True
        workers: list[asyncio.Task[None]] = []
        streaming: asyncio.Task[None] | None = None
        try:
            await _first(self.caches.synced(), stop.wait())
            streaming = asyncio.create_task(kopf_stream.run(self.resources, self._settings, kopf_stop), name="stream")
            if not stop.is_set():
                workers = [asyncio.create_task(self._reconciler.work()) for _ in range(self._settings.workers)]
                logger.info("watching %s", self._settings.namespace or "all namespaces")
            yield [*background, *workers, streaming]
        finally:
            self.queue.shut_down()
            await asyncio.gather(*workers, return_exceptions=True)
            kopf_stop.set()
            if streaming is not None:
                await asyncio.wait([streaming], timeout=5.0)
                background.append(streaming)
            await self._events.flush()
            await self._notifier.flush(FLUSH)
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            clients = (self._pool, self._pod_http, self._prometheus)
            await asyncio.gather(*(each.aclose() for each in clients))

    async def _crd(self, stop: asyncio.Event) -> None:
        """Wait until ModelDeployments can be listed.

        kopf looks for the resource only once, at its start.
        """
        while not stop.is_set():
            try:
                async for _ in self._client.pages(MODEL_DEPLOYMENT, self._settings.namespace, limit=1):
                    return  # One page is enough. All pages would take a request for each resource.
            except KubeError as error:
                logger.warning("waiting for ModelDeployments to be readable: %s", error)
                await _first(asyncio.sleep(3.0), stop.wait())

    def _wake(self, key: Key) -> None:
        if self.resources.get(key) is not None:
            self.queue.add(key)

    def _wake_gateway(self, gateway: Key) -> None:
        for resource in self.resources.items():
            if names_gateway(resource, self._settings, gateway):
                self.queue.add(resource.key)


async def _first(*awaitables: Awaitable[Any]) -> None:
    """Wait for the first of `awaitables` to end, and cancel the others.

    An exception of the first one is raised.
    """
    tasks = [asyncio.ensure_future(each) for each in awaitables]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()
