"""The pace of rollouts: how long each step held, and the writes in the meantime.

Everything is derived from the operator's writes in the API server's audit log.
The times are those at which the statuses were written.
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
"""Seconds after a step's weight is in force in which the operator may still write the status.

It writes counts and messages up to a second late.
"""
TOLERANCE = 0.1
"""Fraction of the planned hold by which a step may be late or early."""
NEW_OUTCOME = "status (new outcome)"
STATUS = "status"
_KINDS = {
    audit.STATUS: STATUS,
    "httproutes": "HTTPRoute",
    "deployments": "Deployment",
    "horizontalpodautoscalers": "HPA",
}


class _Analysis(msgspec.Struct):
    outcome: str | None = None
    metric: str | None = None


class _Rollout(msgspec.Struct, rename="camel"):
    phase: str = ""
    step_index: int | None = None
    accepted_at: str | None = None
    analysis: _Analysis | None = None


class _Status(msgspec.Struct):
    rollout: _Rollout = msgspec.field(default_factory=_Rollout)


class _Written(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


class Write(NamedTuple):
    """One write of a resource or one of its children."""

    at: datetime
    kind: str


@dataclass
class Stay:
    """The time that a rollout spends at one step."""

    step: int
    entered: datetime
    accepted: datetime | None = None
    """The time at which status reported that the step's weight is in force. The hold begins here."""
    left: datetime | None = None

    def held(self) -> float | None:
        """Return the duration of the hold in seconds, or None if it has not ended."""
        return (self.left - self.accepted).total_seconds() if self.left and self.accepted else None

    def whole(self) -> float | None:
        """Return the duration of the step in seconds, or None if it has not ended.

        The duration includes the start of pods and the update of the gateway.
        """
        return (self.left - self.entered).total_seconds() if self.left else None


@dataclass
class Life:
    """The rollout of one resource."""

    began: datetime | None = None
    ended: datetime | None = None
    stays: list[Stay] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    phase: str = ""
    outcome: tuple[str | None, str | None] = (None, None)


class Pace:
    """The observations of all rollouts."""

    def __init__(self, steps: int) -> None:
        """Start without observations.

        Args:
            steps: number of steps in each rollout
        """
        self._steps = steps
        self.lives: defaultdict[str, Life] = defaultdict(Life)

    def heard(self, request: audit.Request) -> None:
        """Record one request of the operator."""
        if not request.is_write or request.resource == audit.LEASES:
            return
        life = self.lives[_resource(request.name)]
        kind = _KINDS.get(request.resource, request.resource)
        if request.resource == audit.STATUS and request.body and request.code < 400:
            rollout = msgspec.json.decode(request.body, type=_Written).status.rollout
            kind = self._status(life, rollout, request.ended)
        life.writes.append(Write(request.ended, kind))

    def _status(self, life: Life, rollout: _Rollout, at: datetime) -> str:
        outcome = (rollout.analysis.outcome, rollout.analysis.metric) if rollout.analysis is not None else (None, None)
        news = outcome not in (life.outcome, (None, None)) and life.phase == rollout.phase
        life.phase, life.outcome = rollout.phase, outcome
        stay = life.stays[-1] if life.stays else None
        if rollout.step_index is not None:
            if stay is None or (stay.left is None and stay.step != rollout.step_index):
                stay = self._enter(life, stay, rollout.step_index, at)
            if stay.left is None:
                stay.accepted = None if rollout.accepted_at is None else stay.accepted or at
        elif life.stays and rollout.phase == "Idle" and life.ended is None:
            life.ended = at
        return NEW_OUTCOME if news else STATUS

    def _enter(self, life: Life, before: Stay | None, step: int, at: datetime) -> Stay:
        if before is not None:
            before.left = at
            if step >= self._steps:
                return before
        life.stays.append(Stay(step, at))
        return life.stays[-1]

    def start(self, name: str, at: datetime) -> None:
        """Record that the user changes the spec of the resource `name`."""
        self.lives[name] = Life(began=at)

    def over(self) -> int:
        """Return the number of rollouts that have ended."""
        return sum(1 for life in self.lives.values() if life.ended is not None)

    def holds(self) -> list[float]:
        """Return the duration of every hold in seconds, counted from when the weight is in force."""
        return [held for stay in self._stays() if (held := stay.held()) is not None]

    def wholes(self) -> list[float]:
        """Return the duration of every step in seconds, pods and gateway included."""
        return [whole for stay in self._stays() if (whole := stay.whole()) is not None]

    def _stays(self) -> Iterator[Stay]:
        return (stay for life in self.lives.values() for stay in life.stays)

    def minutes(self) -> float:
        """Return the total duration of all rollouts in minutes.

        A rollout lasts from the user's change until its phase is Idle again.
        """
        return (
            sum((live.ended - live.began).total_seconds() for live in self.lives.values() if live.ended and live.began)
            / 60
        )

    def writes(self) -> Counter[str]:
        """Return the number of writes, by kind."""
        return Counter(write.kind for life in self.lives.values() for write in life.writes)

    def writes_in_holds(self, settling: bool) -> Counter[str]:
        """Return the number of writes during holds, by kind.

        Args:
            settling: count the writes in the first `SETTLING` seconds of each hold; otherwise those after them
        """
        return Counter(
            write.kind
            for life in self.lives.values()
            for stay in life.stays
            for write in life.writes
            if stay.accepted is not None and stay.left is not None and stay.accepted < write.at < stay.left
            if ((write.at - stay.accepted).total_seconds() <= SETTLING) is settling
        )

    def at_once(self) -> int:
        """Return the largest number of rollouts in progress at the same time."""
        moves = [(live.began, 1) for live in self.lives.values() if live.began and live.ended]
        moves += [(live.ended, -1) for live in self.lives.values() if live.began and live.ended]
        most = now = 0
        for _, change in sorted(moves):
            now += change
            most = max(most, now)
        return most


def _resource(name: str) -> str:
    """Return the name of the resource that a child (NAME-HASH) or an Event (NAME.SERIAL) belongs to.

    The resources of this benchmark have names such as `model-0042`.
    """
    return "-".join(name.partition(".")[0].split("-")[:2])


def on_time(measured: Sequence[float], planned: float) -> float:
    """Return the fraction of the holds that are within `TOLERANCE` of the planned duration."""
    return sum(abs(each - planned) <= planned * TOLERANCE for each in measured) / len(measured) if measured else 0.0
