"""All children of a plan as manifests, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sluicegate.api import duration, names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Manifest, Meta, ModelDeployment
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.plan.types import Autoscaled, Fixed, Plan, RevisionPlan, RoutePlan
from sluicegate.core.snapshot.facts import Mirror, Snapshot
from sluicegate.core.snapshot.revision_spec import Intent
from sluicegate.render import engine, invariants

_REWRITE = {
    "type": "URLRewrite",
    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
}


def owner_reference(metadata: Meta) -> Manifest:
    """Return the owner reference of the children of a ModelDeployment.

    Garbage collection deletes the children with their ModelDeployment.
    """
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def record(resource: ModelDeployment, intent: Intent, number: int, template: Manifest) -> Manifest:
    """Return the ControllerRevision of a new revision.

    It keeps the inputs and the pod template permanently.
    """
    model: ResolvedModel = intent.model
    return engine.render(
        "controllerrevision.yaml.j2",
        {
            **_identity(resource, names.child_name(resource.metadata.name, intent.hash), intent.hash),
            "number": number,
            "intent": intent.identity,
            "model": {
                "display": intent.display,
                "uri": model.uri,
                "source": model.source,
                "name": model.name,
                "version": model.version,
                "runId": model.run_id,
                "modelId": model.model_id,
            },
            "template": template,
        },
    )


def records(snapshot: Snapshot, plan: Plan, templates: Mapping[RevisionHash, Manifest]) -> Iterator[Manifest]:
    """Yield the ControllerRevision of each new revision of a plan.

    Each new revision has a number one higher than the highest number before it.

    Args:
        snapshot: The facts that the plan was made from.
        plan: The desired state.
        templates: Pod template by revision hash.
    """
    intents = {desired.intent.hash: desired.intent for desired in snapshot.all_desired if desired.intent is not None}
    number = 1 + max((revision.number for revision in snapshot.revisions.values()), default=0)
    for entry in plan.revisions:
        if entry.new and entry.hash in intents:
            yield record(snapshot.resource, intents[entry.hash], number, templates[entry.hash])
            number += 1


def render(resource: ModelDeployment, plan: Plan, templates: Mapping[RevisionHash, Manifest]) -> Iterator[Manifest]:
    """Yield every child except the ControllerRevisions.

    Args:
        resource: The owner.
        plan: The desired state.
        templates: Pod template by revision hash, as the ControllerRevisions keep them. A revision without one is
            skipped.

    Raises:
        invariants.Broken: A manifest violates an invariant. This is a bug, and the manifest is never sent.
    """
    for entry in plan.revisions:
        if entry.hash in templates:
            for manifest in _revision(resource, entry, templates[entry.hash]):
                yield invariants.checked(manifest)
    if plan.has_service:
        yield invariants.checked(_stable_service(resource, plan))
    if plan.route is not None:
        yield invariants.checked(route(resource, plan.route))


def _identity(resource: ModelDeployment, name: str, revision: RevisionHash | None) -> dict[str, Any]:
    metadata = resource.metadata
    return {
        "name": name,
        "namespace": metadata.namespace,
        "labels": names.revision_labels(metadata.name, revision) if revision else names.owner_labels(metadata.name),
        "owners": [owner_reference(metadata)],
    }


def _revision(resource: ModelDeployment, entry: RevisionPlan, template: Manifest) -> Iterator[Manifest]:
    identity = _identity(resource, names.child_name(resource.metadata.name, entry.hash), entry.hash)
    selector = {names.LABEL_DEPLOYMENT: resource.metadata.name, names.LABEL_REVISION: entry.hash}
    yield engine.render(
        "deployment.yaml.j2", {**identity, "selector": selector, "template": template, "replicas": _replicas(entry)}
    )
    if entry.parked:
        return
    labels = {**identity["labels"], names.LABEL_SERVICE: "revision"}
    yield engine.render("service.yaml.j2", {**identity, "labels": labels, "selector": selector})
    yield engine.render("pdb.yaml.j2", {**identity, "selector": selector})
    if isinstance(entry.scale, Autoscaled):
        scale = entry.scale
        bounds = {"min": scale.min, "max": scale.max, "metrics": list(scale.metrics or ()), "behavior": scale.behavior}
        yield engine.render("hpa.yaml.j2", {**identity, **bounds})


def _replicas(entry: RevisionPlan) -> int | None:
    return entry.scale.replicas if isinstance(entry.scale, Fixed) else entry.scale.keep_replicas


def _stable_service(resource: ModelDeployment, plan: Plan) -> Manifest:
    name = resource.metadata.name
    identity = _identity(resource, name, None)
    selector = {names.LABEL_DEPLOYMENT: name}
    if plan.service_revision is not None:
        selector[names.LABEL_REVISION] = plan.service_revision
    labels = {**identity["labels"], names.LABEL_SERVICE: "stable"}
    return engine.render("service.yaml.j2", {**identity, "labels": labels, "selector": selector})


def route(resource: ModelDeployment, plan: RoutePlan) -> Manifest:
    """Return the HTTPRoute of a resource."""
    name = resource.metadata.name
    return engine.render(
        "httproute.yaml.j2",
        {
            **_identity(resource, name, None),
            "parent_refs": [_parent(ref, resource) for ref in plan.parent_refs],
            "hostnames": list(plan.hostnames),
            "paths": list(plan.path_prefixes),
            "rewrite": _REWRITE,
            "timeout": duration.gateway(plan.timeout_seconds) if plan.timeout_seconds is not None else None,
            "backends": [_backend(name, revision, weight) for revision, weight in sorted(plan.split.weights.items())],
            "matches": [msgspec.to_builtins(match) for match in plan.split.matches],
            "matched": [_backend(name, plan.split.matched, 100)] if plan.split.matched is not None else [],
            "mirror": _mirror(name, plan.split.mirror) if plan.split.mirror is not None else None,
        },
    )


def _backend(name: str, revision: RevisionHash, weight: int) -> Manifest:
    return {**_service_reference(name, revision), "weight": weight}


def _mirror(name: str, mirror: Mirror) -> Manifest:
    copied: Manifest = {"backendRef": _service_reference(name, mirror.revision)}
    return copied if mirror.percent == 100 else {**copied, "percent": mirror.percent}


def _service_reference(name: str, revision: RevisionHash) -> Manifest:
    return {"group": "", "kind": "Service", "name": names.child_name(name, revision), "port": 80}


def _parent(ref: Any, resource: ModelDeployment) -> Manifest:
    parent = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": ref.name,
        "namespace": ref.namespace or resource.metadata.namespace,
        "sectionName": ref.section_name,
        "port": ref.port,
    }
    return {key: value for key, value in parent.items() if value is not None}
