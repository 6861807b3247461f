"""The stream of ModelDeployments, which is all that kopf is used for.

`on.event` makes no writes of its own, neither finalizers nor progress annotations. This suits a level-triggered
operator. kopf swallows the exceptions of such handlers and never retries them, so the handlers only put objects into a
store. kopf's session removes objects that cannot be decoded, see `kopf_session`.
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
    """Return the kopf handlers that pass ModelDeployments to `resources`."""
    registry = kopf.OperatorRegistry()

    # The handlers are coroutines so that kopf calls them in this event loop instead of in a thread.
    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
        info = kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
        return filtered(info, resources) if info is not None else None

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        resources.streamed(dict(event["object"]), deleted=event["type"] == "DELETED")

    return registry


def settings_for(settings: Settings) -> kopf.OperatorSettings:
    """Return kopf settings that turn off Events, scanning and peering."""
    configured = kopf.OperatorSettings()
    configured.posting.enabled = False
    configured.scanning.disabled = True
    configured.peering.standalone = True
    configured.queueing.idle_timeout = 1.0
    configured.watching.server_timeout = 240
    configured.watching.client_timeout = 250
    configured.watching.chunk_size = 50  # A page is read as a whole, and etcd allows 1.5 MiB for each object.
    configured.execution.max_workers = 1
    return configured


async def run(resources: Resources, settings: Settings, stop: asyncio.Event) -> None:
    """Stream ModelDeployments until `stop` is set."""
    await kopf.operator(
        registry=registry_for(resources),
        settings=settings_for(settings),
        namespaces=[settings.namespace] if settings.namespace else [],
        clusterwide=settings.namespace is None,
        standalone=True,
        stop_flag=stop,
        # By default, kopf takes the name of the system user, which a pod does not have.
        identity=socket.gethostname(),  # type: ignore[arg-type]
    )
