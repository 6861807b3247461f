"""The status that users read, composed from the snapshot and the plan."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from sluicegate.api import names
from sluicegate.api.free_objects import TooLarge
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import (
    ConditionType,
    ModelDeploymentStatus,
    ModelStatus,
    Phase,
    RevisionStatus,
    Role,
    RolloutStatus,
)
from sluicegate.core.decide.roles import aborted
from sluicegate.core.plan.types import Autoscaled, Fixed, Plan, RevisionPlan
from sluicegate.core.rollout import give_up, machine, way_back
from sluicegate.core.rollout.canary import canary_view
from sluicegate.core.snapshot import staleness
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import DesiredRevision, Problem, Revision
from sluicegate.core.snapshot.parse import text_of
from sluicegate.core.status import conditions, diagnosis, step_observation
from sluicegate.core.status.condition_state import ConditionState
from sluicegate.core.status.url import url


def compose(assessment: Assessment, plan: Plan, refused: Problem | None = None) -> ModelDeploymentStatus:
    """Compose the whole status.

    Args:
        assessment: The facts that the plan was made from.
        plan: The operator's decision.
        refused: Problem that the API server reported when the operator applied the plan, if any.
    """
    problems = diagnosis.diagnose(assessment, plan, refused)
    state = _rollout(assessment, plan, problems)
    name = assessment.snapshot.resource.metadata.name
    serving = plan.stable or plan.next_stable
    return ModelDeploymentStatus(
        observed_generation=assessment.snapshot.resource.metadata.generation,
        conditions=conditions.stamp(
            assessment.snapshot.resource, assessment.now, conditions.condition_states(assessment, plan, problems, state)
        ),
        operator="/".join(assessment.snapshot.settings.lease),
        problem_since=assessment.status.problem_since or text_of(assessment.now) if problems.passing else None,
        url=url(assessment, plan),
        address=f"http://{name}.{assessment.snapshot.resource.metadata.namespace}.svc" if plan.has_service else None,
        replicas=sum(1 for _ in assessment.of(plan.stable).live),
        selector=f"{names.LABEL_DEPLOYMENT}={name},{names.LABEL_REVISION}={serving}" if serving else None,
        canary=_canary(assessment, plan),
        model=_base_model(assessment),
        canary_model=_canary_model(assessment),
        newer=staleness.newer(assessment, plan.stable),
        revisions=tuple(_revision(assessment, plan, entry) for entry in plan.revisions),
        rollout=state,
        previous=way_back.previous(assessment, plan.stable),
    )


def too_large(resource: ModelDeployment, problem: TooLarge, now: datetime) -> ModelDeploymentStatus:
    """Return the status of a resource whose spec is too large to be used.

    The conditions Ready, Reconciling and Stalled report it. Everything else stays as it was.
    """
    message = f"{problem} Until then, the operator changes nothing."
    status = _not_ready(resource, Reason.FIELD_TOO_LARGE, message, now, stalled=True)
    return replace(status, observed_generation=resource.metadata.generation)


def internal_error(resource: ModelDeployment, error: BaseException, now: datetime) -> ModelDeploymentStatus:
    """Return the status after a reconcile that raised an unexpected exception.

    The conditions Ready, Reconciling and Stalled report it. Everything else stays as it was. The message has only the
    type of the exception.
    """
    message = (
        f"The reconcile failed with an unexpected {type(error).__name__}. Report it as a bug, with the traceback from "
        "the operator's log. The current revision keeps serving, and the operator retries."
    )
    return _not_ready(resource, Reason.INTERNAL_ERROR, message, now)


def other_operator(resource: ModelDeployment, operator: str, now: datetime) -> ModelDeploymentStatus:
    """Return the status of a resource that another operator should act on, but does not report on.

    It stays as it was apart from the conditions Ready, Reconciling and Stalled.

    Args:
        resource: The resource.
        operator: The namespace and name of the other operator's Lease.
        now: The current time.
    """
    message = (
        f"The operator with the Lease {operator} acts on this namespace, so this one stands back, but the other one "
        "has not reported on the current spec. Check its log, or uninstall it."
    )
    return _not_ready(resource, Reason.OTHER_OPERATOR, message, now)


def _not_ready(
    resource: ModelDeployment, reason: Reason, message: str, now: datetime, *, stalled: bool = False
) -> ModelDeploymentStatus:
    """Return the status with the conditions Ready, Reconciling and Stalled of a reconcile that decided nothing."""
    problem = ConditionState("False", reason, message)
    reconciling = problem if stalled else ConditionState("True", reason, message)
    stuck = ConditionState("True", reason, message) if stalled else ConditionState("False", Reason.NOT_STALLED, "")
    states = {ConditionType.READY: problem, ConditionType.RECONCILING: reconciling, ConditionType.STALLED: stuck}
    failed = conditions.stamp(resource, now, states)
    merged = {condition.type: condition for condition in (*resource.status.conditions, *failed)}
    return replace(resource.status, conditions=tuple(merged.values()))


def _canary(assessment: Assessment, plan: Plan) -> str | None:
    """Return the accepted weight of the candidate, for the printer column.

    The candidate is a declared canary, or the new revision of a rollout by steps.
    """
    if plan.roles.candidate_hash is None:
        return None
    weight = _accepted(assessment, plan, plan.roles.candidate_hash)
    return f"{'' if assessment.routed else '~'}{weight or 0}%"


def _base_model(assessment: Assessment) -> ModelStatus | None:
    """Return what the base of the spec resolved to.

    While it does not resolve, the model that was pinned before stays.
    """
    return _model(assessment, assessment.snapshot.desired, assessment.spec.model.uri, assessment.status.model)


def _canary_model(assessment: Assessment) -> ModelStatus | None:
    view = canary_view(assessment.snapshot.resource)
    if view is None or assessment.snapshot.desired_canary is None:
        return None
    return _model(assessment, assessment.snapshot.desired_canary, view.spec.model.uri, assessment.status.canary_model)


def _model(
    assessment: Assessment, desired: DesiredRevision, uri: str, before: ModelStatus | None
) -> ModelStatus | None:
    resolved = desired.resolved
    if resolved is None or desired.intent is None:
        return before
    same = before is not None and (before.uri, before.source, before.version) == (
        uri,
        resolved.source,
        resolved.version,
    )
    return ModelStatus(
        uri=uri,
        registry=desired.intent.registry,
        source=resolved.source,
        name=resolved.name,
        version=resolved.version,
        run_id=resolved.run_id,
        model_id=resolved.model_id,
        digest=_digest(assessment, desired.revision) or (before.digest if same and before is not None else None),
        registered_at=resolved.registered_at,
        resolved_at=before.resolved_at if same and before is not None else text_of(assessment.now),
    )


def _digest(assessment: Assessment, revision: RevisionHash | None) -> str | None:
    """Return the digest of the artifacts that the ready pods fetched.

    Other pods do not count. So the digest changes together with the number of ready pods, and needs no status write of
    its own.
    """
    digests = {pod.digest for pod in assessment.of(revision).live if pod.digest and pod.ready}
    return digests.pop() if len(digests) == 1 else None


def _revision(assessment: Assessment, plan: Plan, entry: RevisionPlan) -> RevisionStatus:
    record = assessment.snapshot.revisions.get(entry.hash) or _unborn(assessment, entry.hash)
    free_since = _free_since(assessment, entry)
    parked = entry.parked or free_since is not None
    reason, message = _why(assessment, entry, parked)
    return RevisionStatus(
        name=assessment.snapshot.child(entry.hash),
        revision=entry.hash,
        number=record.number,
        role=_role(assessment, entry, parked).value,
        model=record.model,
        version=record.version,
        weight=entry.weight,
        accepted_weight=None if parked else _accepted(assessment, plan, entry.hash),
        replicas=0 if parked else _replicas(assessment, entry),
        ready_replicas=0 if parked else len(assessment.of(entry.hash).ready),
        registered_at=_registered_at(assessment, entry.hash),
        released_at=free_since,
        reason=reason,
        message=message,
    )


def _registered_at(assessment: Assessment, revision: RevisionHash) -> str | None:
    """Return when the model version of `revision` was registered.

    The time comes with the resolution that made the revision. Status keeps it from then on.
    """
    for desired in assessment.snapshot.all_desired:
        if desired.intent is not None and desired.intent.hash == revision and desired.resolved:
            return desired.resolved.registered_at
    return next(
        (recorded.registered_at for recorded in assessment.status.revisions if recorded.revision == revision), None
    )


def _role(assessment: Assessment, entry: RevisionPlan, parked: bool) -> Role:
    """Return the role of a revision that users see.

    A revision without traffic is Parked or Failed, although its pods stay for scaleDownDelay.
    """
    if not parked or entry.role is Role.FAILED:
        return entry.role
    return Role.FAILED if assessment.of(entry.hash).given_up else Role.PARKED


def _why(assessment: Assessment, entry: RevisionPlan, parked: bool) -> tuple[str | None, str | None]:
    """Return (reason, message) of what keeps a revision from being ready.

    A failed revision keeps the last problem that its pods reported.
    """
    before = assessment.of(entry.hash).failed
    if entry.role is Role.FAILED and before is not None:
        return before.reason, before.message
    problem = give_up.rollback_problem(assessment, entry.hash)
    if problem is None and (entry.role is Role.FAILED or not parked):
        problem = diagnosis.revision_problem(assessment, entry.hash)
    return (problem.reason, conditions.shortened(problem.message)) if problem is not None else (None, None)


def _free_since(assessment: Assessment, entry: RevisionPlan) -> str | None:
    """Return when the traffic left a revision, or None.

    The revision is Parked from then on. So when the operator removes its pods later, status does not change.
    """
    if entry.role is Role.RETIRING:
        since = assessment.of(entry.hash).released_at
        return text_of(since) if since is not None else None
    if entry.parked:
        recorded = (status for status in assessment.status.revisions if status.revision == entry.hash)
        return next((status.released_at for status in recorded), None)
    return None


def _replicas(assessment: Assessment, entry: RevisionPlan) -> int:
    """Return the number of pods that the revision should have now.

    The operator decides it, unless an HPA does. Then it is the number in the revision's Deployment.
    """
    match entry.scale:
        case Fixed(replicas):
            return replicas
        case Autoscaled(keep_replicas=int(kept)):
            return kept
    deployment = assessment.of(entry.hash).deployment
    return deployment.replicas if deployment is not None else 0


def _unborn(assessment: Assessment, revision: RevisionHash) -> Revision:
    """Return the record that a new revision will have.

    The operator creates that record in the same reconcile.
    """
    number = 1 + max((record.number for record in assessment.snapshot.revisions.values()), default=0)
    for desired in assessment.snapshot.all_desired:
        intent = desired.intent
        if intent is not None and intent.hash == revision:
            return Revision(revision, number, intent.display, intent.model.version, intent.model.source)
        number += desired.revision not in (None, *assessment.snapshot.revisions)
    return Revision(revision, number, "", None, "")


def _accepted(assessment: Assessment, plan: Plan, revision: RevisionHash) -> int | None:
    """Return the weight that the gateway has accepted for `revision`.

    Without a gateway, it is the revision's share of the Service's endpoints, which is approximately the weight.
    """
    if plan.stable is None:
        return None
    if assessment.routed:
        return (
            assessment.split.weight(revision)
            if assessment.snapshot.route is not None and assessment.snapshot.route.accepted
            else None
        )
    if assessment.snapshot.service is None:
        return None
    if assessment.snapshot.service.revision is not None:
        return 100 if assessment.snapshot.service.revision == revision else 0
    listed = assessment.snapshot.endpoints.get(assessment.snapshot.resource.metadata.name, frozenset())
    return round(100 * len(listed & assessment.of(revision).ready) / len(listed)) if listed else None


def _rollout(assessment: Assessment, plan: Plan, problems: diagnosis.Problems) -> RolloutStatus:
    stable = assessment.stable
    crash = way_back.crash(assessment.of(stable)) if way_back.way_back(assessment) is not None else None
    if crash is not None and stable is not None and stable == assessment.desired:
        return machine.returned(assessment, stable, crash)
    if plan.roles.progressive and plan.next_stable is not None:
        return machine.advance(
            assessment, plan.next_stable, step_observation.observe_step(assessment, plan, plan.next_stable)
        )
    rolled_back = assessment.of(assessment.desired).rolled_back
    pinned = rolled_back is not None and rolled_back.candidate in (plan.stable, plan.next_stable)
    if rolled_back is not None and not pinned and assessment.of(assessment.desired).given_up:
        return machine.unspent(assessment, rolled_back)
    if plan.next_stable is not None:
        return _whole(assessment, plan.next_stable, problems)
    if (desired := assessment.desired) is not None and aborted(assessment):
        return machine.aborted(assessment, desired)
    if plan.stable is not None and not plan.shifted:
        return RolloutStatus(phase=Phase.SHIFTING)
    if problems.next_stable is not None and (given_up := assessment.desired) in _roles(plan, Role.FAILED):
        return RolloutStatus(phase=Phase.FAILED, candidate=given_up)  # no started_at, so a retry has its full deadline
    return RolloutStatus(phase=Phase.IDLE)


def _whole(assessment: Assessment, next_stable: RevisionHash, problems: diagnosis.Problems) -> RolloutStatus:
    """Return the state of a candidate that takes over all at once.

    If it began by steps, status keeps its step until it has taken over.
    """
    before, steps_there = assessment.of(next_stable).rollout, bool(assessment.spec.rollout.steps)
    if assessment.of(next_stable).waits_at_zero and not assessment.paused:
        return machine.at_zero(assessment, next_stable, before or RolloutStatus(Phase.WAITING, next_stable))
    if before is not None and steps_there and not assessment.paused:
        return machine.promoting(machine.awake(assessment, before))
    stuck = problems.next_stable is not None and (
        problems.next_stable.waits_for_user or problems.next_stable is problems.stalled
    )
    phase = Phase.PAUSED if assessment.paused else Phase.FAILED if stuck else Phase.WAITING
    if before is not None:
        return RolloutStatus(
            phase, next_stable, before.started_at, before.step_index, before.step_hash, before.step_started_at
        )
    return RolloutStatus(phase=phase, candidate=next_stable, started_at=text_of(assessment.of(next_stable).started_at))


def _roles(plan: Plan, role: Role) -> set[str]:
    return {entry.hash for entry in plan.revisions if entry.role is role}


def differs_in_words(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> bool:
    """Tell whether two statuses differ only in counts and messages.

    Such changes come in bursts, because pods become ready one after the other.
    """

    def without(status: ModelDeploymentStatus) -> ModelDeploymentStatus:
        return replace(
            status,
            replicas=0,
            conditions=tuple(replace(condition, message="") for condition in status.conditions),
            revisions=tuple(replace(revision, ready_replicas=0, accepted_weight=None) for revision in status.revisions),
        )

    return without(before) == without(after)


def differs_in_state(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> bool:
    """Tell whether two statuses differ in what the next decision builds on.

    The operator must write such a status without a delay.
    """

    def state(status: ModelDeploymentStatus) -> set[tuple[str, str, str | None]]:
        entries = (entry for entry in status.revisions if entry.role != Role.PARKED or entry.released_at)
        return {(entry.revision, entry.role, entry.released_at) for entry in entries}

    return state(before) != state(after) or moved(before, after)


def moved(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> bool:
    """Tell whether a rollout by steps has moved.

    Once the new status is written, the operator decides again what follows from it.
    """

    def place(status: ModelDeploymentStatus) -> tuple[object, ...]:
        at = status.rollout
        if at is None or at.step_index is None:
            return ()
        return (
            at.candidate,
            at.step_index,
            at.step_hash,
            at.step_started_at,
            at.accepted_at,
            at.phase.returned,
        )

    return place(before) != place(after)
