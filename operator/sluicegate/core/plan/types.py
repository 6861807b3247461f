"""What is to be true next: the output of a decision and the input of rendering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluicegate.api.status import Role
from sluicegate.api.traffic import ParentRef
from sluicegate.core.plan.share import Candidate
from sluicegate.core.snapshot.facts import Split


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
    weight: int = 0
    """Percent of the requests that it should have once all is as declared."""

    @property
    def parked(self) -> bool:
        """Whether it has nothing but its record and an empty Deployment."""
        return self.role in (Role.PARKED, Role.FAILED)


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """The HTTPRoute."""

    parent_refs: tuple[ParentRef, ...]
    hostnames: tuple[str, ...]
    path_prefix: str
    timeout_seconds: float | None
    """None where the gateway's class does not support request timeouts."""
    split: Split


@dataclass(frozen=True, slots=True)
class RevisionRoles:
    """Who is who among the revisions."""

    stable: str | None = None
    target: str | None = None
    """The revision that is to become stable; None when it already is, or when there is none."""
    canary: str | None = None
    """The revision that has, or gets once it is ready, the canary's share."""
    next_canary: str | None = None
    """The revision that takes the canary's place once it is ready."""
    progressive: bool = False
    """Whether the target takes the traffic by the steps of a rollout."""

    candidate: Candidate | None = None
    """What shares the requests with stable, and its part of them: the canary, or a target that comes by steps."""

    @property
    def candidate_hash(self) -> str | None:
        """The revision that shares the requests with stable."""
        return self.candidate.revision if self.candidate is not None else None

    @property
    def all(self) -> tuple[str, ...]:
        """Those that there are."""
        everyone = (self.stable, self.target, self.canary, self.next_canary)
        return tuple(each for each in everyone if each is not None)


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of what should be, apart from the status."""

    roles: RevisionRoles = RevisionRoles()
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
    """Whether every way in has let go of all revisions but stable and canary."""
    recheck_after: float | None = None
    """Seconds until time alone may change the plan."""

    @property
    def stable(self) -> str | None:
        """The revision that serves."""
        return self.roles.stable

    @property
    def target(self) -> str | None:
        """The revision that is to become stable."""
        return self.roles.target

    @property
    def canary(self) -> str | None:
        """The revision beside the stable one."""
        return self.roles.canary

    def of(self, revision: str) -> RevisionPlan | None:
        """The plan of one revision."""
        return next((entry for entry in self.revisions if entry.hash == revision), None)
