"""Pairs of responses that two versions of a model gave to the same requests.

Pods report recent responses with a key that they make from the request. The key contains the body. It also contains the
request's id, if the gateway sets one before it makes the copy. Responses with the same key are a pair. If a request
without an id comes more than once, the first response of one side is paired with the first of the other. Pods keep a
sample of the requests, and all pods keep the same ones (decision 0017).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

MOST_OPEN: Final = 4096
"""Maximum number of responses of one side that wait for those of the other."""


class ReportedResponse(NamedTuple):
    """One response, as a pod reports it."""

    key: str
    status: int
    body: Any
    """The parsed body of a response with status 200."""

    @property
    def succeeded(self) -> bool:
        """Tell whether the request succeeded."""
        return self.status == 200


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two responses are apart."""

    largest: float | None = None
    """Largest difference between two numbers at the same place; None if no place has two numbers."""
    unlike: str = ""
    """A sentence about a difference that is not a number: different text, another structure, or a failed request. Empty
    if there is no such difference."""
    place: str = ""
    """A sentence with the place of the largest difference and the two numbers."""

    def beyond(self, tolerance: float) -> bool:
        """Tell whether the responses differ by more than `tolerance`.

        A difference that is not a number is beyond any tolerance.
        """
        return bool(self.unlike) or (self.largest or 0.0) > tolerance


def difference(candidate: ReportedResponse, stable: ReportedResponse) -> Difference:
    """Return how far the candidate's response is from stable's.

    Both are responses to the same request.
    """
    if not (candidate.succeeded and stable.succeeded):
        message = f"The candidate responded with status {candidate.status}, and stable with {stable.status}."
        return Difference(unlike="" if candidate.status == stable.status else message)
    largest, place = None, ""
    left: list[tuple[str, Any, Any]] = [("", _predictions(candidate.body), _predictions(stable.body))]
    while left:  # no recursion: a response may be nested deeper than the stack allows
        path, one, other = left.pop()
        if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
            left.extend((f"{path}.{name}" if path else str(name), one[name], other[name]) for name in one)
        elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            left.extend((f"{path}[{number}]", *items) for number, items in enumerate(zip(one, other, strict=True)))
        elif _number(one) and _number(other):
            apart = _apart(one, other)
            if apart is None:
                return Difference(unlike=f"One of the two versions has no finite number at {path}.")
            if largest is None or apart > largest:
                largest, place = (
                    apart,
                    f"At {path}, the candidate returned {one:.6g} and stable {other:.6g}." if apart else "",
                )
        elif type(one) is not type(other) or one != other:
            what = "texts" if isinstance(one, str) and isinstance(other, str) else "values"
            return Difference(unlike=f"The candidate and stable returned different {what} at {path or 'the top'}.")
    return Difference(largest, place=place)


def _predictions(body: Any) -> Any:
    """Return the part of a response body to compare.

    Of /invocations, it is the whole body. Of the Open Inference Protocol, it is the tensors only, because the body also
    names the model version.
    """
    if isinstance(body, dict) and isinstance(outputs := body.get("outputs"), list) and "model_name" in body:
        return {str(output.get("name")): output.get("data") for output in outputs if isinstance(output, dict)}
    return body


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _apart(one: float, other: float) -> float | None:
    """Return the difference of two numbers, or None if it is not finite.

    It is 0 for equal values, including NaN and infinity.
    """
    if one == other or (one != one and other != other):
        return 0.0
    try:
        apart = float(abs(one - other))
    except OverflowError:
        return None
    return apart if math.isfinite(apart) else None


@dataclass(slots=True)
class _Side:
    """Responses of one version that wait for those of the other."""

    seen: int = 0
    waiting: dict[str, deque[ReportedResponse]] = field(default_factory=dict)
    order: deque[str] = field(default_factory=deque)

    def put(self, response: ReportedResponse) -> None:
        self.waiting.setdefault(response.key, deque()).append(response)
        self.order.append(response.key)
        while len(self.order) > MOST_OPEN:
            self.take(self.order.popleft())

    def take(self, key: str) -> ReportedResponse | None:
        """Remove and return the first response with this key, or None.

        The key stays in `order`. There it stands for the next response with this key, if there is one.
        """
        responses = self.waiting.get(key)
        if not responses:
            return None
        response = responses.popleft()
        if not responses:
            del self.waiting[key]
        return response


@dataclass(slots=True)
class Pairing:
    """Matches responses with the same key, and counts the pairs and their differences."""

    tolerances: frozenset[float] = frozenset({0.0})
    """Tolerances. For each one, `beyond` has the number of pairs that differ by more."""
    compared: int = 0
    unlike: int = 0
    """Number of pairs whose difference is not a number."""
    largest: float | None = None
    beyond: dict[float, int] = field(default_factory=dict)
    """By tolerance: number of pairs that differ by more than it."""
    example: str = ""
    """A sentence about the largest difference, or else about a difference that is not a number."""
    _candidate: _Side = field(default_factory=_Side)
    _stable: _Side = field(default_factory=_Side)

    def __post_init__(self) -> None:
        """Set the number of differing pairs to 0 for each tolerance."""
        self.beyond = dict.fromkeys(self.tolerances, 0)

    def add(self, candidate: Iterable[ReportedResponse], stable: Iterable[ReportedResponse]) -> None:
        """Add responses of both sides."""
        for response in candidate:
            self._candidate.seen += 1
            other = self._stable.take(response.key)
            if other is None:
                self._candidate.put(response)
            else:
                self._compare(response, other)
        for response in stable:
            self._stable.seen += 1
            other = self._candidate.take(response.key)
            if other is None:
                self._stable.put(response)
            else:
                self._compare(other, response)

    @property
    def seen(self) -> tuple[int, int]:
        """Return the number of responses of the candidate and of stable.

        Responses without a pair count as well.
        """
        return self._candidate.seen, self._stable.seen

    def _compare(self, candidate: ReportedResponse, stable: ReportedResponse) -> None:
        if not candidate.succeeded and not stable.succeeded:
            return  # both requests failed
        result = difference(candidate, stable)
        self.compared += 1
        for tolerance in self.beyond:
            self.beyond[tolerance] += result.beyond(tolerance)
        if result.unlike:
            self.unlike += 1
            self.example = self.example or result.unlike
        elif result.largest is not None and (self.largest is None or result.largest > self.largest):
            self.largest = result.largest
            self.example = result.place or self.example
