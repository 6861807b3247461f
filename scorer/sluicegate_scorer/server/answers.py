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

from sluicegate_scorer.server.asgi import JSON, Answer, Message, header

PATH = "/sluicegate/answers"
LINES = b"application/x-ndjson"
A_SECOND = 64
"""Approximate number of responses to keep each second.

Above it, the share of requests that is kept halves. Below half of it, the share doubles.
"""
_SPACE = 1 << 64
_LEVELS = 40
_LARGEST_REQUEST = 1 << 20
_LARGEST_ANSWER = 16 << 10
_MOST_BYTES = 4 << 20
_MOST = 8192
_A_READ = 1 << 20
_LONGEST = 900.0
_USUAL = 60.0


class Kept(NamedTuple):
    """One response. The body is empty if the request failed."""

    number: int
    at: float
    key: bytes
    status: int
    body: bytes


class Answers:
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
        self._kept: deque[Kept] = deque()
        self._bytes = 0
        self._next = 0
        self._started = secrets.token_hex(4)
        self._until = 0.0
        self._below = _SPACE
        self._second = 0.0
        self._count = 0
        self._enough = A_SECOND

    def admits(self, scope: Message) -> bool:
        """Tell whether a request may read the responses."""
        shown = header(scope, b"authorization")
        return bool(self._secret) and shown is not None and hmac.compare_digest(shown, self._secret)

    def keep(self, scope: Message, body: bytes, answer: Answer) -> None:
        """Keep a response if its request is in the sample.

        The server calls it for every request while `recording` is set. A request that failed because the server was
        overloaded, too slow or faulty says nothing about the model, so it is left out.
        """
        if len(body) > _LARGEST_REQUEST or answer.error in ("server", "timeout", "overload"):
            return
        now = self._clock()
        if now - self._second >= 1.0 and not self._turn(now):
            return
        key = blake2b(body, digest_size=8, key=(header(scope, b"x-request-id") or b"")[:64]).digest()
        if int.from_bytes(key, "big") >= self._below:
            return
        if answer.error is None and (len(answer.body) > _LARGEST_ANSWER or answer.media != JSON):
            return
        self._add(Kept(self._next, now, key, answer.status, b"" if answer.error else answer.body))
        self._count += 1
        if self._count >= self._enough:
            self._enough += A_SECOND
            self._sample(self.level + 1)

    def read(self, query: bytes) -> Answer:
        """Return what was kept since a cursor, as JSON lines.

        The first line holds the next cursor. Each other line is one response.

        The query has two parameters. `since` is the cursor that the last read returned. `keep` is the number of seconds
        for which to keep responses without another read.
        """
        now = self._clock()
        asked = parse_qs(query.decode("latin-1"))
        self._go_on(now, asked.get("keep", [""])[0])
        started, _, number = asked.get("since", [""])[0].partition("-")
        first = int(number) if started == self._started and number.isdecimal() and len(number) < 20 else 0
        lines: list[bytes] = []
        size, behind = 0, self._next
        for each in self._kept:
            if each.number < first:
                continue
            if size > _A_READ:
                behind = each.number
                break
            lines.append(_line(each, now))
            size += len(lines[-1])
        oldest = self._kept[0].number if self._kept else self._next
        head = {
            "next": f"{self._started}-{behind}",
            "more": behind < self._next,
            "lost": max(0, oldest - first),
            "level": self.level,
        }
        return Answer(200, b"\n".join([json.dumps(head).encode(), *lines]) + b"\n", LINES)

    def _go_on(self, now: float, seconds: str) -> None:
        try:
            wanted = float(seconds)
        except ValueError:
            wanted = _USUAL
        self._until = max(self._until, now + min(max(wanted, 0.0), _LONGEST))
        if not self.recording:
            self._begin(now)
        self.recording = True

    def _turn(self, now: float) -> bool:
        """Begin another second, and double the share if too few responses were kept.

        Too few means fewer than half of `A_SECOND`.

        Returns:
            False if it is time to stop recording.
        """
        if now >= self._until:
            self.recording = False
            self._kept.clear()
            self._bytes = 0
            self._sample(0)
            return False
        if self._count < A_SECOND // 2 and self.level:
            self._sample(self.level - 1)
        self._begin(now)
        return True

    def _begin(self, second: float) -> None:
        self._second, self._count, self._enough = second, 0, A_SECOND

    def _sample(self, level: int) -> None:
        self.level = min(level, _LEVELS)
        self._below = _SPACE >> self.level

    def _add(self, kept: Kept) -> None:
        self._next += 1
        self._kept.append(kept)
        self._bytes += len(kept.body)
        while self._bytes > _MOST_BYTES or len(self._kept) > _MOST:
            self._bytes -= len(self._kept.popleft().body)


def _line(kept: Kept, now: float) -> bytes:
    """Return one response as a line of JSON.

    The body goes in unchanged except for line ends, which have no meaning in JSON.
    """
    head = f'{{"key": "{kept.key.hex()}", "age": {now - kept.at:.3f}, "status": {kept.status}, "answer": '.encode()
    return head + (kept.body.replace(b"\n", b" ").replace(b"\r", b" ") or b"null") + b"}"
