"""`sluicegate get --watch`: the picture follows what happens, by watches, and outlives the API server's restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from sluicegate.cli.commands.get import Picture, Scope, measures, picture, read
from sluicegate.cli.output import terminal
from sluicegate.cli.output.live_metrics import Look, Source
from sluicegate.kube.client import KubeClient
from sluicegate.kube.informer import Informer, InformerOptions, InformerTimings, without_managed_fields
from sluicegate.kube.kinds import MODEL_DEPLOYMENT, Kind
from sluicegate.kube.store import Key

SETTLE = 0.1
"""Seconds for changes that come together to be shown together."""
ANY: Key = ("", "")
LOOK, LOOK_AGAIN = 3.0, 15.0
"""Seconds between two looks at what the operator measures, and where it does not answer."""


class Connection:
    """Whether the API server answers, as the client's requests have it."""

    def __init__(self) -> None:
        self.lost = False
        self.changed: Callable[[], None] = lambda: None

    def noticed(self, verb: str, kind: str, outcome: str, seconds: float) -> None:
        """Takes the outcome of one request; what a pod behind the API server answers says nothing of it."""
        if verb == "proxy":
            return
        lost = outcome in ("Unreachable", "ServerError")
        if lost != self.lost and outcome != "CancelledError":
            self.lost = lost
            self.changed()


async def follow(client: KubeClient, scope: Scope, connection: Connection) -> int:
    """Shows the picture anew whenever it changes, until the ModelDeployment is gone."""
    found, notes = await read(client, scope)
    logging.getLogger("sluicegate.kube").setLevel(logging.CRITICAL)  # a lost connection is told of in the picture
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
    """Looks at what the operator measures, again and again while a rollout is under way."""

    def __init__(self, client: KubeClient, scope: Scope, wake: Callable[[], None]) -> None:
        self._source = Source(client, str(scope.namespace), str(scope.name))
        self._wake = wake
        self._asked = asyncio.Event()
        self.look = Look()

    @property
    def wanted(self) -> bool:
        """Whether there is something to look at."""
        return self._asked.is_set()

    @wanted.setter
    def wanted(self, on: bool) -> None:
        if on:
            self._asked.set()
        else:
            self._asked.clear()
            self.look = Look()

    async def run(self) -> None:
        """Looks until it is cancelled."""
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
    """A watch that keeps what concerns the scope whole, and nothing of the rest."""

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
