"""A steady client that notices every single request that is lost."""

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
    """Which version of the example model gave an answer: version N adds N * 100."""
    return int(round(json.loads(answer)["predictions"][0]) // 100)


def predict(url: str, timeout: float = TIMEOUT) -> int:
    """One prediction over a connection of its own; the version that answered.

    Raises:
        AssertionError: the answer is not 200.
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
    """Whether the gateway has the way to the model: its own answers for what it does not know yet are 404 and 503."""
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
    """Pattern of errors that are a bad version's own answers: they are no failure of what brings the requests to it."""
    versions: collections.Counter[int] = field(default_factory=collections.Counter)
    order: list[tuple[float, int]] = field(default_factory=list)
    """When the answers changed from one version to another, and to which."""
    answers: list[tuple[float, int]] = field(default_factory=list)
    """Every answer: when, in seconds since 1970, and by which version."""
    errors: list[tuple[float, str]] = field(default_factory=list)
    """Every error that fits `own`: when, in seconds since 1970, and its words."""
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def run(self, stop: threading.Event) -> None:
        """Sends until told to stop."""
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
            due = max(due + 1 / self.rate, now - 1)  # after a slow answer, catch up on one second at most
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
    """Several lanes at once: `with Load({...}) as load: ...; load.check()`."""

    def __init__(self, urls: dict[str, str], rate: float = 40, own: str = "") -> None:
        """`urls` by name; each gets one lane that keeps its connection and one that makes a new one each time.

        Errors that fit the pattern `own` are counted apart: a bad version's own answers.
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
        """Lets every request under way finish."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT + 5)

    @property
    def total(self) -> int:
        """Requests answered so far."""
        return sum(lane.versions.total() for lane in self.lanes)

    @property
    def failures(self) -> list[str]:
        """Every request that was lost, in words."""
        return [failure for lane in self.lanes for failure in lane.failures]

    @property
    def errors(self) -> list[tuple[float, str]]:
        """Every error of the bad version's own: when, in seconds since 1970, and its words."""
        return [error for lane in self.lanes for error in lane.errors]

    def between(self, begin: float, end: float, way: str = "gateway") -> collections.Counter[int]:
        """Answers by version of one way in, within a span of seconds since 1970; 0 counts the bad version's own errors."""
        lanes = [lane for lane in self.lanes if lane.name.startswith(f"{way}/")]
        found = [
            *(answer for lane in lanes for answer in lane.answers),
            *((at, 0) for lane in lanes for at, _ in lane.errors),
        ]
        return collections.Counter(version for at, version in found if begin <= at <= end)

    def settled_on(self, version: int) -> bool:
        """Whether the last answer of every lane came from this version."""
        return all(lane.order and lane.order[-1][1] == version for lane in self.lanes)

    def check(self, *versions: int) -> None:
        """Asserts that nothing was lost, and that every lane saw these versions, and no others, in this order."""
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
