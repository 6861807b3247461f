"""The status that users read, composed from the snapshot and the plan."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from sluicegate.api import names
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
from sluicegate.core.decide.decision import released_at
from sluicegate.core.decide.roles import aborted
from sluicegate.core.decide.traffic import path_prefix
from sluicegate.core.plan.types import Autoscaled, Fixed, Plan, RevisionPlan
from sluicegate.core.rollout import give_up, machine
from sluicegate.core.rollout.canary import canary_view
from sluicegate.core.snapshot import staleness
from sluicegate.core.snapshot.deadline import started_at
from sluicegate.core.snapshot.facts import DesiredRevision, GatewayFacts, Problem, Revision, Snapshot
from sluicegate.core.snapshot.parse import text_of
from sluicegate.core.status import conditions, diagnosis, step_observation


def compose(snapshot: Snapshot, plan: Plan, refused: Problem | None = None) -> ModelDeploymentStatus:
    """Compose the whole status.

    Args:
        snapshot: The facts that the plan was made from.
        plan: The operator's decision.
        refused: Problem that the API server reported when the operator applied the plan, if any.
    """
    problems = diagnosis.diagnose(snapshot, plan, refused)
    state = _rollout(snapshot, plan, problems)
    name = snapshot.resource.metadata.name
    serving = plan.stable or plan.target
    return ModelDeploymentStatus(
        observed_generation=snapshot.resource.metadata.generation,
        conditions=conditions.stamp(
            snapshot.resource, snapshot.now, conditions.condition_states(snapshot, plan, problems, state)
        ),
        url=url(snapshot),
        address=f"http://{name}.{snapshot.resource.metadata.namespace}.svc" if plan.has_service else None,
        replicas=sum(1 for _ in snapshot.live_pods(plan.stable)),
        selector=f"{names.LABEL_DEPLOYMENT}={name},{names.LABEL_REVISION}={serving}" if serving else None,
        canary=_canary(snapshot, plan),
        model=_base_model(snapshot),
        canary_model=_canary_model(snapshot),
        newer=staleness.newer(snapshot, plan.stable),
        revisions=tuple(_revision(snapshot, plan, entry) for entry in plan.revisions),
        rollout=state,
    )


def internal_error(resource: ModelDeployment, error: BaseException, now: datetime) -> ModelDeploymentStatus:
    """Return the status after a reconcile that raised an unexpected exception.

    The conditions Ready, Reconciling and Stalled report it. Everything else stays as it was. The message has only the
    type of the exception.
    """
    message = (
        f"The reconcile failed with an unexpected {type(error).__name__}. Report it as a bug, with the traceback from "
        "the operator's log. The current revision keeps serving, and the operator retries."
    )
    reason = Reason.INTERNAL_ERROR
    failed = conditions.stamp(
        resource,
        now,
        {
            ConditionType.READY: conditions.ConditionState("False", reason, message),
            ConditionType.RECONCILING: conditions.ConditionState("True", reason, message),
            ConditionType.STALLED: conditions.ConditionState("False", Reason.NOT_STALLED, ""),
        },
    )
    merged = {each.type: each for each in (*resource.status.conditions, *failed)}
    return replace(resource.status, conditions=tuple(merged.values()))


def url(snapshot: Snapshot) -> str | None:
    """Return the URL at which clients outside the cluster reach the model.

    The result is None without a gateway or a route, and while neither the spec, the settings nor the gateway gives a
    host.
    """
    gateway = next((each for each in snapshot.gateways if each.exists), None)
    if gateway is None or snapshot.route is None:
        return None
    spec = snapshot.resource.spec.traffic.gateway
    hostnames = spec.hostnames or snapshot.settings.gateway.hostnames
    host = hostnames[0] if hostnames else gateway.address
    if host is None:
        return None
    scheme, port = _listener(gateway)
    return f"{scheme}://{host}{port}{path_prefix(snapshot)}"


def _listener(gateway: GatewayFacts) -> tuple[str, str]:
    """Return (scheme, port suffix) of a listener, HTTPS if there is one."""
    known = [entry for entry in gateway.listeners if entry[1] in ("HTTP", "HTTPS")]
    if not known:
        return "http", ""
    _, protocol, number = max(known, key=lambda entry: entry[1])
    return protocol.lower(), "" if number == {"HTTP": 80, "HTTPS": 443}[protocol] else f":{number}"


def _canary(snapshot: Snapshot, plan: Plan) -> str | None:
    """Return the accepted weight of the candidate, for the printer column.

    The candidate is a declared canary, or the new revision of a rollout by steps.
    """
    if plan.roles.candidate_hash is None:
        return None
    weight = _accepted(snapshot, plan, plan.roles.candidate_hash)
    return f"{'' if snapshot.routed else '~'}{weight or 0}%"


def _base_model(snapshot: Snapshot) -> ModelStatus | None:
    """Return what the base of the spec resolved to.

    While it does not resolve, the model that was pinned before stays.
    """
    return _model(snapshot, snapshot.desired, snapshot.resource.spec.model.uri, snapshot.resource.status.model)


def _canary_model(snapshot: Snapshot) -> ModelStatus | None:
    view = canary_view(snapshot.resource)
    if view is None or snapshot.desired_canary is None:
        return None
    return _model(snapshot, snapshot.desired_canary, view.spec.model.uri, snapshot.resource.status.canary_model)


def _model(snapshot: Snapshot, target: DesiredRevision, uri: str, before: ModelStatus | None) -> ModelStatus | None:
    resolved = target.resolved
    if resolved is None or target.intent is None:
        return before
    same = before is not None and (before.uri, before.source, before.version) == (
        uri,
        resolved.source,
        resolved.version,
    )
    return ModelStatus(
        uri=uri,
        registry=target.intent.registry,
        source=resolved.source,
        name=resolved.name,
        version=resolved.version,
        run_id=resolved.run_id,
        model_id=resolved.model_id,
        digest=_digest(snapshot, target.revision) or (before.digest if same and before is not None else None),
        registered_at=resolved.registered_at,
        resolved_at=before.resolved_at if same and before is not None else text_of(snapshot.now),
    )


def _digest(snapshot: Snapshot, revision: str | None) -> str | None:
    """Return the digest of the artifacts that the ready pods fetched.

    Other pods do not count. So the digest changes together with the number of ready pods, and needs no status write of
    its own.
    """
    digests = {pod.digest for pod in snapshot.live_pods(revision) if pod.digest and pod.ready}
    return digests.pop() if len(digests) == 1 else None


def _revision(snapshot: Snapshot, plan: Plan, entry: RevisionPlan) -> RevisionStatus:
    record = snapshot.revisions.get(entry.hash) or _unborn(snapshot, entry.hash)
    free_since = _free_since(snapshot, entry)
    parked = entry.parked or free_since is not None
    reason, message = _why(snapshot, entry, parked)
    return RevisionStatus(
        name=snapshot.child(entry.hash),
        revision=entry.hash,
        number=record.number,
        role=_role(snapshot, entry, parked).value,
        model=record.model,
        version=record.version,
        weight=entry.weight,
        accepted_weight=None if parked else _accepted(snapshot, plan, entry.hash),
        replicas=0 if parked else _replicas(snapshot, entry),
        ready_replicas=0 if parked else len(snapshot.ready_pods(entry.hash)),
        registered_at=_registered_at(snapshot, entry.hash),
        released_at=free_since,
        reason=reason,
        message=message,
    )


def _registered_at(snapshot: Snapshot, revision: str) -> str | None:
    """Return when the model version of `revision` was registered.

    The time comes with the resolution that made the revision. Status keeps it from then on.
    """
    for desired in snapshot.all_desired:
        if desired.intent is not None and desired.intent.hash == revision and desired.resolved:
            return desired.resolved.registered_at
    return next((each.registered_at for each in snapshot.resource.status.revisions if each.revision == revision), None)


def _role(snapshot: Snapshot, entry: RevisionPlan, parked: bool) -> Role:
    """Return the role of a revision that users see.

    A revision without traffic is Parked or Failed, although its pods stay for scaleDownDelay.
    """
    if not parked or entry.role is Role.FAILED:
        return entry.role
    return Role.FAILED if give_up.failed(snapshot, entry.hash) else Role.PARKED


def _why(snapshot: Snapshot, entry: RevisionPlan, parked: bool) -> tuple[str | None, str | None]:
    """Return (reason, message) of what keeps a revision from being ready.

    A failed revision keeps the last problem that its pods reported.
    """
    before = give_up.record(snapshot, entry.hash)
    if entry.role is Role.FAILED and before is not None:
        return before.reason, before.message
    found = give_up.why_taken_back(snapshot, entry.hash)
    if found is None and (entry.role is Role.FAILED or not parked):
        found = diagnosis.revision_problem(snapshot, entry.hash)
    return (found.reason, conditions.shortened(found.message)) if found is not None else (None, None)


def _free_since(snapshot: Snapshot, entry: RevisionPlan) -> str | None:
    """Return when the traffic left a revision, or None.

    The revision is Parked from then on. So when the operator removes its pods later, status does not change.
    """
    if entry.role is Role.RETIRING:
        since = released_at(snapshot, entry.hash)
        return text_of(since) if since is not None else None
    if entry.parked:
        recorded = (each for each in snapshot.resource.status.revisions if each.revision == entry.hash)
        return next((each.released_at for each in recorded), None)
    return None


def _replicas(snapshot: Snapshot, entry: RevisionPlan) -> int:
    """Return the number of pods that the revision should have now.

    The operator decides it, unless an HPA does. Then it is the number in the revision's Deployment.
    """
    match entry.scale:
        case Fixed(replicas):
            return replicas
        case Autoscaled(keep_replicas=int(kept)):
            return kept
    there = snapshot.deployments.get(entry.hash)
    return there.replicas if there is not None else 0


def _unborn(snapshot: Snapshot, revision: str) -> Revision:
    """Return the record that a new revision will have.

    The operator creates that record in the same reconcile.
    """
    number = 1 + max((each.number for each in snapshot.revisions.values()), default=0)
    for desired in snapshot.all_desired:
        intent = desired.intent
        if intent is not None and intent.hash == revision:
            return Revision(revision, number, intent.display, intent.model.version, intent.model.source)
        number += desired.revision not in (None, *snapshot.revisions)
    return Revision(revision, number, "", None, "")


def _accepted(snapshot: Snapshot, plan: Plan, revision: str) -> int | None:
    """Return the weight that the gateway has accepted for `revision`.

    Without a gateway, it is the revision's share of the Service's endpoints, which is approximately the weight.
    """
    if plan.stable is None:
        return None
    if snapshot.routed:
        return snapshot.split.weight(revision) if snapshot.route is not None and snapshot.route.accepted else None
    if snapshot.service is None:
        return None
    if snapshot.service.revision is not None:
        return 100 if snapshot.service.revision == revision else 0
    listed = snapshot.endpoints.get(snapshot.resource.metadata.name, frozenset())
    return round(100 * len(listed & snapshot.ready_pods(revision)) / len(listed)) if listed else None


def _rollout(snapshot: Snapshot, plan: Plan, problems: diagnosis.Problems) -> RolloutStatus:
    if plan.roles.progressive and plan.target is not None:
        return machine.advance(snapshot, plan.target, step_observation.observe_step(snapshot, plan))
    taken_back = machine.rolled_back(snapshot, snapshot.desired.revision)
    wanted_all_the_same = taken_back is not None and taken_back.target in (plan.stable, plan.target)  # because of a pin
    if taken_back is not None and not wanted_all_the_same and give_up.failed(snapshot, snapshot.desired.revision):
        return machine.unspent(snapshot, taken_back)
    if plan.target is not None:
        return _whole(snapshot, plan.target, problems)
    if (wanted := snapshot.desired.revision) is not None and aborted(snapshot):
        return machine.aborted(snapshot, wanted)
    if plan.stable is not None and not plan.shifted:
        return RolloutStatus(phase=Phase.SHIFTING)
    if problems.target is not None and (given_up := snapshot.desired.revision) in _roles(plan, Role.FAILED):
        return RolloutStatus(phase=Phase.FAILED, target=given_up)  # no started_at, so a retry has its full deadline
    return RolloutStatus(phase=Phase.IDLE)


def _whole(snapshot: Snapshot, target: str, problems: diagnosis.Problems) -> RolloutStatus:
    """Return the state of a candidate that takes over all at once.

    If it began by steps, status keeps its step until it has taken over.
    """
    before, steps_there = machine.state_of(snapshot, target), bool(snapshot.resource.spec.rollout.steps)
    if before is not None and steps_there and not snapshot.resource.spec.paused:
        return machine.promoting(before)
    stuck = problems.target is not None and problems.target.waits_for_user
    phase = Phase.PAUSED if snapshot.resource.spec.paused else Phase.FAILED if stuck else Phase.WAITING
    if before is not None:
        return RolloutStatus(
            phase, target, before.started_at, before.step_index, before.step_hash, before.step_started_at
        )
    return RolloutStatus(phase=phase, target=target, started_at=text_of(started_at(snapshot, target)))


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
            conditions=tuple(replace(each, message="") for each in status.conditions),
            revisions=tuple(replace(each, ready_replicas=0, accepted_weight=None) for each in status.revisions),
        )

    return without(before) == without(after)


def differs_in_state(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> bool:
    """Tell whether two statuses differ in what the next decision builds on.

    The operator must write such a status without a delay.
    """

    def state(status: ModelDeploymentStatus) -> set[tuple[str, str, str | None]]:
        known = (entry for entry in status.revisions if entry.role != Role.PARKED or entry.released_at)
        return {(entry.revision, entry.role, entry.released_at) for entry in known}

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
            at.target,
            at.step_index,
            at.step_hash,
            at.step_started_at,
            at.accepted_at,
            at.phase.returned,
        )

    return place(before) != place(after)
