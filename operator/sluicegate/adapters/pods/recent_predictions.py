"""Reading what a scoring pod has answered lately: GET /sluicegate/answers, which only who knows the pod's UID may."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from sluicegate.adapters.pods.http import PodHttp, PodTrouble
from sluicegate.adapters.unexpected import log_unexpected
from sluicegate.core.analysis.pairing import Told

logger = logging.getLogger(__name__)
PATH: Final = "/sluicegate/answers"
MOST_PARTS: Final = 8
"""Parts that one reading asks a pod for; what is more comes with the next reading."""

MAX_READING: Final = 8 * 1024 * 1024
"""Bytes of all parts of a reading. The scoring server keeps 4 MiB of answers."""
MAX_LINE: Final = 32 * 1024
"""Bytes of one answer, which takes about 20 times as much memory decoded. The scoring server keeps answers of up to 16 KiB."""
MAX_NAME: Final = 128
"""Characters of a cursor and of a key, which are kept and sent back."""


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
    """Reads pods' recent answers."""

    def __init__(self, http: PodHttp) -> None:
        """How pods are reached."""
        self._http = http

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
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        left = MAX_READING
        for _ in range(MOST_PARTS):
            body = await self._part(pod, cursor, keep, max(0.0, until - clock()))
            left -= len(body)
            if left < 0:
                raise Untold(_unreachable(pod, f"its {PATH} is over {MAX_READING >> 20} MiB"))
            head, part = _parsed(pod, body)
            cursor = head.next
            answers += part
            if not head.more:
                break
        return Recent(cursor, tuple(answers))

    async def _part(self, pod: Pod, cursor: str, keep: float, seconds: float) -> bytes:
        path = f"{PATH}?{urlencode({'since': cursor, 'keep': f'{keep:.0f}'})}"
        try:
            status, body = await self._http.get(pod.address, path, seconds, {"Authorization": f"Bearer {pod.uid}"})
        except PodTrouble as trouble:
            raise Untold(_unreachable(pod, str(trouble))) from None
        if status in (404, 405):
            raise Untold(_none(pod))
        if status != 200:
            raise Untold(_unreachable(pod, f"its {PATH} answers {status}"))
        return body


def _parsed(pod: Pod, body: bytes) -> tuple[_Head, list[tuple[float, Told]]]:
    first, *rest = body.split(b"\n")
    if any(len(each) > MAX_LINE for each in (first, *rest)):
        raise Untold(_unreachable(pod, f"its {PATH} has an answer of over {MAX_LINE >> 10} KiB"))
    try:
        head = _HEAD.decode(first)
        found = [_line(each) for each in rest if each]
        if len(head.next) > MAX_NAME or any(len(each.key) > MAX_NAME for each in found):
            raise Untold(_none(pod))
        return head, [(each.age, Told(each.key, each.status, each.answer)) for each in found]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Untold(_none(pod)) from None
    except Untold:
        raise
    except Exception as error:  # other pods are read beside this one
        log_unexpected(logger, f"the {PATH} of pod {pod.name}", error)
        raise Untold(_unreachable(pod, f"its {PATH} makes an unexpected {type(error).__name__}")) from None


def _line(text: bytes) -> _Line:
    """A model may answer NaN, which is no JSON, though Python's encoder writes it."""
    try:
        return _LINE.decode(text)
    except (msgspec.DecodeError, RecursionError):
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
