"""The decision: what the desired state is, given an assessment.

Decisions are level-triggered. The operator remembers nothing but what status records, which is the roles of revisions
and since when a revision has had no traffic. So the same snapshot always gives the same plan, and a plan that is in
effect gives itself again. Changes happen in the order that loses no request: scale up, Ready, listed in EndpointSlices,
route accepted, Service moved, delay, scale down.
"""

from __future__ import annotations

from collections.abc import Iterator

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
from sluicegate.api.status import Role
from sluicegate.core.decide.roles import assign_roles
from sluicegate.core.decide.traffic import drops_route, route_of, service_revision, shifted
from sluicegate.core.plan import scaling
from sluicegate.core.plan.types import Fixed, Plan, RevisionPlan, RevisionRoles
from sluicegate.core.rollout import canary, in_place, machine
from sluicegate.core.rollout.candidate import prepared_candidate
from sluicegate.core.snapshot import settling, staleness
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Revision

KEPT_WARM = 2
"""The largest number of revisions that keep their pods for scaleDownDelay at once. One is left by a change of the
stable revision, and one by a change of the canary."""


def decide(assessment: Assessment) -> Plan:
    """Return the plan for one resource."""
    roles = assign_roles(assessment)
    if not roles.all:
        return Plan(revisions=_parked(assessment, ()), recheck_after=_soonest(assessment.problem_deadline_left))
    leaving = _leaving(assessment, roles)
    warm = [revision for revision in leaving if assessment.of(revision).released]
    kept = [revision for revision in warm if _delay_left(assessment, revision) > 0][:KEPT_WARM]
    going = tuple(revision for revision in leaving if revision not in warm or revision in kept)
    live = (*_serving(assessment, roles), *(_retiring(assessment, revision) for revision in going))
    parked = _parked(assessment, tuple(entry.hash for entry in live))
    moved = shifted(assessment, roles)
    forgotten = _forgotten(assessment, parked, live, calm=moved and not going)
    return Plan(
        roles=roles,
        revisions=live + tuple(entry for entry in parked if entry.hash not in forgotten),
        has_service=True,
        service_revision=service_revision(assessment, roles),
        route=route_of(assessment, roles),
        drop_route=drops_route(assessment),
        forgotten=forgotten,
        shifted=moved,
        recheck_after=_soonest(
            *(_delay_left(assessment, revision) for revision in kept),
            _problem_deadline_left(assessment, roles),
            assessment.of(roles.next_stable).deadline_left,
            *(assessment.of(revision).ready_deadline_left for revision in roles.all),
            machine.recheck_after(assessment, roles.next_stable if roles.progressive else None),
            settling.settling_left(assessment, assessment.of(roles.stable)),
            scaling.patience_left(assessment, roles.stable),
            staleness.patience_left(assessment, roles.stable),
        ),
    )


def _serving(assessment: Assessment, roles: RevisionRoles) -> Iterator[RevisionPlan]:
    """Yield the plans of the stable revision, the next stable revision and the canaries."""
    base, candidate = assessment.spec.scaling, roles.candidate
    frozen = (
        assessment.split.weight(roles.next_stable) if roles.next_stable is not None and not roles.progressive else 0
    )
    share = frozen or (candidate.share.weight if candidate is not None else 0)
    if roles.stable is not None:
        remaining = in_place.remaining(assessment, roles)
        scale = remaining or scaling.scale_of(assessment, roles.stable, base, _stable_carries(assessment, roles, share))
        yield RevisionPlan(roles.stable, Role.STABLE, scale, _new(assessment, roles.stable), 100 - share)
    if roles.next_stable is not None:
        yield _target(assessment, roles, roles.next_stable, frozen)
    for revision, role in ((roles.canary, Role.CANARY), (roles.next_canary, Role.NEXT_CANARY)):
        if revision is not None:
            scale = scaling.candidate_scale(assessment, canary.candidate(assessment, revision), roles.stable)
            weight = share if role is Role.CANARY and not frozen else 0
            yield RevisionPlan(revision, role, scale, _new(assessment, revision), weight)


def _stable_carries(assessment: Assessment, roles: RevisionRoles, share: int) -> int | None:
    """Return the percent of the requests that stable is scaled up for, or None.

    None means that stable need not be able to carry more than it receives now. While a next stable revision receives
    requests, stable must be able to carry all of them until the next stable revision is promoted, because a rollback
    must not wait for pods.
    """
    if roles.next_stable is not None and (roles.progressive or assessment.split.weight(roles.next_stable)):
        return 100
    now = assessment.split.weight(roles.stable)
    return 100 - share if assessment.split.weights and 100 - share > now else None


def _target(assessment: Assessment, roles: RevisionRoles, next_stable: RevisionHash, frozen: int) -> RevisionPlan:
    """Return the plan of the revision that is rolled out to become stable.

    It has the pods for its step, or for all requests where there are no steps.
    """
    candidate = prepared_candidate(assessment, roles)
    if assessment.of(next_stable).awaits_stable:
        return RevisionPlan(next_stable, Role.CANDIDATE, Fixed(0), _new(assessment, next_stable), frozen)
    if roles.progressive and candidate is not None:
        scale = scaling.candidate_scale(assessment, candidate, roles.stable)
        weight = roles.candidate.share.weight if roles.candidate is not None else 0
        return RevisionPlan(next_stable, Role.CANDIDATE, scale, _new(assessment, next_stable), weight)
    growing = 100 if roles.stable is not None else None
    scale = scaling.scale_of(assessment, next_stable, assessment.spec.scaling, growing)
    return RevisionPlan(next_stable, Role.CANDIDATE, scale, _new(assessment, next_stable), frozen)


