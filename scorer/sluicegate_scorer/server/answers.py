"""Recent answers, for whoever compares two versions of a model on the same requests.

A gateway that mirrors requests drops the answers to the copies, so the two answers to one request meet nowhere but at
the operator, which reads them from the pods of both versions and pairs them. Hence three rules:

- Which requests are kept is decided by a hash of the request alone, so that all pods keep the same ones.
- Nothing is kept until somebody asks, and not for long after the last time that somebody did.
- Only who knows the pod's UID may ask, which is who may read the pod from the Kubernetes API: the path of a route leads
  here too. To everybody else the path does not exist.
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
"""Answers kept a second, about: the share of the requests that is kept halves at more, and doubles at less than half."""
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
    """One answer; the body is empty where the request failed."""

    number: int
    at: float
    key: bytes
    status: int
    body: bytes


class Answers:
    """The answers of the last seconds or minutes, in bounded memory.

    Args:
        token: what a reader has to show; with an empty one nobody may read, and nothing is kept.
        clock: seconds, for ages and how long to go on.

    Attributes:
        recording: whether answers are kept now.
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
        """Whether a request may read them."""
        shown = header(scope, b"authorization")
        return bool(self._secret) and shown is not None and hmac.compare_digest(shown, self._secret)

    def keep(self, scope: Message, body: bytes, answer: Answer) -> None:
        """Keeps an answer if its request is among the chosen; called for every request while `recording`.

        A request that the server was too busy for, or too slow, says nothing of the model, so it is left out.
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
        """What was kept since a cursor, as JSON lines: the first says how to go on, each other is an answer.

        Parameters of the query: `since`, the cursor that the last answer named; `keep`, how many seconds to go on keeping
        answers without being asked again.
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
        """Another second: fewer than half of what may be kept lets twice as many in. False once it is time to stop."""
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
    """The answer goes in as it is: it is JSON, whose line ends mean nothing."""
    head = f'{{"key": "{kept.key.hex()}", "age": {now - kept.at:.3f}, "status": {kept.status}, "answer": '.encode()
    return head + (kept.body.replace(b"\n", b" ").replace(b"\r", b" ") or b"null") + b"}"
