"""The plan: the output of a decision and the input of rendering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluicegate.api.names import RevisionHash
from sluicegate.api.status import Role
from sluicegate.api.traffic import ParentRef
from sluicegate.core.plan.share import Candidate
from sluicegate.core.snapshot.facts import Split


@dataclass(frozen=True, slots=True)
class Fixed:
    """A number of pods that the operator owns."""

    replicas: int


@dataclass(frozen=True, slots=True)
class Autoscaled:
    """A range in which an HPA owns the number of pods."""

    min: int
    """The lower bound now. It is above the user's while this revision replaces a larger one."""
    max: int
    keep_replicas: int | None
    """The value of spec.replicas to go on applying while the operator is its only owner, because dropping the field
    would set it to 1. None leaves the number to the HPA."""
    metrics: tuple[dict[str, Any], ...] | None = None
    behavior: dict[str, Any] | None = None


Scale = Fixed | Autoscaled


@dataclass(frozen=True, slots=True)
class RevisionPlan:
    """One revision and what it should have."""

    hash: RevisionHash
    role: Role
    scale: Scale
    new: bool = False
    """Whether its ControllerRevision is still to be created."""
    weight: int = 0
    """The percent of the requests that it should receive once the cluster is as declared."""

    @property
    def parked(self) -> bool:
        """Tell whether it has only its ControllerRevision and an empty Deployment."""
        return self.role in (Role.PARKED, Role.FAILED)


@dataclass(frozen=True, slots=True)
class RouteShift:
    """What the route keeps of an earlier spec until its gateways accept what the spec asks for now."""

    parent_refs: tuple[ParentRef, ...] = ()
    hostnames: tuple[str, ...] = ()
    all_hostnames: bool = False
    """Whether the route has no host names yet, and so all of its listeners', because the new ones are on none."""
    path_prefixes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether the route keeps anything."""
        return bool(self.parent_refs or self.hostnames or self.all_hostnames or self.path_prefixes)


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """The HTTPRoute, with what it keeps of an earlier spec."""

    parent_refs: tuple[ParentRef, ...]
    hostnames: tuple[str, ...]
    path_prefixes: tuple[str, ...]
    timeout_seconds: float | None
    """None where the GatewayClass does not support request timeouts."""
    split: Split
    shift: RouteShift = RouteShift()


@dataclass(frozen=True, slots=True)
class RevisionRoles:
    """Which revision is stable, and which ones are rolled out or run as a canary."""

    stable: RevisionHash | None = None
    next_stable: RevisionHash | None = None
    """The revision that is rolled out to become stable. None when it already is stable, or when there is none."""
    canary: RevisionHash | None = None
    """The revision that has the canary's share, or gets it once it is ready."""
    next_canary: RevisionHash | None = None
    """The revision that replaces the canary once it is ready."""
    progressive: bool = False
    """Whether the next stable revision is rolled out by steps."""

    candidate: Candidate | None = None
    """The revision that shares the requests with the stable one, with its share. It is the canary, or a next stable
    revision that is rolled out by steps."""

    @property
    def candidate_hash(self) -> RevisionHash | None:
        """Return the hash of the candidate, or None when there is none."""
        return self.candidate.revision if self.candidate is not None else None

    @property
    def all(self) -> tuple[RevisionHash, ...]:
        """Return all revisions that have a role."""
        revisions = (self.stable, self.next_stable, self.canary, self.next_canary)
        return tuple(revision for revision in revisions if revision is not None)


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole desired state except the status."""

    roles: RevisionRoles = RevisionRoles()
    revisions: tuple[RevisionPlan, ...] = ()
    service_revision: RevisionHash | None = None
    """The hash in the selector of the stable Service. None selects the pods of all revisions."""
    has_service: bool = False
    route: RoutePlan | None = None
    """The route to apply. None leaves an existing route as it is, unless `drop_route` is set."""
    drop_route: bool = False
    forgotten: tuple[RevisionHash, ...] = ()
    """Hashes of revisions beyond historyLimit, and of Deployments without a ControllerRevision, to be deleted."""
    shifted: bool = False
    """Whether the gateway and the Service send requests to no other revision than the stable one and the candidate."""
    recheck_after: float | None = None
    """Seconds until the plan may change without a change of any fact but the time."""

    @property
    def stable(self) -> RevisionHash | None:
        """Return the stable revision."""
        return self.roles.stable

    @property
    def next_stable(self) -> RevisionHash | None:
        """Return the revision that is rolled out to become stable."""
        return self.roles.next_stable

    @property
    def canary(self) -> RevisionHash | None:
        """Return the canary."""
        return self.roles.canary

    def of(self, revision: RevisionHash) -> RevisionPlan | None:
        """Return the plan of one revision, or None when the plan does not have it."""
        return next((entry for entry in self.revisions if entry.hash == revision), None)