def _new(assessment: Assessment, revision: RevisionHash) -> bool:
    return revision not in assessment.snapshot.revisions


def _retiring(assessment: Assessment, revision: RevisionHash) -> RevisionPlan:
    """Return the plan of a revision that is losing its traffic.

    It keeps the pods that it has, because an HPA would remove them too early.
    """
    deployment = assessment.of(revision).deployment
    return RevisionPlan(revision, Role.RETIRING, Fixed(deployment.replicas if deployment is not None else 0))


def _leaving(assessment: Assessment, roles: RevisionRoles) -> tuple[RevisionHash, ...]:
    """Return the revisions that are losing their traffic or have just lost it.

    The one that served last comes first.
    """
    served = [revision for role in (Role.STABLE, Role.CANARY, Role.RETIRING) for revision in assessment.recorded(role)]
    served += [revision for revision in assessment.recorded(Role.CANDIDATE) if _may_have_traffic(assessment, revision)]
    recorded = [
        revision_hash
        for revision_hash in (*served, *_lately_released(assessment))
        if revision_hash in assessment.snapshot.revisions
    ]
    for revision in _by_number(assessment):
        facts = assessment.of(revision.hash)
        if revision.hash not in recorded and facts.has_traffic and facts.ready:
            recorded.append(revision.hash)
    leaving = (assessment.of(revision_hash) for revision_hash in recorded if revision_hash not in roles.all)
    return tuple(
        facts.hash
        for facts in leaving
        if facts.hash is not None and facts.pods and (facts.ready or not (facts.given_up and facts.released))
    )


def _lately_released(assessment: Assessment) -> list[RevisionHash]:
    """Return the revisions without traffic whose pods are not scaled down yet.

    The one that served last comes first.
    """
    without = (Role.PARKED, Role.FAILED)
    entries = [entry for entry in assessment.status.revisions if entry.role in without and entry.released_at]
    replicas = {revision: deployment.replicas for revision, deployment in assessment.snapshot.deployments.items()}
    entries.sort(key=lambda entry: entry.released_at or "", reverse=True)
    return [entry.revision for entry in entries if replicas.get(entry.revision)]


def _may_have_traffic(assessment: Assessment, next_stable: RevisionHash) -> bool:
    """Tell whether a former next stable revision may receive requests.

    It may receive them by the route, or because the gateway has not applied the next route yet.
    """
    state = assessment.status.rollout
    progressive = state is not None and state.candidate == next_stable and state.step_index is not None
    facts = assessment.of(next_stable)
    return facts.has_traffic or (progressive and not facts.released)


def _delay_left(assessment: Assessment, revision: RevisionHash) -> float:
    """Return the seconds of scaleDownDelay left to a revision without traffic."""
    since = assessment.of(revision).released_at or assessment.now
    delay = duration.seconds(assessment.spec.rollout.scale_down_delay)
    return max(0.0, delay - (assessment.now - since).total_seconds())


def _problem_deadline_left(assessment: Assessment, roles: RevisionRoles) -> float | None:
    """Return the seconds after which problems are no longer left to pass by themselves.

    Status does not have the time yet when the API server has just refused a pod.
    """
    deployments = (assessment.of(revision).deployment for revision in roles.all)
    if assessment.status.problem_since is None and any(
        deployment is not None and deployment.replica_failure for deployment in deployments
    ):
        return assessment.left(assessment.now)
    return assessment.problem_deadline_left


def _soonest(*seconds: float | None) -> float | None:
    return min((delay for delay in seconds if delay), default=None)


def _by_number(assessment: Assessment) -> list[Revision]:
    return sorted(assessment.snapshot.revisions.values(), key=lambda revision: -revision.number)


def _parked(assessment: Assessment, live: tuple[RevisionHash, ...]) -> tuple[RevisionPlan, ...]:
    return tuple(
        RevisionPlan(revision.hash, Role.FAILED if assessment.of(revision.hash).given_up else Role.PARKED, Fixed(0))
        for revision in _by_number(assessment)
        if revision.hash not in live
    )


def _forgotten(
    assessment: Assessment, parked: tuple[RevisionPlan, ...], live: tuple[RevisionPlan, ...], calm: bool
) -> tuple[RevisionHash, ...]:
    """Return the revisions and Deployments to delete.

    These are drained parked revisions beyond historyLimit, and Deployments whose ControllerRevision no longer exists. A
    failed revision is kept, because otherwise the operator would create it and try it anew. A Deployment without a
    ControllerRevision cannot be rendered, so the operator cannot scale it down. It is deleted once it has no ready
    pods, or once it can receive no traffic (`calm`).
    """
    limit = assessment.spec.rollout.history_limit
    beyond = {entry.hash for entry in [plan for plan in parked if plan.role is Role.PARKED][limit:]}
    orphans = set(assessment.snapshot.deployments) - set(assessment.snapshot.revisions) - {entry.hash for entry in live}
    drained = {revision for revision in beyond | orphans if not assessment.of(revision).ready}
    return tuple(sorted(drained | orphans if calm else drained))
