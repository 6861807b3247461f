"""What two versions of a model answered to the same requests.

Pods tell recent answers with a key made from the request: its id, where the gateway gives it one before it makes the copy, and its
body. So answers with the same key are a pair; of a request that comes more than once without an id, the first of one
side goes with the first of the other. Pods keep a sample of the requests, but all of them the same: decision 0017.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

MOST_OPEN: Final = 4096
"""Answers of one side that wait for the other's."""


class Told(NamedTuple):
    """One answer, as a pod tells it."""

    key: str
    status: int
    answer: Any
    """The parsed body of a request that went well."""

    @property
    def well(self) -> bool:
        """Whether the request went well."""
        return self.status == 200


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two answers are apart."""

    largest: float | None = None
    """Between two numbers at the same place; None where no two numbers were there."""
    unlike: str = ""
    """What no number measures, in words: other words at a place, another form, a failed request. Empty where there is nothing of it."""
    place: str = ""
    """Where the largest difference is, and the two numbers."""

    def beyond(self, tolerance: float) -> bool:
        """Whether the answers are not the same."""
        return bool(self.unlike) or (self.largest or 0.0) > tolerance


def difference(mine: Told, theirs: Told) -> Difference:
    """How far the new version's answer is from stable's; both are answers to one request."""
    if not (mine.well and theirs.well):
        words = f"The new version answered {mine.status} where stable answered {theirs.status}."
        return Difference(unlike="" if mine.status == theirs.status else words)
    largest, place = None, ""
    left: list[tuple[str, Any, Any]] = [("", _predictions(mine.answer), _predictions(theirs.answer))]
    while left:  # not by recursion: an answer may be nested deeper than a stack is high
        path, one, other = left.pop()
        if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            left.extend((f"{path}.{name}" if path else str(name), one[name], other[name]) for name in one)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            left.extend((f"{path}[{number}]", *each) for number, each in enumerate(zip(one, other, strict=True)))
        elif _number(one) and _number(other):
            apart = _apart(one, other)
            if apart is None:
                return Difference(unlike=f"One of the two versions has no finite number at {path}.")
            if largest is None or apart > largest:
                largest, place = apart, f"At {path} it was {one:.6g}, and {other:.6g} of stable." if apart else ""
        elif type(one) is not type(other) or one != other:
            what = "other words" if isinstance(one, str) and isinstance(other, str) else "something else"
            return Difference(unlike=f"The new version says {what} at {path or 'the top'} than stable.")
    return Difference(largest, place=place)


def _predictions(answer: Any) -> Any:
    """What is compared: all of an answer to /invocations, and the tensors of one of the Open Inference Protocol, which names its version too."""
    if isinstance(answer, dict) and isinstance(outputs := answer.get("outputs"), list) and "model_name" in answer:
        return {str(each.get("name")): each.get("data") for each in outputs if isinstance(each, dict)}
    return answer


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _apart(one: float, other: float) -> float | None:
    """0 for what is equal, NaN and infinity too; None where the difference is no number."""
    if one == other or (one != one and other != other):
        return 0.0
    try:
        apart = float(abs(one - other))
    except OverflowError:
        return None
    return apart if math.isfinite(apart) else None


@dataclass(slots=True)
class _Side:
    """The answers of one version that wait for the other's."""

    seen: int = 0
    answers: dict[str, deque[Told]] = field(default_factory=dict)
    order: deque[str] = field(default_factory=deque)

    def put(self, told: Told) -> None:
        self.answers.setdefault(told.key, deque()).append(told)
        self.order.append(told.key)
        while len(self.order) > MOST_OPEN:
            self.take(self.order.popleft())

    def take(self, key: str) -> Told | None:
        """The first answer with this key. Its place in `order` stays, and means a later one, or nothing."""
        waiting = self.answers.get(key)
        if not waiting:
            return None
        told = waiting.popleft()
        if not waiting:
            del self.answers[key]
        return told


@dataclass(slots=True)
class Pairing:
    """Pairs answers as they come, and keeps what they add up to."""

    tolerances: frozenset[float] = frozenset({0.0})
    """What counts as different is told for each of them."""
    compared: int = 0
    unlike: int = 0
    """Pairs whose difference no number measures."""
    largest: float | None = None
    beyond: dict[float, int] = field(default_factory=dict)
    """By tolerance: pairs that are not the same."""
    example: str = ""
    """The largest difference in words; or else what no number measures."""
    _target: _Side = field(default_factory=_Side)
    _stable: _Side = field(default_factory=_Side)

    def __post_init__(self) -> None:
        """No pair is different yet."""
        self.beyond = dict.fromkeys(self.tolerances, 0)

    def add(self, target: Iterable[Told], stable: Iterable[Told]) -> None:
        """Takes answers of both sides."""
        for told in target:
            self._target.seen += 1
            other = self._stable.take(told.key)
            if other is None:
                self._target.put(told)
            else:
                self._compare(told, other)
        for told in stable:
            self._stable.seen += 1
            mine = self._target.take(told.key)
            if mine is None:
                self._stable.put(told)
            else:
                self._compare(mine, told)

    @property
    def seen(self) -> tuple[int, int]:
        """Answers of the new version and of stable, paired or not."""
        return self._target.seen, self._stable.seen

    def _compare(self, mine: Told, theirs: Told) -> None:
        if not mine.well and not theirs.well:
            return  # nothing was answered
        found = difference(mine, theirs)
        self.compared += 1
        for tolerance in self.beyond:
            self.beyond[tolerance] += found.beyond(tolerance)
        if found.unlike:
            self.unlike += 1
            self.example = self.example or found.unlike
        elif found.largest is not None and (self.largest is None or found.largest > self.largest):
            self.largest = found.largest
            self.example = found.place or self.example
