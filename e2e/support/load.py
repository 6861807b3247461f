"""A steady client that records every lost request."""

from __future__ import annotations

import collections
import http.client
import json
import re
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from types import TracebackType

ROW = {"recency_days": 3, "visits": 12, "basket_value": 80}
BODY = json.dumps({"dataframe_records": [ROW]}).encode()
HEADERS = {"Content-Type": "application/json"}
TIMEOUT = 30.0


def version_of(answer: bytes) -> int:
    """Return the version of the example model that made a prediction.

    Version N adds N * 100.
    """
    return int(round(json.loads(answer)["predictions"][0]) // 100)


def predict(url: str, timeout: float = TIMEOUT) -> int:
    """Send one request over a new connection, and return the version that responds.

    Raises:
        AssertionError: the response is not 200.
    """
    target = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=timeout)
    try:
        connection.request("POST", f"{target.path.rstrip('/')}/invocations", BODY, HEADERS)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, f"{url} answered {answer.status}: {text[:300]!r}"
        return version_of(text)
    finally:
        connection.close()


def routed(url: str) -> bool:
    """Tell whether the gateway routes to the model.

    The gateway itself returns 404 or 503 for a route that it does not know yet.
    """
    target = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=TIMEOUT)
    try:
        connection.request("GET", f"{target.path.rstrip('/')}/ping")
        return connection.getresponse().status not in (404, 503)
    finally:
        connection.close()


@dataclass
class Lane:
    """One sequential client."""

    name: str
    url: str
    keep_alive: bool
    rate: float
    own: str = ""
    """Pattern of the errors that a bad version itself returns.

    They do not count as failures of the routing.
    """
    versions: collections.Counter[int] = field(default_factory=collections.Counter)
    order: list[tuple[float, int]] = field(default_factory=list)
    """When the responses changed to another version, and to which one.

    Times are in seconds of the monotonic clock.
    """
    answers: list[tuple[float, int]] = field(default_factory=list)
    """The time of every response in seconds since 1970, and its version."""
    errors: list[tuple[float, str]] = field(default_factory=list)
    """The time of every error that matches `own`, and its message.

    Times are in seconds since 1970.
    """
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def run(self, stop: threading.Event) -> None:
        """Send requests until `stop` is set."""
        target = urllib.parse.urlsplit(self.url)
        path = f"{target.path.rstrip('/')}/invocations"
        connection: http.client.HTTPConnection | None = None
        due = time.monotonic()
        while not stop.is_set():
            begun = time.monotonic()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=TIMEOUT)
                    connection.connect()
                    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                headers = HEADERS if self.keep_alive else {**HEADERS, "Connection": "close"}
                connection.request("POST", path, BODY, headers)
                answer = connection.getresponse()
                text = answer.read()
                closing = answer.will_close
                if answer.status != 200:
                    raise http.client.HTTPException(f"{answer.status} {text[:200]!r}")
                self._count(version_of(text))
            except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                self._note(f"{type(error).__name__} {error}")
                closing = True
            if closing or not self.keep_alive:
                if connection is not None:
                    connection.close()
                connection = None
            now = time.monotonic()
            self.slowest = max(self.slowest, now - begun)
            due = max(due + 1 / self.rate, now - 1)  # after a slow response, catch up on one second at most
            stop.wait(max(0.0, due - now))
        if connection is not None:
            connection.close()

    def _note(self, words: str) -> None:
        if self.own and re.search(self.own, words):
            self.errors.append((time.time(), words))
        else:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {self.name}: {words}")

    def _count(self, version: int) -> None:
        self.answers.append((time.time(), version))
        self.versions[version] += 1
        if not self.order or self.order[-1][1] != version:
            self.order.append((time.monotonic(), version))


class Load:
    """Several clients at once: `with Load({...}) as load: ...; load.check()`."""

    def __init__(self, urls: dict[str, str], rate: float = 40, own: str = "") -> None:
        """Create two clients for each URL.

        One client keeps its connection, and the other opens a new connection for each request.

        Args:
            urls: the URLs by name.
            rate: requests per second of each client.
            own: pattern of the errors that a bad version itself returns. They are counted separately.
        """
        self.lanes = [
            Lane(f"{name}/{'keep-alive' if keep else 'new'}", url, keep, rate, own)
            for name, url in urls.items()
            for keep in (True, False)
        ]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=lane.run, args=(self._stop,), daemon=True) for lane in self.lanes]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop sending, and wait for the requests in flight."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT + 5)

    @property
    def total(self) -> int:
        """Return the number of successful requests so far."""
        return sum(lane.versions.total() for lane in self.lanes)

    @property
    def failures(self) -> list[str]:
        """Return a message for every lost request."""
        return [failure for lane in self.lanes for failure in lane.failures]

    @property
    def errors(self) -> list[tuple[float, str]]:
        """Return the time and message of every error that a bad version itself returned.

        Times are in seconds since 1970.
        """
        return [error for lane in self.lanes for error in lane.errors]

    def between(self, begin: float, end: float, way: str = "gateway") -> collections.Counter[int]:
        """Count the responses of one endpoint by version, within a time span.

        `begin` and `end` are in seconds since 1970. Version 0 stands for the errors that a bad version itself returned.
        """
        lanes = [lane for lane in self.lanes if lane.name.startswith(f"{way}/")]
        found = [
            *(answer for lane in lanes for answer in lane.answers),
            *((at, 0) for lane in lanes for at, _ in lane.errors),
        ]
        return collections.Counter(version for at, version in found if begin <= at <= end)

    def settled_on(self, version: int) -> bool:
        """Tell whether the last response of every client came from this version."""
        return all(lane.order and lane.order[-1][1] == version for lane in self.lanes)

    def check(self, *versions: int) -> None:
        """Assert that no request was lost and that every client saw only these versions.

        Each client must see all of them, starting with the first and ending with the last.
        """
        summary = "; ".join(
            f"{lane.name}: {dict(lane.versions)} order {[v for _, v in lane.order][:12]} slowest {lane.slowest:.2f}s"
            for lane in self.lanes
        )
        print(
            f"load: {self.total} requests, {len(self.failures)} failed, {len(self.errors)} by a bad version; {summary}",
            flush=True,
        )
        assert not self.failures, (
            f"{len(self.failures)} of {self.total} requests failed: {self.failures[:10]}; {summary}"
        )
        for lane in self.lanes:
            if versions:
                assert set(lane.versions) == set(versions), f"{lane.name} saw {dict(lane.versions)}, not {versions}"
                assert lane.order[0][1] == versions[0], summary
                assert lane.order[-1][1] == versions[-1], summary
