"""From the operator's writes to the pace of rollouts: how long each step was held, and what was written meanwhile.

All of it comes from the API server's audit log: the times are those at which the statuses were written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec

from bench.controlplane import audit

SETTLING = 3.0
"""Seconds after a step's weight is in force in which the status still comes to rest: counts and sentences are written a second late."""
TOLERANCE = 0.1
"""Part of its time by which a step may be late or early."""
VERDICT = "status (new verdict)"
STATUS = "status"
_KINDS = {
    audit.STATUS: STATUS,
    "httproutes": "HTTPRoute",
    "deployments": "Deployment",
    "horizontalpodautoscalers": "HPA",
}


class _Verdict(msgspec.Struct):
    outcome: str | None = None
    metric: str | None = None


class _Rollout(msgspec.Struct, rename="camel"):
    phase: str = ""
    step_index: int | None = None
    accepted_at: str | None = None
    verdict: _Verdict | None = None


class _Status(msgspec.Struct):
    rollout: _Rollout = msgspec.field(default_factory=_Rollout)


class _Written(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


class Write(NamedTuple):
    """One write about a resource."""

    at: datetime
    kind: str


@dataclass
class Stay:
    """A rollout at one step."""

    step: int
    entered: datetime
    accepted: datetime | None = None
    """When status had that the step's weight is in force: the hold's begin."""
    left: datetime | None = None

    def held(self) -> float | None:
        """Seconds of the hold; None while it lasts."""
        return (self.left - self.accepted).total_seconds() if self.left and self.accepted else None

    def whole(self) -> float | None:
        """Seconds of the step, pods and gateway included; None while it lasts."""
        return (self.left - self.entered).total_seconds() if self.left else None


@dataclass
class Life:
    """One resource's rollout."""

    began: datetime | None = None
    ended: datetime | None = None
    stays: list[Stay] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    phase: str = ""
    verdict: tuple[str | None, str | None] = (None, None)


class Pace:
    """What has been heard of all rollouts."""

    def __init__(self, steps: int) -> None:
        """`steps`: how many each rollout has."""
        self._steps = steps
        self.lives: defaultdict[str, Life] = defaultdict(Life)

    def heard(self, request: audit.Request) -> None:
        """Takes note of one request of the operator."""
        if not request.is_write or request.resource == audit.LEASES:
            return
        life = self.lives[_resource(request.name)]
        kind = _KINDS.get(request.resource, request.resource)
        if request.resource == audit.STATUS and request.body and request.code < 400:
            rollout = msgspec.json.decode(request.body, type=_Written).status.rollout
            kind = self._status(life, rollout, request.ended)
        life.writes.append(Write(request.ended, kind))

    def _status(self, life: Life, rollout: _Rollout, at: datetime) -> str:
        told = (rollout.verdict.outcome, rollout.verdict.metric) if rollout.verdict is not None else (None, None)
        news = told not in (life.verdict, (None, None)) and life.phase == rollout.phase
        life.phase, life.verdict = rollout.phase, told
        stay = life.stays[-1] if life.stays else None
        if rollout.step_index is not None:
            if stay is None or (stay.left is None and stay.step != rollout.step_index):
                stay = self._enter(life, stay, rollout.step_index, at)
            if stay.left is None:
                stay.accepted = None if rollout.accepted_at is None else stay.accepted or at
        elif life.stays and rollout.phase == "Idle" and life.ended is None:
            life.ended = at
        return VERDICT if news else STATUS

    def _enter(self, life: Life, before: Stay | None, step: int, at: datetime) -> Stay:
        if before is not None:
            before.left = at
            if step >= self._steps:
                return before
        life.stays.append(Stay(step, at))
        return life.stays[-1]

    def start(self, name: str, at: datetime) -> None:
        """The user changes the resource's spec."""
        self.lives[name] = Life(began=at)

    def over(self) -> int:
        """How many rollouts have ended."""
        return sum(1 for life in self.lives.values() if life.ended is not None)

    def holds(self) -> list[float]:
        """How long each step was held, once it was in force."""
        return [held for stay in self._stays() if (held := stay.held()) is not None]

    def wholes(self) -> list[float]:
        """How long each step took, pods and gateway included."""
        return [whole for stay in self._stays() if (whole := stay.whole()) is not None]

    def _stays(self) -> Iterator[Stay]:
        return (stay for life in self.lives.values() for stay in life.stays)

    def minutes(self) -> float:
        """Rollout-minutes: from the user's change until all is at rest, summed up."""
        return (
            sum((each.ended - each.began).total_seconds() for each in self.lives.values() if each.ended and each.began)
            / 60
        )

    def writes(self) -> Counter[str]:
        """What was written, by kind."""
        return Counter(write.kind for life in self.lives.values() for write in life.writes)

    def writes_in_holds(self, settling: bool) -> Counter[str]:
        """What was written about a rollout while it held: in the first seconds (`settling`), or after them."""
        return Counter(
            write.kind
            for life in self.lives.values()
            for stay in life.stays
            for write in life.writes
            if stay.accepted is not None and stay.left is not None and stay.accepted < write.at < stay.left
            if ((write.at - stay.accepted).total_seconds() <= SETTLING) is settling
        )

    def at_once(self) -> int:
        """The most rollouts that were under way at the same moment."""
        moves = [(each.began, 1) for each in self.lives.values() if each.began and each.ended]
        moves += [(each.ended, -1) for each in self.lives.values() if each.began and each.ended]
        most = now = 0
        for _, change in sorted(moves):
            now += change
            most = max(most, now)
        return most


def _resource(name: str) -> str:
    """The resource that a child (NAME-HASH), or an Event (NAME.SERIAL), is about: names of ours are `model-0042`."""
    return "-".join(name.partition(".")[0].split("-")[:2])


def on_time(measured: Sequence[float], planned: float) -> float:
    """The part of the steps that were held within the tolerance of their time."""
    return sum(abs(each - planned) <= planned * TOLERANCE for each in measured) / len(measured) if measured else 0.0
