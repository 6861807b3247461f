"""Reader for the recent predictions of a scoring pod.

It uses GET /sluicegate/answers, which requires the pod's UID.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from sluicegate.adapters.pods.http import PodHttp, PodRequestFailed
from sluicegate.adapters.unexpected import log_unexpected
from sluicegate.core.analysis.pairing import ReportedResponse

logger = logging.getLogger(__name__)
PATH: Final = "/sluicegate/answers"
MOST_PARTS: Final = 8
"""Maximum number of parts in one reading of a pod. The next reading returns the rest."""

MAX_READING: Final = 8 * 1024 * 1024
"""Maximum size in bytes of all parts of a reading. The scoring server keeps 4 MiB of predictions."""
MAX_LINE: Final = 32 * 1024
"""Maximum size in bytes of one prediction, which takes about 20 times as much memory when decoded. The scoring server
keeps predictions of up to 16 KiB."""
MAX_NAME: Final = 128
"""Maximum length in characters of a cursor and of a key, which are kept and sent back."""


class PredictionsUnavailable(Exception):
    """A pod's predictions cannot be read. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod to read."""

    name: str
    address: str
    """HOST:PORT."""
    uid: str


@dataclass(frozen=True, slots=True)
class Recent:
    """The predictions in one reading of a pod."""

    cursor: str
    """Where the next reading starts."""
    predictions: tuple[tuple[float, ReportedResponse], ...]
    """(seconds ago, prediction), the oldest first."""


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


class PredictionReader:
    """Reads the recent predictions of pods."""

    def __init__(self, http: PodHttp) -> None:
        """Use an HTTP client for pods."""
        self._http = http

    async def read(self, pod: Pod, cursor: str, keep: float, seconds: float) -> Recent:
        """Return the predictions of a pod since `cursor`.

        Args:
            pod: The pod to read.
            cursor: The cursor of the last reading. An empty one returns all predictions that the pod keeps.
            keep: Seconds for which the pod must keep predictions until the next request.
            seconds: Time limit.

        Raises:
            PredictionsUnavailable: The pod does not respond, keeps no predictions, or sends an invalid response.
        """
        predictions: list[tuple[float, ReportedResponse]] = []
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        left = MAX_READING
        for _ in range(MOST_PARTS):
            body = await self._part(pod, cursor, keep, max(0.0, until - clock()))
            left -= len(body)
            if left < 0:
                raise PredictionsUnavailable(_unreachable(pod, f"its {PATH} is larger than {MAX_READING >> 20} MiB"))
            head, part = _parsed(pod, body)
            cursor = head.next
            predictions += part
            if not head.more:
                break
        return Recent(cursor, tuple(predictions))

    async def _part(self, pod: Pod, cursor: str, keep: float, seconds: float) -> bytes:
        path = f"{PATH}?{urlencode({'since': cursor, 'keep': f'{keep:.0f}'})}"
        try:
            status, body = await self._http.get(pod.address, path, seconds, {"Authorization": f"Bearer {pod.uid}"})
        except PodRequestFailed as error:
            raise PredictionsUnavailable(_unreachable(pod, str(error))) from None
        if status in (404, 405):
            raise PredictionsUnavailable(_none(pod))
        if status != 200:
            raise PredictionsUnavailable(_unreachable(pod, f"its {PATH} returned {status}"))
        return body


def _parsed(pod: Pod, body: bytes) -> tuple[_Head, list[tuple[float, ReportedResponse]]]:
    first, *rest = body.split(b"\n")
    if any(len(line) > MAX_LINE for line in (first, *rest)):
        raise PredictionsUnavailable(
            _unreachable(pod, f"its {PATH} has a prediction of more than {MAX_LINE >> 10} KiB")
        )
    try:
        head = _HEAD.decode(first)
        entries = [_line(line) for line in rest if line]
        if len(head.next) > MAX_NAME or any(len(entry.key) > MAX_NAME for entry in entries):
            raise PredictionsUnavailable(_none(pod))
        return head, [(entry.age, ReportedResponse(entry.key, entry.status, entry.answer)) for entry in entries]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PredictionsUnavailable(_none(pod)) from None
    except PredictionsUnavailable:
        raise
    except Exception as error:  # must not affect the reads of other pods
        log_unexpected(logger, f"the {PATH} of pod {pod.name}", error)
        raise PredictionsUnavailable(
            _unreachable(pod, f"its {PATH} caused an unexpected {type(error).__name__}")
        ) from None


def _line(text: bytes) -> _Line:
    """Decode one line of a response.

    A model may return NaN. It is not valid JSON, but Python's encoder writes it.
    """
    try:
        return _LINE.decode(text)
    except (msgspec.DecodeError, RecursionError):
        try:
            return msgspec.convert(json.loads(text), _Line)
        except (ValueError, RecursionError, msgspec.ValidationError):
            raise msgspec.DecodeError("not a prediction") from None


def _none(pod: Pod) -> str:
    return (
        f"Pod {pod.name} does not report its predictions. Only the scoring server of the runtime mlflow does. "
        "For a revision of an older operator, set the annotation sluicegate.dev/roll to a new value."
    )


def _unreachable(pod: Pod, why: str) -> str:
    return (
        f"Pod {pod.name} cannot be read at {pod.address}: {why}. "
        "Let the operator reach the port of the scoring pods (NetworkPolicy, or mutual TLS of a service mesh)."
    )
