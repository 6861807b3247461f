"""Reading what a scoring pod has answered lately: GET /sluicegate/answers, which only who knows the pod's UID may."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from sluicegate.adapters.pod_http import PodHttp, PodTrouble
from sluicegate.core.analysis.pairs import Told

PATH: Final = "/sluicegate/answers"
MOST_PARTS: Final = 8
"""Parts that one reading asks a pod for; what is more comes with the next reading."""


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
        for _ in range(MOST_PARTS):
            head, part = _parsed(pod, await self._part(pod, cursor, keep, max(0.0, until - clock())))
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
    head, *rest = body.split(b"\n")
    try:
        found = [_line(each) for each in rest if each]
        return _HEAD.decode(head), [(each.age, Told(each.key, each.status, each.answer)) for each in found]
    except msgspec.DecodeError:
        raise Untold(_none(pod)) from None


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
