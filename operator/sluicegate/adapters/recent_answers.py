"""Reading what a scoring pod has answered lately: GET /sluicegate/answers, which only who knows the pod's UID may."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from sluicegate.core.analysis.pairs import Told

PATH: Final = "/sluicegate/answers"
AT_ONCE: Final = 32
MOST_BYTES: Final = 4 * 1024 * 1024
MOST_PARTS: Final = 8
"""Parts that one reading asks a pod for; what is more comes with the next reading."""
_CONNECT_SECONDS: Final = 3.0
_LOST: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""What a kept connection ends with when the pod has closed it meanwhile."""


class Untold(Exception):
    """A pod's answers cannot be had; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pod:
    """Whom to ask."""

    name: str
    address: str
    """HOST:PORT."""
    uid: str


@dataclass(frozen=True, slots=True)
class Recent:
    """What a pod has told."""

    cursor: str
    """Where to go on."""
    answers: tuple[tuple[float, Told], ...]
    """(seconds ago, answer), the oldest first."""


class _Head(msgspec.Struct, frozen=True):
    next: str
    more: bool = False


class _Line(msgspec.Struct, frozen=True):
    key: str
    age: float
    status: int
    answer: Any = None


_HEAD = msgspec.json.Decoder(_Head)
_LINE = msgspec.json.Decoder(_Line)


class AnswerReader:
    """Reads pods, a bounded number at a time."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` replaces the network."""
        self._client = httpx.AsyncClient(
            transport=transport,
            headers={"Accept-Encoding": "identity", "User-Agent": "sluicegate"},
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE, keepalive_expiry=30.0),
            follow_redirects=False,
            trust_env=False,  # a proxy for the world outside knows no pod
        )
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    async def read(self, pod: Pod, cursor: str, keep: float, seconds: float) -> Recent:
        """What a pod has answered since `cursor`; empty for all that it has kept.

        Args:
            pod: Whom to ask.
            cursor: Of the last reading.
            keep: Seconds for which the pod is to go on keeping answers without being asked again.
            seconds: Longest time that it may take.

        Raises:
            Untold: it does not answer, or keeps no answers.
        """
        answers: list[tuple[float, Told]] = []
        async with self._turns:
            try:
                async with asyncio.timeout(seconds):
                    for _ in range(MOST_PARTS):
                        head, part = _parsed(await self._get(pod, {"since": cursor, "keep": f"{keep:.0f}"}))
                        cursor = head.next
                        answers += part
                        if not head.more:
                            break
            except (TimeoutError, httpx.TimeoutException):
                raise Untold(_unreachable(pod, f"no answer within {seconds:g} s")) from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise Untold(_unreachable(pod, str(error) or type(error).__name__)) from None
            except msgspec.DecodeError:
                raise Untold(_none(pod)) from None
        return Recent(cursor, tuple(answers))

    async def _get(self, pod: Pod, query: dict[str, str]) -> list[bytes]:
        try:
            return await self._once(pod, query)
        except _LOST:
            return await self._once(pod, query)

    async def _once(self, pod: Pod, query: dict[str, str]) -> list[bytes]:
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
        headers = {"Authorization": f"Bearer {pod.uid}"}
        url = f"http://{pod.address}{PATH}"
        async with self._client.stream("GET", url, params=query, headers=headers, timeout=timeout) as response:
            if response.status_code in (404, 405):
                raise Untold(_none(pod))
            if response.status_code != 200:
                raise httpx.HTTPError(f"its {PATH} answers {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_bytes(65536):
                body += chunk
                if len(body) > MOST_BYTES:
                    raise httpx.HTTPError(f"its {PATH} is over {MOST_BYTES >> 20} MiB")
        return bytes(body).split(b"\n")


def _parsed(lines: list[bytes]) -> tuple[_Head, list[tuple[float, Told]]]:
    head, *rest = lines
    found = [_line(each) for each in rest if each]
    return _HEAD.decode(head), [(each.age, Told(each.key, each.status, each.answer)) for each in found]


def _line(text: bytes) -> _Line:
    """A model may answer NaN, which is no JSON, though Python's encoder writes it."""
    try:
        return _LINE.decode(text)
    except msgspec.DecodeError:
        try:
            return msgspec.convert(json.loads(text), _Line)
        except (ValueError, RecursionError, msgspec.ValidationError):
            raise msgspec.DecodeError("no answer") from None


def _none(pod: Pod) -> str:
    return (
        f"Pod {pod.name} does not tell its answers: only the scoring server of the runtime mlflow does. An older revision's pods learn it when it is "
        "rolled (annotation sluicegate.dev/roll)."
    )


def _unreachable(pod: Pod, why: str) -> str:
    return (
        f"Pod {pod.name} cannot be read at {pod.address}: {why}. Check that the operator may reach the port of the scoring pods "
        "(NetworkPolicy)."
    )
