"""Recent responses, from which the operator compares two revisions.

A gateway that mirrors requests drops the responses to the copies. Only the operator can therefore pair the two
responses to one request: it reads them from the pods of both revisions. This results in three rules:

- A hash of the request alone decides which requests are kept, so that all pods keep the same ones.
- A pod keeps nothing until a client reads, and stops some time after the last read.
- Only a client that knows the pod's UID may read. A client that may read the pod from the Kubernetes API knows it.
  Routes of a gateway lead to this path too. For all other clients the path does not exist.
"""

import hmac
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import parse_qs

from sluicegate_scorer.server.asgi import JSON, Message, Response, header

PATH = "/sluicegate/answers"
LINES = b"application/x-ndjson"
PER_SECOND = 64
"""Approximate number of responses to keep each second.

Above it, the share of requests that is kept halves. Below half of it, the share doubles.
"""
_SPACE = 1 << 64
_LEVELS = 40
_MAX_REQUEST = 1 << 20
_MAX_RESPONSE = 16 << 10
_MAX_BYTES = 4 << 20
_MAX_ENTRIES = 8192
_MAX_READ = 1 << 20
_MAX_SECONDS = 900.0
_DEFAULT_SECONDS = 60.0


class Prediction(NamedTuple):
    """One response. The body is empty if the request failed."""

    number: int
    at: float
    key: bytes
    status: int
    body: bytes


class RecentPredictions:
    """The responses of the last seconds or minutes, in bounded memory.

    Args:
        token: the token that a client has to send. If it is empty, no client may read and nothing is kept.
        clock: returns seconds, for ages and for the end of the recording.

    Attributes:
        recording: whether responses are kept now.
        level: one request in 2**level is kept.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.recording = False
        self.level = 0
        self._secret = f"Bearer {token}".encode() if token else b""
        self._clock = clock
        self._entries: deque[Prediction] = deque()
        self._bytes = 0
        self._next = 0
        self._started = secrets.token_hex(4)
        self._until = 0.0
        self._below = _SPACE
        self._second = 0.0
        self._count = 0
        self._limit = PER_SECOND

    def admits(self, scope: Message) -> bool:
        """Tell whether a request may read the responses."""
        credentials = header(scope, b"authorization")
        return bool(self._secret) and credentials is not None and hmac.compare_digest(credentials, self._secret)

    def keep(self, scope: Message, body: bytes, response: Response) -> None:
        """Keep a response if its request is in the sample.

        The server calls it for every request while `recording` is set. A request that failed because the server was
        overloaded, too slow or faulty says nothing about the model, so it is left out.
        """
        if len(body) > _MAX_REQUEST or response.error in ("server", "timeout", "overload"):
            return
        now = self._clock()
        if now - self._second >= 1.0 and not self._next_second(now):
            return
        key = blake2b(body, digest_size=8, key=(header(scope, b"x-request-id") or b"")[:64]).digest()
        if int.from_bytes(key, "big") >= self._below:
            return
        if response.error is None and (len(response.body) > _MAX_RESPONSE or response.media != JSON):
            return
        self._add(Prediction(self._next, now, key, response.status, b"" if response.error else response.body))
        self._count += 1
        if self._count >= self._limit:
            self._limit += PER_SECOND
            self._set_level(self.level + 1)

    def read(self, query: bytes) -> Response:
        """Return what was kept since a cursor, as JSON lines.

        The first line holds the next cursor. Each other line is one response.

        The query has two parameters. `since` is the cursor that the last read returned. `keep` is the number of seconds
        for which to keep responses without another read.
        """
        now = self._clock()
        parameters = parse_qs(query.decode("latin-1"))
        self._record_for(now, parameters.get("keep", [""])[0])
        started, _, number = parameters.get("since", [""])[0].partition("-")
        first = int(number) if started == self._started and number.isdecimal() and len(number) < 20 else 0
        lines: list[bytes] = []
        size, behind = 0, self._next
        for entry in self._entries:
            if entry.number < first:
                continue
            if size > _MAX_READ:
                behind = entry.number
                break
            lines.append(_line(entry, now))
            size += len(lines[-1])
        oldest = self._entries[0].number if self._entries else self._next
        head = {
            "next": f"{self._started}-{behind}",
            "more": behind < self._next,
            "lost": max(0, oldest - first),
            "level": self.level,
        }
        return Response(200, b"\n".join([json.dumps(head).encode(), *lines]) + b"\n", LINES)

    def _record_for(self, now: float, seconds: str) -> None:
        try:
            requested = float(seconds)
        except ValueError:
            requested = _DEFAULT_SECONDS
        self._until = max(self._until, now + min(max(requested, 0.0), _MAX_SECONDS))
        if not self.recording:
            self._begin_second(now)
        self.recording = True

    def _next_second(self, now: float) -> bool:
        """Begin another second, and double the share if too few responses were kept.

        Too few means fewer than half of `A_SECOND`.

        Returns:
            False if it is time to stop recording.
        """
        if now >= self._until:
            self.recording = False
            self._entries.clear()
            self._bytes = 0
            self._set_level(0)
            return False
        if self._count < PER_SECOND // 2 and self.level:
            self._set_level(self.level - 1)
        self._begin_second(now)
        return True

    def _begin_second(self, second: float) -> None:
        self._second, self._count, self._limit = second, 0, PER_SECOND

    def _set_level(self, level: int) -> None:
        self.level = min(level, _LEVELS)
        self._below = _SPACE >> self.level

    def _add(self, entry: Prediction) -> None:
        self._next += 1
        self._entries.append(entry)
        self._bytes += len(entry.body)
        while self._bytes > _MAX_BYTES or len(self._entries) > _MAX_ENTRIES:
            self._bytes -= len(self._entries.popleft().body)


def _line(entry: Prediction, now: float) -> bytes:
    """Return one response as a line of JSON.

    The body goes in unchanged except for line ends, which have no meaning in JSON.
    """
    head = f'{{"key": "{entry.key.hex()}", "age": {now - entry.at:.3f}, "status": {entry.status}, "answer": '.encode()
    return head + (entry.body.replace(b"\n", b" ").replace(b"\r", b" ") or b"null") + b"}"
