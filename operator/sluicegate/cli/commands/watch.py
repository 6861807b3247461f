"""`sluicegate get --watch`: a view that watches keep current.

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
from sluicegate.cli.output.live_metrics import Look, Source
from sluicegate.kube.client import KubeClient
from sluicegate.kube.informer import Informer, InformerOptions, InformerTimings, without_managed_fields
from sluicegate.kube.kinds import MODEL_DEPLOYMENT, Kind

SETTLE = 0.1
"""Seconds within which changes are shown together."""
ANY: Key = ("", "")
LOOK, LOOK_AGAIN = 3.0, 15.0
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
    found, notes = await read(client, scope)
    logging.getLogger("sluicegate.kube").setLevel(logging.CRITICAL)  # the view shows a lost connection
    changed = asyncio.Event()
    connection.changed = changed.set
    informers = {kind: _informer(client, kind, scope, changed.set) for kind in found}
    with terminal.live() as shown:
        async with asyncio.TaskGroup() as group:
            live = _Live(client, scope, changed.set)
            watching = [group.create_task(each.run()) for each in informers.values()] + [group.create_task(live.run())]
            await asyncio.gather(*(each.synced.wait() for each in informers.values()))
            last: Picture | None = None
            while True:
                lost = ("the API server does not answer: this is what was known last",) if connection.lost else ()
                known = {kind: _items(each) for kind, each in informers.items()}
                live.wanted = measures(scope, known)
                now = picture(scope, known, notes + lost, live.look)
                if now is None:
                    break
                if now != last:
                    shown.show(now.lines)
                    last = now
                await changed.wait()
                await asyncio.sleep(SETTLE)
                changed.clear()
            for task in watching:
                task.cancel()
    print(f"ModelDeployment {scope.namespace}/{scope.name} was deleted.")
    return 0


class _Live:
    """Reads what the operator measures, repeatedly while a rollout is in progress."""

    def __init__(self, client: KubeClient, scope: Scope, wake: Callable[[], None]) -> None:
        self._source = Source(client, str(scope.namespace), str(scope.name))
        self._wake = wake
        self._asked = asyncio.Event()
        self.look = Look()

    @property
    def wanted(self) -> bool:
        """Tell whether there is something to read."""
        return self._asked.is_set()

    @wanted.setter
    def wanted(self, on: bool) -> None:
        if on:
            self._asked.set()
        else:
            self._asked.clear()
            self.look = Look()

    async def run(self) -> None:
        """Read the metrics until the task is cancelled."""
        while True:
            await self._asked.wait()
            found = await self._source.look()
            if self.wanted and found != self.look:
                self.look = found
                self._wake()
            await asyncio.sleep(LOOK if found.measured is not None else LOOK_AGAIN)


def _items(informer: Informer[Any]) -> list[dict[str, Any]]:
    return [raw for _, raw in informer.items() if raw is not None]


def _informer(client: KubeClient, kind: Kind, scope: Scope, wake: Callable[[], None]) -> Informer[Any]:
    """Return an informer that stores only the objects of the scope.

    It stores None for any other object.
    """

    def kept(raw: dict[str, Any]) -> dict[str, Any] | None:
        if scope.name is not None:
            about = (
                raw["metadata"]["name"] if kind is MODEL_DEPLOYMENT else (raw.get("regarding") or {}).get("name", "")
            )
            if kind.kind != "Pod" and not str(about).startswith(scope.name):
                return None
        return without_managed_fields(raw)

    informer: Informer[Any] = Informer(
        client,
        kind,
        InformerOptions(
            transform=kept,
            owner_of=lambda each: ANY if each is not None else None,
            clock=time.monotonic,
            namespace=scope.namespace,
            selector=scope.kinds[kind],
            timings=InformerTimings(backoff_max=3.0),
        ),
    )
    informer.on_change(lambda _: wake())
    return informer
