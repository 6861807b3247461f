"""Simulate reconciles against an in-memory cluster until nothing changes.

The operator decides one step at a time, and the simulation applies each step to the facts. Pods become ready at once,
EndpointSlices list them, and gateways accept routes. Rollouts have no steps, so no user has to promote and no analysis
runs. The result is the final state if nothing fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import msgspec

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Manifest, ModelDeployment
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.core.decide.decision import decide
from sluicegate.core.plan.types import Autoscaled, Fixed, Plan, RevisionPlan
from sluicegate.core.snapshot import parse, parse_gateway
from sluicegate.core.snapshot.assessment import assess
from sluicegate.core.snapshot.facts import AutoscalerFacts, DeploymentFacts, PodFacts, Problem, RouteFacts, Snapshot
from sluicegate.core.snapshot.revision_spec import Intent
from sluicegate.core.status.compose import compose
from sluicegate.core.status.diagnosis import diagnose
from sluicegate.render import children
from sluicegate.runtime.reconcile.gather import Gathered

Address = tuple[str, str]
"""Kind and name."""
STEPS = 60
"""Maximum number of reconciles. No change needs as many, so it only limits a change that never ends."""


@dataclass(frozen=True, slots=True)
class FinalState:
    """The final state of a ModelDeployment."""

    manifests: dict[Address, Manifest] = field(default_factory=dict)
    """The children. Of the ControllerRevisions, only the new ones."""
    status: ModelDeploymentStatus = field(default_factory=ModelDeploymentStatus)
    pods: dict[RevisionHash, int] = field(default_factory=dict)
    """Number of pods by revision hash."""
    intents: dict[RevisionHash, Intent] = field(default_factory=dict)
    """Intent by revision hash of each desired revision."""
    problem: Problem | None = None
    """The problem that prevents this state."""


def settled(gathered: Gathered) -> FinalState:
    """Return the final state of a gathered resource."""
    snapshot = replace(gathered.snapshot, resource=_without_steps(gathered.snapshot.resource))
    intents = _intents(snapshot)
    assessment = assess(snapshot)
    first = diagnose(assessment, decide(assessment))
    records: dict[Address, Manifest] = {}
    manifests: dict[Address, Manifest] = {}
    for _ in range(STEPS):
        plan = decide(assess(snapshot))
        resource = snapshot.resource
        for manifest in children.records(snapshot, plan, gathered.templates, gathered.children):
            records[_address(manifest)] = manifest
            record = parse.revision(manifest)
            snapshot = replace(snapshot, revisions={**snapshot.revisions, record.hash: record})
        before, manifests = (
            manifests,
            {
                _address(manifest): manifest
                for manifest in children.render(resource, plan, gathered.templates, gathered.children)
            },
        )
        if plan.route is None and not plan.drop_route:
            kept = before.get(("HTTPRoute", resource.metadata.name))
            manifests |= {_address(kept): kept} if kept is not None else {}
        after = _come_true(snapshot, plan, manifests)
        if manifests == before and plan.recheck_after is None and after.resource.status == resource.status:
            break
        snapshot = after
    made = {
        address: manifest
        for address, manifest in records.items()
        if parse.revision(manifest).hash in snapshot.revisions
    }
    return FinalState(
        manifests={**made, **manifests},
        status=snapshot.resource.status,
        pods={revision: len(pods) for revision, pods in snapshot.pods.items() if pods},
        intents=intents,
        problem=first.spec or first.traffic,
    )


def _without_steps(resource: ModelDeployment) -> ModelDeployment:
    rollout = msgspec.structs.replace(resource.spec.rollout, steps=None, analysis=None)
    return ModelDeployment(resource.metadata, msgspec.structs.replace(resource.spec, rollout=rollout), resource.status)


def _intents(snapshot: Snapshot) -> dict[RevisionHash, Intent]:
    return {desired.intent.hash: desired.intent for desired in snapshot.all_desired if desired.intent is not None}


def _address(manifest: Manifest) -> Address:
    return manifest["kind"], manifest["metadata"]["name"]


def _come_true(snapshot: Snapshot, plan: Plan, manifests: dict[Address, Manifest]) -> Snapshot:
    """Return the facts after the cluster has acted on the manifests."""
    resource, name = snapshot.resource, snapshot.resource.metadata.name
    counts = {entry.hash: _count(snapshot, entry) for entry in plan.revisions}
    pods = {revision: _pods(snapshot, revision, count) for revision, count in counts.items()}
    service = parse.service(manifests["Service", name]) if ("Service", name) in manifests else snapshot.service
    selected = [revision for revision in pods if service is not None and service.revision in (revision, None)]
    endpoints = {
        names.child_name(name, revision): frozenset(pod.name for pod in revision_pods)
        for revision, revision_pods in pods.items()
    }
    endpoints[name] = frozenset(pod.name for revision in selected for pod in pods[revision])
    wait = timedelta(seconds=1.0 + (plan.recheck_after or 0.0))
    return replace(
        snapshot,
        now=snapshot.now + wait,
        resource=ModelDeployment(resource.metadata, resource.spec, compose(assess(snapshot), plan)),
        revisions={revision: facts for revision, facts in snapshot.revisions.items() if revision not in plan.forgotten},
        deployments={revision: _deployment(snapshot, revision, count) for revision, count in counts.items()},
        autoscalers={
            entry.hash: AutoscalerFacts(counts[entry.hash], counts[entry.hash])
            for entry in plan.revisions
            if isinstance(entry.scale, Autoscaled)
        },
        pods=pods,
        endpoints=endpoints,
        service=service,
        route=_route(manifests.get(("HTTPRoute", name)), snapshot, plan),
    )


def _count(snapshot: Snapshot, entry: RevisionPlan) -> int:
    """Return the number of pods that a revision has after its plan is applied.

    An autoscaler keeps the existing number, within its bounds.
    """
    if isinstance(entry.scale, Fixed):
        return entry.scale.replicas
    deployment = snapshot.deployments.get(entry.hash)
    return max(entry.scale.min, min(entry.scale.max, deployment.replicas if deployment is not None else 0))


def _pods(snapshot: Snapshot, revision: RevisionHash, count: int) -> tuple[PodFacts, ...]:
    old = [replace(pod, ready=True, problem=None) for pod in snapshot.pods.get(revision, ()) if not pod.deleting]
    old = old[:count]
    fresh = (
        PodFacts(f"{revision}-{number}", revision, ready=True, deleting=False) for number in range(count - len(old))
    )
    return (*old, *fresh)


def _deployment(snapshot: Snapshot, revision: RevisionHash, count: int) -> DeploymentFacts:
    deployment = snapshot.deployments.get(revision)
    ours = deployment is None or deployment.replicas_ours
    return DeploymentFacts(count, count, count, replicas_ours=ours)


def _route(manifest: Manifest | None, snapshot: Snapshot, plan: Plan) -> RouteFacts | None:
    """Return the facts of the route as if all its Gateways had accepted it."""
    if manifest is None:
        return None if plan.drop_route else snapshot.route
    conditions = [{"type": kind, "status": "True", "observedGeneration": 0} for kind in ("Accepted", "ResolvedRefs")]
    parents = [{"parentRef": ref, "conditions": conditions} for ref in manifest["spec"]["parentRefs"]]
    return parse_gateway.route({**manifest, "status": {"parents": parents}})
