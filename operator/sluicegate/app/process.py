"""The entry point of `sluicegate run`."""

from __future__ import annotations

import asyncio
import logging
import time

from sluicegate import __version__
from sluicegate.app import shutdown
from sluicegate.app.wiring import build
from sluicegate.config.settings import Settings
from sluicegate.kube.client import KubeClient
from sluicegate.kube.transport import ClientOptions
from sluicegate.runtime.health import HealthServer
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.metrics_access import MetricsAccess
from sluicegate.runtime.registry.webhook_server import WebhookServer

logger = logging.getLogger(__name__)


async def run(settings: Settings, kubeconfig: str | None) -> int:
    """Run the operator until SIGTERM or SIGINT, or until it loses its Lease.

    Args:
        settings: The operator's settings.
        kubeconfig: How to reach the API server, see `KubeClient.connect`.

    Returns:
        The process's exit code. It is 1 if the operator lost its Lease or a part of it ended, so that the kubelet
        starts a new standby.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    shutdown.on_signal(lambda: loop.call_soon_threadsafe(stop.set))
    try:
        return await _run(settings, kubeconfig, stop)
    except Exception:
        if not stop.is_set():
            raise
        logger.warning("an error while the operator stopped", exc_info=True)
        return 0


async def _run(settings: Settings, kubeconfig: str | None, stop: asyncio.Event) -> int:
    metrics = Metrics()
    options = ClientOptions(on_request=metrics.on_request)
    async with KubeClient.connect(kubeconfig, options=options) as client:
        app = build(settings, client, metrics)
        health = HealthServer(app.live(), app.ready(), metrics.registry, settings.health_port)
        if settings.metrics_authentication:
            health.access = MetricsAccess(client, time.monotonic)
        webhook_server = WebhookServer(app.webhooks, settings.webhook_port)
        async with health, webhook_server:
            logger.info("sluicegate %s, health and metrics on port %d", __version__, health.port)
            if app.webhooks.enabled:
                logger.info("receiving webhooks of registries on port %d", webhook_server.port)
            return await app.run(stop)
