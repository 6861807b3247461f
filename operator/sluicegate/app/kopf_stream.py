"""kopf's part: the stream of ModelDeployments, and nothing else.

`on.event` makes no write of its own (no finalizer, no progress annotation), which is what a level-triggered operator wants.
kopf swallows the exceptions of such handlers and never retries them, so they only put facts into a store. Its session leaves out
objects that cannot be decoded, see `session`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import kopf

from sluicegate.api import names
from sluicegate.app.kopf_session import filtered
from sluicegate.config.settings import Settings
from sluicegate.runtime.resources import Resources

logger = logging.getLogger(__name__)


def registry_for(resources: Resources) -> kopf.OperatorRegistry:
    """The handlers that feed `resources`."""
    registry = kopf.OperatorRegistry()

    # Coroutines, so that kopf calls them in this event loop and not in a thread.
    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
        info = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        return filtered(info, resources) if info is not None else None

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        resources.streamed(dict(event["object"]), deleted=event["type"] == "DELETED")

    return registry


def settings_for(settings: Settings) -> kopf.OperatorSettings:
    """Kopf with everything off that writes, scans or guesses."""
    configured = kopf.OperatorSettings()
    configured.posting.enabled = False
    configured.scanning.disabled = True
    configured.peering.standalone = True
    configured.queueing.idle_timeout = 1.0
    configured.watching.server_timeout = 240
    configured.watching.client_timeout = 250
    configured.watching.chunk_size = 50  # a page is read whole, and etcd takes 1.5 MiB an object
    configured.execution.max_workers = 1
    return configured


async def run(resources: Resources, settings: Settings, stop: asyncio.Event) -> None:
    """Streams until `stop` is set."""
    await kopf.operator(
        registry=registry_for(resources),
        settings=settings_for(settings),
        namespaces=[settings.namespace] if settings.namespace else [],
        clusterwide=settings.namespace is None,
        standalone=True,
        stop_flag=stop,
        identity=socket.gethostname(),  # type: ignore[arg-type]  # by default kopf asks for the user, and a pod has none
    )
