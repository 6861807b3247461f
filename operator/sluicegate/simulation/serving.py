"""Simulate a ModelDeployment whose revisions serve already, without a cluster.

In this state the operator creates every child.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import ModelDeploymentStatus, RevisionStatus, Role
from sluicegate.config.settings import Settings
from sluicegate.core.snapshot.facts import DeploymentFacts, DesiredRevision, GatewayFacts, PodFacts, Revision, Snapshot
from sluicegate.core.snapshot.revision_spec import Intent

PODS = 1000
"""Number of ready pods of each revision. No plan needs more, so no child waits for a pod."""
FEATURES = frozenset(
    (
        "HTTPRoutePathRewrite",
        "HTTPRouteRequestMirror",
        "HTTPRouteRequestPercentageMirror",
        "HTTPRouteRequestTimeout",
    )
)
"""The features that every Gateway supports."""


def serving_snapshot(resource: ModelDeployment, intents: list[Intent], settings: Settings) -> Snapshot:
    """Return a snapshot of the resource in which its revisions serve.

    Args:
        resource: The ModelDeployment.
        intents: The intents of the revisions: the base's, then the canary's.
        settings: The operator's settings.
    """
    name = resource.metadata.name
    roles = {intent.hash: role for intent, role in zip(intents, (Role.STABLE, Role.CANARY), strict=False)}
    pods = {
        revision: tuple(
            PodFacts(f"{revision}-{number}", revision, ready=True, deleting=False) for number in range(PODS)
        )
        for revision in roles
    }
    listed = {revision: frozenset(pod.name for pod in entries) for revision, entries in pods.items()}
    desired = [DesiredRevision(intent.model, intent) for intent in intents]
    return Snapshot(
        now=datetime.now(UTC),
        resource=ModelDeployment(resource.metadata, resource.spec, _status(name, roles)),
        settings=settings,
        desired=desired[0],
        desired_canary=desired[-1] if resource.spec.canary is not None else None,
        revisions={
            intent.hash: Revision(intent.hash, number, intent.display, intent.model.version, intent.model.source)
            for number, intent in enumerate(intents, 1)
        },
        deployments={revision: DeploymentFacts(0, 0, 0, replicas_ours=True) for revision in roles},
        pods=pods,
        endpoints={names.child_name(name, revision): listed[revision] for revision in roles}
        | {name: listed[intents[0].hash]},
        gateways=_gateways(resource, settings),
    )


def _status(name: str, roles: dict[RevisionHash, Role]) -> ModelDeploymentStatus:
    return ModelDeploymentStatus(
        revisions=tuple(
            RevisionStatus(
                name=names.child_name(name, revision),
                revision=revision,
                role=role.value,
                weight=0,
                replicas=1,
                ready_replicas=1,
            )
            for revision, role in roles.items()
        )
    )


def _gateways(resource: ModelDeployment, settings: Settings) -> tuple[GatewayFacts, ...]:
    refs = resource.spec.traffic.gateway.parent_refs or settings.gateway.parent_refs
    return tuple(
        GatewayFacts(ref.namespace or resource.metadata.namespace, ref.name, exists=True, features=FEATURES)
        for ref in refs
    )
