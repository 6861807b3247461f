"""The status that users read, composed from the snapshot and the plan."""

from __future__ import annotations

from datetime import datetime

from sluicegate.api import names
from sluicegate.api.status import ModelDeploymentStatus, ModelStatus, RevisionStatus, Role, RolloutStatus
from sluicegate.core import conditions
from sluicegate.core.decide import path_prefix, shifted_since, started_at
from sluicegate.core.facts import GatewayFacts, Problem, Revision, Snapshot
from sluicegate.core.plan import Autoscaled, Fixed, Plan, RevisionPlan


def compose(snapshot: Snapshot, plan: Plan, refused: Problem | None = None) -> ModelDeploymentStatus:
    """The whole status.

    Args:
        snapshot: What was known when the plan was made.
        plan: What was decided.
        refused: What the API server said against applying the plan, if it did.
    """
    judgement = conditions.judge(snapshot, plan, refused)
    name = snapshot.resource.metadata.name
    serving = plan.stable or plan.target
    there = snapshot.deployments.get(plan.stable or "")
    return ModelDeploymentStatus(
        observed_generation=snapshot.resource.metadata.generation,
        conditions=conditions.stamp(snapshot, conditions.verdicts(snapshot, plan, judgement)),
        url=url(snapshot),
        address=f"http://{name}.{snapshot.resource.metadata.namespace}.svc" if plan.has_service else None,
        replicas=there.current if there is not None else 0,
        selector=f"{names.LABEL_DEPLOYMENT}={name},{names.LABEL_REVISION}={serving}" if serving else None,
        model=_model(snapshot, plan),
        revisions=tuple(_revision(snapshot, plan, entry) for entry in plan.revisions),
        rollout=_rollout(snapshot, plan, judgement),
    )


def url(snapshot: Snapshot) -> str | None:
    """Where clients outside the cluster reach the model, as far as the gateway tells."""
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
    """(scheme, port part): HTTPS where a listener has it."""
    known = [entry for entry in gateway.listeners if entry[1] in ("HTTP", "HTTPS")]
    if not known:
        return "http", ""
    _, protocol, number = max(known, key=lambda entry: entry[1])
    return protocol.lower(), "" if number == {"HTTP": 80, "HTTPS": 443}[protocol] else f":{number}"


def _model(snapshot: Snapshot, plan: Plan) -> ModelStatus | None:
    """What the spec resolved to; while it does not resolve, what was pinned before stays."""
    before = snapshot.resource.status.model
    resolved = snapshot.target.resolved
    if resolved is None or snapshot.target.intent is None:
        return before
    uri = snapshot.resource.spec.model.uri
    same = before is not None and (before.uri, before.source, before.version) == (
        uri,
        resolved.source,
        resolved.version,
    )
    return ModelStatus(
        uri=uri,
        registry=snapshot.target.intent.registry,
        source=resolved.source,
        name=resolved.name,
        version=resolved.version,
        run_id=resolved.run_id,
        model_id=resolved.model_id,
        digest=_digest(snapshot, snapshot.target.revision) or (before.digest if same and before is not None else None),
        resolved_at=before.resolved_at if same and before is not None else _text(snapshot.now),
    )


def _digest(snapshot: Snapshot, revision: str | None) -> str | None:
    """Of ready pods only: told together with their readiness, it costs no status write of its own."""
    digests = {pod.digest for pod in snapshot.live_pods(revision) if pod.digest and pod.ready}
    return digests.pop() if len(digests) == 1 else None


def _revision(snapshot: Snapshot, plan: Plan, entry: RevisionPlan) -> RevisionStatus:
    record = snapshot.revisions.get(entry.hash) or _unborn(snapshot, entry.hash)
    problem = None if entry.parked else conditions.revision_problem(snapshot, entry.hash)
    return RevisionStatus(
        name=names.child_name(snapshot.resource.metadata.name, entry.hash),
        revision=entry.hash,
        number=record.number,
        role=entry.role.value,
        model=record.model,
        version=record.version,
        weight=_weight(plan, entry.hash),
        accepted_weight=_accepted(snapshot, entry.hash),
        replicas=_replicas(snapshot, entry),
        ready_replicas=len(snapshot.ready_pods(entry.hash)),
        reason=problem.reason if problem else None,
        message=conditions.shortened(problem.message) if problem else None,
    )


def _replicas(snapshot: Snapshot, entry: RevisionPlan) -> int:
    """Pods that the revision should have now: ours to say, or where an HPA says it, as its Deployment has it."""
    match entry.scale:
        case Fixed(replicas):
            return replicas
        case Autoscaled(keep_replicas=int(kept)):
            return kept
    there = snapshot.deployments.get(entry.hash)
    return there.replicas if there is not None else 0


def _unborn(snapshot: Snapshot, revision: str) -> Revision:
    """The record that the target will have: it is being made in this very pass."""
    intent = snapshot.target.intent
    number = 1 + max((each.number for each in snapshot.revisions.values()), default=0)
    if intent is None:
        return Revision(revision, number, "", None, "")
    return Revision(revision, number, intent.display, intent.model.version, intent.model.source)


def _weight(plan: Plan, revision: str) -> int:
    if plan.route is not None:
        return plan.route.weights.get(revision, 0)
    return 100 if revision == plan.stable else 0


def _accepted(snapshot: Snapshot, revision: str) -> int | None:
    """Weight that the gateway has taken; without a gateway, what the Service really selects."""
    if snapshot.gateways:
        route = snapshot.route
        return route.weights.get(revision, 0) if route is not None and route.accepted else None
    if snapshot.service is None or snapshot.service.revision is None:
        return None
    return 100 if snapshot.service.revision == revision else 0


def _rollout(snapshot: Snapshot, plan: Plan, judgement: conditions.Judgement) -> RolloutStatus:
    shifted_at = _text(shifted_since(snapshot, plan.stable) or snapshot.now) if plan.shifted else None
    if plan.target is not None:
        started = _text(started_at(snapshot, plan.target))
        phase = "Paused" if snapshot.resource.spec.paused else "Failed" if judgement.target else "Waiting"
        return RolloutStatus(phase=phase, target=plan.target, started_at=started, shifted_at=shifted_at)
    if plan.stable is not None and not plan.shifted:
        return RolloutStatus(phase="Shifting", shifted_at=None)
    draining = any(entry.role is Role.RETIRING for entry in plan.revisions)
    return RolloutStatus(phase="Draining" if draining else "Idle", shifted_at=shifted_at)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
