"""The assessment of a resource: every fact that follows from a snapshot, derived once a reconcile.

`assess` derives a fact when a rule first asks for it, and keeps it. So each rule reads a named fact, and no two rules
derive the same fact in different ways.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
from sluicegate.api.spec import ModelDeploymentSpec
from sluicegate.api.status import ModelDeploymentStatus, Phase, RevisionStatus, Role, RolloutStatus
from sluicegate.core.models import signature
from sluicegate.core.models.signature import Signature
from sluicegate.core.snapshot.facts import (
    AutoscalerFacts,
    DeploymentFacts,
    PodFacts,
    Revision,
    Share,
    Snapshot,
    Split,
)
from sluicegate.core.snapshot.overrides import Overrides
from sluicegate.core.snapshot.parse import time_of
from sluicegate.core.snapshot.pod_faults import own_fault


def assess(snapshot: Snapshot) -> Assessment:
    """Return the assessment of a resource."""
    return Assessment(snapshot)


@dataclass(frozen=True, eq=False)
class Assessment:
    """A snapshot, and the facts that follow from it."""

    snapshot: Snapshot
    _revisions: dict[RevisionHash | None, RevisionAssessment] = field(default_factory=dict, init=False, repr=False)

    def of(self, revision: RevisionHash | None) -> RevisionAssessment:
        """Return the facts about a revision.

        None, and a hash that no object has, stand for a revision without objects, requests or entries in status.
        """
        if revision not in self._revisions:
            self._revisions[revision] = RevisionAssessment(self, revision)
        return self._revisions[revision]

    @property
    def spec(self) -> ModelDeploymentSpec:
        """The spec of the resource."""
        return self.snapshot.resource.spec

    @property
    def status(self) -> ModelDeploymentStatus:
        """The status of the resource, as the previous reconcile wrote it."""
        return self.snapshot.resource.status

    @property
    def now(self) -> datetime:
        """The current time."""
        return self.snapshot.now

    @cached_property
    def split(self) -> Split:
        """The traffic split of the route. It is empty while there is no route."""
        return self.snapshot.route.split if self.snapshot.route is not None else Split()

    @property
    def routed(self) -> bool:
        """Whether requests come in by a route. Without a gateway, they come in by the Service only."""
        return bool(self.snapshot.gateways)

    @cached_property
    def overrides(self) -> Overrides:
        """What users ask for by annotations, and by spec.paused."""
        return Overrides.parse(self.snapshot.resource)

    @property
    def paused(self) -> bool:
        """Whether spec.paused is true, so that nothing changes."""
        return self.overrides.paused

    @property
    def scaled_to_zero(self) -> bool:
        """Whether the spec asks for no pods. No revision becomes stable or goes to its next step meanwhile."""
        return self.spec.scaling.replicas == 0

    @cached_property
    def pinned(self) -> RevisionHash | None:
        """The revision that the annotation `pin` keeps as it is.

        None without the annotation, or where it names a revision that does not exist.
        """
        pin = self.overrides.pin
        return pin if pin in self.snapshot.revisions else None

    @property
    def desired(self) -> RevisionHash | None:
        """The revision that the base of the spec asks for, or None when it cannot be created."""
        return self.snapshot.desired.revision

    @property
    def desired_canary(self) -> RevisionHash | None:
        """The revision that spec.canary asks for, or None when there is none or it cannot be created."""
        canary = self.snapshot.desired_canary
        return canary.revision if canary is not None else None

    @cached_property
    def problem_deadline_left(self) -> float | None:
        """The seconds of progressDeadline that problems have left to pass by themselves.

        It is 0 when the deadline is over, and None while there is no such problem.
        """
        since = time_of(self.status.problem_since)
        return self.left(since) if since is not None and not self.paused else None

    def left(self, since: datetime) -> float:
        """Return the seconds of progressDeadline that are left, if it counts from `since`."""
        deadline = duration.seconds(self.spec.rollout.progress_deadline)
        return max(0.0, deadline - (self.now - since).total_seconds())

    @cached_property
    def stable(self) -> RevisionHash | None:
        """The stable revision according to status.

        Where the status was lost, it is the revision that the Service selects, if it has ready pods.
        """
        for revision in self.recorded(Role.STABLE):
            if revision in self.snapshot.revisions:
                return revision
        if not self.status.revisions and self.snapshot.service is not None:
            selected = self.of(self.snapshot.service.revision)
            if selected.record is not None and selected.ready:
                return selected.hash
        return None

    def recorded(self, role: Role) -> tuple[RevisionHash, ...]:
        """Return the revisions with a role in status, in its order."""
        return tuple(entry.revision for entry in self.status.revisions if entry.role == role)


@dataclass(frozen=True, eq=False)
class RevisionAssessment:
    """The facts about one revision."""

    _resource: Assessment = field(repr=False)
    hash: RevisionHash | None

    @cached_property
    def record(self) -> Revision | None:
        """What its ControllerRevision says, or None where it has none."""
        return self._snapshot.revisions.get(self.hash) if self.hash is not None else None

    @cached_property
    def deployment(self) -> DeploymentFacts | None:
        """Its Deployment, or None where it has none."""
        return self._snapshot.deployments.get(self.hash) if self.hash is not None else None

    @cached_property
    def autoscaler(self) -> AutoscalerFacts | None:
        """Its HPA, or None where it has none."""
        return self._snapshot.autoscalers.get(self.hash) if self.hash is not None else None

    @cached_property
    def pods(self) -> tuple[PodFacts, ...]:
        """Its pods, including those that are being deleted."""
        return self._snapshot.pods.get(self.hash, ()) if self.hash is not None else ()

    @cached_property
    def live(self) -> tuple[PodFacts, ...]:
        """Its pods that are not being deleted and have not ended."""
        return tuple(pod for pod in self.pods if not pod.deleting and not pod.ended)

    @cached_property
    def ended(self) -> tuple[PodFacts, ...]:
        """Its pods that have ended and that no other pod has replaced yet.

        A replaced pod stays in the API for days, and says nothing about the present.
        """
        if self.deployment is None or len(self.live) >= self.deployment.replicas:
            return ()
        return tuple(pod for pod in self.pods if pod.ended and not pod.deleting)

    @cached_property
    def ready(self) -> frozenset[str]:
        """The names of its pods that are ready and not being deleted."""
        return frozenset(pod.name for pod in self.live if pod.ready)

    @cached_property
    def endpoints(self) -> frozenset[str]:
        """The names of the pods that the EndpointSlices of its own Service list."""
        if self.hash is None:
            return frozenset()
        return self._snapshot.endpoints.get(self._snapshot.child(self.hash), frozenset())

    @cached_property
    def able(self) -> int:
        """How many of its pods are able to serve.

        Such a pod is ready and listed in the EndpointSlices of the revision's own Service.
        """
        return len(self.endpoints & self.ready)

    @cached_property
    def listed(self) -> bool:
        """Whether the EndpointSlices of the stable Service list any of its pods.

        The selector of the Service does not say this, because the EndpointSlices lag behind it.
        """
        listed = self._snapshot.endpoints.get(self._snapshot.resource.metadata.name, frozenset())
        return any(pod.name in listed for pod in self.pods)

    @cached_property
    def released(self) -> bool:
        """Whether the gateway and the Service no longer send requests to it.

        This is judged by the observed route, Service and EndpointSlices, not by the plan.
        """
        snapshot = self._snapshot
        route = snapshot.route if self._resource.routed and snapshot.gateway_api else None
        if route is not None and (not route.accepted or self.hash in route.split.revisions):
            return False
        if snapshot.service is None or snapshot.service.revision in (None, self.hash):
            return False
        return not self.listed

    @cached_property
    def has_traffic(self) -> bool:
        """Whether the route, the Service or its EndpointSlices name it, so that requests may reach it."""
        service = self._snapshot.service
        selected = service is not None and service.revision in (self.hash, None)
        return self.hash in self._resource.split.revisions or selected or self.listed

    @cached_property
    def released_at(self) -> datetime | None:
        """The time since which it has had no traffic. None means that it still has traffic.

        Status records the time for a revision that is losing or has lost its traffic.
        """
        now = self._resource.now
        if not self.released:
            return None
        for entry in self._resource.status.revisions:
            if entry.revision == self.hash and entry.role in (Role.RETIRING, Role.PARKED, Role.FAILED):
                return min(time_of(entry.released_at) or now, now)  # A clock that was set back adds no delay.
        return now

    @cached_property
    def share(self) -> Share:
        """The share that the route gives it now."""
        return self._resource.split.share(self.hash)

    @cached_property
    def failed(self) -> RevisionStatus | None:
        """Its entry in status, if its role there is Failed."""
        entries = self._resource.status.revisions
        return next((entry for entry in entries if entry.revision == self.hash and entry.role == Role.FAILED), None)

    @cached_property
    def rollout(self) -> RolloutStatus | None:
        """The state that status has of its rollout by steps.

        None means that the rollout has not begun its first step, or that it was rolled back or aborted.
        """
        state = self._resource.status.rollout
        if self.hash is None or state is None or state.candidate != self.hash or state.step_index is None:
            return None
        return state if not state.phase.returned else None

    @cached_property
    def rolled_back(self) -> RolloutStatus | None:
        """The state that status has of its rollout, if that was rolled back."""
        state = self._resource.status.rollout
        if self.hash is None or state is None or state.candidate != self.hash or state.phase is not Phase.ROLLED_BACK:
            return None
        return state

    @cached_property
    def retried(self) -> bool:
        """Whether the annotation `retry` asks to try it again.

        An annotation that was already set when the revision was rolled back does not count.
        """
        spent = self.rolled_back is not None and bool(self.rolled_back.retried)
        return self.hash is not None and self._resource.overrides.retry == self.hash and not spent

    @cached_property
    def given_up(self) -> bool:
        """Whether the spec asks for it, but the operator no longer tries it.

        The operator tries the revision again if the annotation `retry` names it.
        """
        desired = {desired_revision.revision for desired_revision in self._snapshot.all_desired}
        if self.hash is None or self.hash not in desired or self.retried:
            return False
        return self.failed is not None or self.rolled_back is not None or self._crashed_until_deadline

    @property
    def _crashed_until_deadline(self) -> bool:
        if self._resource.stable in (None, self.hash) or self._resource.paused or self.ready:
            return False
        crashing = any(own_fault(pod.problem) for pod in self.live)
        left = self.deadline_left if self.hash == self._resource.desired else self.ready_deadline_left
        return crashing and left == 0

    @cached_property
    def started_at(self) -> datetime:
        """When its rollout began, or when the current step of its rollout began.

        Each step counts anew, because it may need more pods.
        """
        rollout = self._resource.status.rollout
        if rollout is not None and rollout.candidate == self.hash:
            return time_of(rollout.step_started_at or rollout.started_at) or self._resource.now
        return self._resource.now

    @cached_property
    def deadline_left(self) -> float | None:
        """The seconds of progressDeadline that its rollout has left.

        It is 0 when the deadline is over, and None where no deadline applies.
        """
        if self.hash is None or self._resource.paused or self.waits_at_zero:
            return None
        return self._resource.left(self.started_at)

    @cached_property
    def awaits_stable(self) -> bool:
        """Whether its pods start only once stable has a ready pod.

        This is so while neither has pods, as after `replicas: 0`. Stable comes back first, because it is what a
        candidate is compared with and rolled back to. A revision does not wait for a stable revision that reports a
        problem, or that is not ready within progressDeadline. Neither does a revision that the user has pinned.
        """
        stable = self._resource.of(self._resource.stable)
        if self.hash is None or stable.hash in (None, self.hash) or self._resource.pinned == self.hash:
            return False
        if stable.ready or self.live or (self.deployment is not None and self.deployment.replicas > 0):
            return False
        if stable.deployment is None or stable.deployment.replica_failure:
            return False
        return stable.ready_deadline_left != 0 and all(pod.problem is None for pod in stable.live)

    @property
    def waits_at_zero(self) -> bool:
        """Whether its rollout stands still, because the resource has no pods or stable comes back first."""
        return self._resource.scaled_to_zero or self.awaits_stable

    @cached_property
    def ready_deadline_left(self) -> float | None:
        """The seconds of progressDeadline that its pods have left to become ready, which is what counts for a canary.

        The deadline counts from the pod that has waited longest. It is 0 when the deadline is over, and None while no
        pod waits, or while enough pods are ready.
        """
        if self.deployment is not None and len(self.ready) >= max(1, self.deployment.replicas):
            return None
        waiting = [time_of(pod.waiting_since) for pod in self.live if not pod.ready]
        since = min((start for start in waiting if start is not None), default=None)
        return self._resource.left(since) if since is not None else None

    @cached_property
    def signature(self) -> Signature | None:
        """The signature that its pods report.

        They report none for a model on a volume or in an image, because no init container fetches it.
        """
        return next((pod.signature for pod in self.live if pod.signature is not None), None)

    @cached_property
    def canary_only(self) -> bool:
        """Whether spec.canary asks for it, and the base of the spec does not."""
        return self.hash is not None and self.hash == self._resource.desired_canary != self._resource.desired

    @cached_property
    def incompatible(self) -> tuple[str, ...]:
        """The signature changes that keep it from getting requests.

        It is empty if the user allows the changes. It is also empty for stable, for a revision that the user has
        pinned, and for a revision whose pods report no signature.
        """
        stable = self._resource.stable
        if self.hash is None or stable is None or self.hash == stable or self._signature_allowed:
            return ()
        old = self._resource.of(stable).signature
        return signature.differences(old, self.signature) if old is not None and self.signature is not None else ()

    @property
    def _signature_allowed(self) -> bool:
        spec = self._resource.spec
        own = spec.canary.model if spec.canary is not None and self.canary_only else None
        allowed = own.allow_signature_change if own is not None else None
        return (spec.model.allow_signature_change if allowed is None else allowed) or self._resource.pinned == self.hash

    @property
    def _snapshot(self) -> Snapshot:
        return self._resource.snapshot
