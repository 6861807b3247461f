"""What is to be true next: the output of a decision and the input of rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.api.status import Role
from sluicegate.api.traffic import ParentRef


@dataclass(frozen=True, slots=True)
class Fixed:
    """A number of pods that we own."""

    replicas: int


@dataclass(frozen=True, slots=True)
class Autoscaled:
    """A range in which an HPA owns the number of pods."""

    min: int
    """Lower bound now: raised above the user's while this revision takes over from a larger one."""
    max: int
    keep_replicas: int | None
    """Value of spec.replicas to go on applying: set while we are its only owner, because dropping it would set it to 1."""
    metrics: tuple[dict[str, Any], ...] | None = None
    behavior: dict[str, Any] | None = None


Scale = Fixed | Autoscaled


@dataclass(frozen=True, slots=True)
class RevisionPlan:
    """One revision and what it should have."""

    hash: str
    role: Role
    scale: Scale
    new: bool = False
    """Whether its ControllerRevision has to be made."""

    @property
    def parked(self) -> bool:
        """Whether it only exists for a rollback."""
        return self.role is Role.PARKED


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """The HTTPRoute."""

    parent_refs: tuple[ParentRef, ...]
    hostnames: tuple[str, ...]
    path_prefix: str
    timeout_seconds: float | None
    """None where the gateway's class does not support request timeouts."""
    weights: Mapping[str, int]
    """Weight by revision hash; they sum to 100."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of what should be, apart from the status."""

    stable: str | None
    target: str | None
    """The revision that is to take over; None when it already has, or when there is none."""
    revisions: tuple[RevisionPlan, ...] = ()
    service_revision: str | None = None
    """Hash in the stable Service's selector; None widens it to all revisions."""
    has_service: bool = False
    route: RoutePlan | None = None
    """The route to apply; None leaves one that exists as it is, unless `drop_route`."""
    drop_route: bool = False
    forgotten: tuple[str, ...] = ()
    """Hashes of revisions beyond historyLimit, to be deleted."""
    shifted: bool = False
    """Whether all traffic has moved to the stable revision."""
    recheck_after: float | None = None
    """Seconds until time alone may change the plan."""
