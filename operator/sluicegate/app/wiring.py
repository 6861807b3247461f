"""The wiring: `build` connects all parts of one process."""

from __future__ import annotations

import asyncio
import socket
import time
from functools import partial

from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.pods.http import PodHttp
from sluicegate.adapters.pods.metrics import PodScraper
from sluicegate.adapters.pods.recent_predictions import PredictionReader
from sluicegate.adapters.prometheus import Prometheus
from sluicegate.api import names
from sluicegate.api.resource import Key
from sluicegate.app.leadership import leadership
from sluicegate.app.operator import App
from sluicegate.app.peers import Peers
from sluicegate.app.stream_watchdog import Watchdog
from sluicegate.config.settings import Settings
from sluicegate.kube.client import KubeClient
from sluicegate.kube.events import EventRecorder
from sluicegate.runtime.analysis.analyst import Analyst, Sources
from sluicegate.runtime.analysis.pair_reader import PodPairs
from sluicegate.runtime.analysis.prometheus_resolver import PrometheusResolver
from sluicegate.runtime.clock import SteadyClock
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.notifications import Notifier
from sluicegate.runtime.reconcile.apply import Applier
from sluicegate.runtime.reconcile.caches import Caches
from sluicegate.runtime.reconcile.gather import Gatherer
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.reconcile.reconciler import Parts, Reconciler
from sluicegate.runtime.reconcile.route_index import RouteIndex
from sluicegate.runtime.reconcile.status_events import record_changes
from sluicegate.runtime.reconcile.status_writer import StatusWriter
from sluicegate.runtime.reconcile.waker import Waker
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.follower import Follower
from sluicegate.runtime.registry.recovery import Recovery
from sluicegate.runtime.registry.registries import Registries
from sluicegate.runtime.registry.resolver import Resolver
from sluicegate.runtime.registry.served_tags import ServedTagWriter
from sluicegate.runtime.registry.webhook_server import Webhooks
from sluicegate.runtime.registry.webhook_subscription import WebhookSubscriptions
from sluicegate.runtime.resources import Resources, record_undecodable


def build(settings: Settings, client: KubeClient, metrics: Metrics) -> App:
    """Connect the parts. Nothing runs before `App.run`.

    Args:
        settings: The operator's settings.
        client: The API server. The caller closes it.
        metrics: Receives the measurements of all parts.
    """
    queue: WorkQueue[Key] = WorkQueue(time.monotonic)
    clock = SteadyClock(time.monotonic)
    reporter = (f"{names.GROUP}/operator", socket.gethostname())
    events = EventRecorder(client, reporter, time.monotonic, busy=lambda: queue.depth > 0)
    resources = Resources(lambda key: waker.resource_changed(key), partial(record_undecodable, events))
    platform = {ref.namespace for ref in settings.gateway.parent_refs if ref.namespace}
    caches = Caches(client, settings.namespace, settings.resync, platform)
    routes = RouteIndex(resources, caches, settings)
    waker = Waker(resources, queue, settings, routes)

    pool = RegistryPool()
    registries = Registries(client, settings)
    peers = Peers(client, settings, time.monotonic, resources)
    polls = PollContext(resources, registries, pool, queue.add, lambda: peers.stands_back)
    follower = Follower(polls, metrics.on_poll)
    recovery = Recovery(waker.wake)
    working = asyncio.Event()

    pod_http, prometheus = PodHttp(), Prometheus()
    predictions = PredictionReader(pod_http)
    sources = Sources(
        caches.pods_of,
        PodScraper(pod_http),
        PrometheusResolver(client, settings, prometheus),
        lambda run: PodPairs(run, caches.pods_of, predictions),
    )
    analyst = Analyst(resources, sources, waker.wake, clock.now)

    notifier = Notifier(client, settings, metrics.on_notification)
    observers = (
        metrics.on_status,
        partial(record_changes, events),
        lambda resource, after: notifier.watch(resource, after, clock.now()),
    )
    resolver = Resolver(registries, settings, pool, follower, recovery)
    parts = Parts(
        resources=resources,
        gatherer=Gatherer(caches, resolver, settings, analyst.reading, routes.conflict),
        applier=Applier(client, caches),
        status_writer=StatusWriter(client, resources, queue, observers),
        metrics=metrics,
        other_operator=peers.acting,
    )

    metrics.watch_queue(lambda: queue.depth, lambda: queue.oldest_age)
    metrics.watch_resources(resources.items)
    metrics.watch_undecodable(lambda: {names.KIND: len(resources.skipped), **caches.skipped()})
    metrics.watch_analyses(analyst.states)
    metrics.watch_peers(peers.counts)
    return App(
        settings=settings,
        client=client,
        metrics=metrics,
        leadership=leadership(settings, client),
        peers=peers,
        clock=clock,
        working=working,
        queue=queue,
        resources=resources,
        waker=waker,
        caches=caches,
        reconciler=Reconciler(parts, queue, clock.now),
        watchdog=Watchdog(client, resources, settings.namespace, settings.resync),
        follower=follower,
        recovery=recovery,
        webhooks=Webhooks(registries, follower.poll_soon, working.is_set, metrics.on_webhook),
        served_tags=ServedTagWriter(polls, settings),
        subscriptions=WebhookSubscriptions(polls, settings, metrics.on_subscription),
        analyst=analyst,
        events=events,
        notifier=notifier,
        clients=(pool, pod_http, prometheus),
    )
