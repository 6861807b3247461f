"""Every version of some objects, in the order in which the API server wrote them.

Polling would miss some of the versions.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass
from types import TracebackType

from e2e.support.kube import Json, Kube


@dataclass(frozen=True)
class Seen:
    """One version of one object."""

    at: float
    """When the event arrived, in seconds of the monotonic clock."""
    kind: str
    """ADDED, MODIFIED or DELETED."""
    obj: Json

    @property
    def version(self) -> int:
        """Return the resourceVersion.

        Of two versions of any objects, the higher one is later.
        """
        return int(self.obj["metadata"]["resourceVersion"])

    @property
    def name(self) -> str:
        """Return the object's name."""
        return str(self.obj["metadata"]["name"])


class Watch:
    """A watch that continues after the API server was unavailable.

    Example: `with Watch(kube, "deployment", namespace) as seen: ...; seen.events`.
    """

    def __init__(self, kube: Kube, kind: str, namespace: str) -> None:
        self.events: list[Seen] = []
        self._kube = kube
        self._path = kube.path(kind, namespace)
        self._stop = threading.Event()
        self._connection: http.client.HTTPSConnection | None = None
        self._since = ""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        found = self._kube.call("GET", self._path)
        self._since = found["metadata"]["resourceVersion"]
        self.events = [Seen(time.monotonic(), "ADDED", item) for item in found["items"]]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._connection is not None and self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)

    def of(self, name: str) -> list[Seen]:
        """List the versions of one object."""
        return [event for event in list(self.events) if event.name == name]

    def replicas(self, name: str) -> list[int]:
        """List the changes of a Deployment's spec.replicas."""
        values: list[int] = []
        for each in self.of(name):
            value = each.obj["spec"].get("replicas", 1)
            if not values or values[-1] != value:
                values.append(value)
        return values

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except (OSError, http.client.HTTPException, ValueError):
                self._stop.wait(0.1)

    def _follow(self) -> None:
        self._connection = self._kube.connection(timeout=60)
        try:
            query = {"watch": "true", "resourceVersion": self._since, "timeoutSeconds": "300"}
            self._connection.request("GET", f"{self._path}?{urllib.parse.urlencode(query)}")
            answer = self._connection.getresponse()
            if answer.status != 200:
                raise OSError(f"watch {self._path}: {answer.status}")
            while line := answer.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise AssertionError(f"watch {self._path}: {event['object']}")
                seen = Seen(time.monotonic(), event["type"], event["object"])
                self._since = str(seen.version)
                self.events.append(seen)
        finally:
            self._connection.close()
