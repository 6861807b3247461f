"""`sluicegate get --watch`: a view that follows the cluster by watches.

The view continues after a restart of the API server.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from sluicegate.api.resource import Key
from sluicegate.cli.commands.get import Picture, Scope, measures, picture, read
from sluicegate.cli.output import terminal
from sluicegate.cli.output.live_metrics import LiveMetrics, MetricsSource
from sluicegate.kube.client import KubeClient
from sluicegate.kube.informer import Informer, InformerOptions, InformerTimings, without_managed_fields
from sluicegate.kube.kinds import MODEL_DEPLOYMENT, Kind

SETTLE = 0.1
"""Seconds within which changes are shown together."""
ANY: Key = ("", "")
INTERVAL, INTERVAL_WITHOUT_METRICS = 3.0, 15.0
"""Seconds between two reads of the operator's metrics, and after a read that returned none."""


class Connection:
    """Whether the API server responds, judged by the client's requests."""

    def __init__(self) -> None:
        self.lost = False
        self.changed: Callable[[], None] = lambda: None

    def noticed(self, verb: str, kind: str, outcome: str, seconds: float) -> None:
        """Record the outcome of one request.

        Requests to a pod through the API server's proxy do not count: they say nothing about the API server.
        """
        if verb == "proxy":
            return
        lost = outcome in ("Unreachable", "ServerError")
        if lost != self.lost and outcome != "CancelledError":
            self.lost = lost
            self.changed()


async def follow(client: KubeClient, scope: Scope, connection: Connection) -> int:
    """Show the view again whenever it changes, until the ModelDeployment is deleted."""
    objects, notes = await read(client, scope)
    logging.getLogger("sluicegate.kube").setLevel(logging.CRITICAL)  # the view shows a lost connection
    changed = asyncio.Event()
    connection.changed = changed.set
    informers = {kind: _informer(client, kind, scope, changed.set) for kind in objects}
    with terminal.live() as shown:
        async with asyncio.TaskGroup() as group:
            live = _LivePoller(client, scope, changed.set)
            watching = [group.create_task(informer.run()) for informer in informers.values()] + [
                group.create_task(live.run())
            ]
            await asyncio.gather(*(informer.synced.wait() for informer in informers.values()))
            last: Picture | None = None
            while True:
                lost = ("the API server does not respond: this is the last known state",) if connection.lost else ()
                objects = {kind: _items(informer) for kind, informer in informers.items()}
                live.enabled = measures(scope, objects)
                current = picture(scope, objects, notes + lost, live.metrics)
                if current is None:
                    break
                if current != last:
                    shown.show(current.lines)
                    last = current
                await changed.wait()
                await asyncio.sleep(SETTLE)
                changed.clear()
            for task in watching:
                task.cancel()
    print(f"ModelDeployment {scope.namespace}/{scope.name} was deleted.")
    return 0


class _LivePoller:
    """Reads what the operator measures, repeatedly while a rollout is in progress."""

    def __init__(self, client: KubeClient, scope: Scope, wake: Callable[[], None]) -> None:
        self._source = MetricsSource(client, str(scope.namespace), str(scope.name))
        self._wake = wake
        self._enabled = asyncio.Event()
        self.metrics = LiveMetrics()

    @property
    def enabled(self) -> bool:
        """Tell whether the operator may be measuring something."""
        return self._enabled.is_set()

    @enabled.setter
    def enabled(self, on: bool) -> None:
        if on:
            self._enabled.set()
        else:
            self._enabled.clear()
            self.metrics = LiveMetrics()

    async def run(self) -> None:
        """Read the metrics until the task is cancelled."""
        while True:
            await self._enabled.wait()
            metrics = await self._source.read()
            if self.enabled and metrics != self.metrics:
                self.metrics = metrics
                self._wake()
            await asyncio.sleep(INTERVAL if metrics.measured is not None else INTERVAL_WITHOUT_METRICS)


def _items(informer: Informer[Any]) -> list[dict[str, Any]]:
    return [raw for _, raw in informer.items() if raw is not None]


def _informer(client: KubeClient, kind: Kind, scope: Scope, wake: Callable[[], None]) -> Informer[Any]:
    """Return an informer that stores only the objects of the scope.

    It stores None for any other object.
    """

    def kept(raw: dict[str, Any]) -> dict[str, Any] | None:
        if scope.name is not None:
            involved = raw.get("involvedObject") or {}
            about = raw["metadata"]["name"] if kind is MODEL_DEPLOYMENT else involved.get("name", "")
            if kind.kind != "Pod" and not str(about).startswith(scope.name):
                return None
        return without_managed_fields(raw)

    informer: Informer[Any] = Informer(
        client,
        kind,
        InformerOptions(
            transform=kept,
            owner_of=lambda raw: ANY if raw is not None else None,
            clock=time.monotonic,
            namespace=scope.namespace,
            selector=scope.kinds[kind],
            timings=InformerTimings(backoff_max=3.0),
        ),
    )
    informer.on_change(lambda _: wake())
    return informer
