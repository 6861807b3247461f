"""All children of a plan as manifests, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sluicegate.api import duration, names
from sluicegate.api.names import RevisionHash
from sluicegate.api.resource import Manifest, Meta, ModelDeployment
from sluicegate.config.child_settings import ChildSettings
from sluicegate.core.models.resolution import ResolvedModel
from sluicegate.core.plan.types import Autoscaled, Fixed, Plan, RevisionPlan, RoutePlan
from sluicegate.core.snapshot.facts import Mirror, Snapshot
from sluicegate.core.snapshot.revision_spec import Intent
from sluicegate.render import engine, invariants
from sluicegate.render.inherited import inherited_annotations, inherited_labels

_REWRITE = {
    "type": "URLRewrite",
    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
}
_DEFAULTS = ChildSettings()


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


def record(
    resource: ModelDeployment, intent: Intent, number: int, template: Manifest, settings: ChildSettings = _DEFAULTS
) -> Manifest:
    """Return the ControllerRevision of a new revision.

    It keeps the inputs and the pod template permanently.
    """
    model: ResolvedModel = intent.model
    return engine.render(
        "controllerrevision.yaml.j2",
        {
            **_identity(resource, names.child_name(resource.metadata.name, intent.hash), intent.hash, settings),
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


def records(
    snapshot: Snapshot,
    plan: Plan,
    templates: Mapping[RevisionHash, Manifest],
    settings: ChildSettings = _DEFAULTS,
) -> Iterator[Manifest]:
    """Yield the ControllerRevision of each new revision of a plan.

    Each new revision has a number one higher than the highest number before it.

    Args:
        snapshot: The facts that the plan was made from.
        plan: The desired state.
        templates: Pod template by revision hash.
        settings: The operator's settings of children.
    """
    intents = {desired.intent.hash: desired.intent for desired in snapshot.all_desired if desired.intent is not None}
    number = 1 + max((revision.number for revision in snapshot.revisions.values()), default=0)
    for entry in plan.revisions:
        if entry.new and entry.hash in intents:
            yield record(snapshot.resource, intents[entry.hash], number, templates[entry.hash], settings)
            number += 1


def render(
    resource: ModelDeployment,
    plan: Plan,
    templates: Mapping[RevisionHash, Manifest],
    settings: ChildSettings = _DEFAULTS,
) -> Iterator[Manifest]:
    """Yield every child except the ControllerRevisions.

    Args:
        resource: The owner.
        plan: The desired state.
        templates: Pod template by revision hash, as the ControllerRevisions keep them. A revision without one is
            skipped.
        settings: The operator's settings of children.

    Raises:
        invariants.Broken: A manifest violates an invariant. This is a bug, and the manifest is never sent.
    """
    for entry in plan.revisions:
        if entry.hash in templates:
            for manifest in _revision(resource, entry, templates[entry.hash], settings):
                yield invariants.checked(manifest)
    if plan.has_service:
        yield invariants.checked(_stable_service(resource, plan, settings))
    if plan.route is not None:
        yield invariants.checked(route(resource, plan.route, settings))


def _identity(
    resource: ModelDeployment, name: str, revision: RevisionHash | None, settings: ChildSettings
) -> dict[str, Any]:
    metadata = resource.metadata
    own = names.revision_labels(metadata.name, revision) if revision else names.owner_labels(metadata.name)
    return {
        "name": name,
        "namespace": metadata.namespace,
        "labels": {**inherited_labels(resource, settings), **own},
        "annotations": inherited_annotations(resource, settings),
        "owners": [owner_reference(metadata)],
    }


def _revision(
    resource: ModelDeployment, entry: RevisionPlan, template: Manifest, settings: ChildSettings
) -> Iterator[Manifest]:
    identity = _identity(resource, names.child_name(resource.metadata.name, entry.hash), entry.hash, settings)
    selector = {names.LABEL_DEPLOYMENT: resource.metadata.name, names.LABEL_REVISION: entry.hash}
    yield engine.render(
        "deployment.yaml.j2", {**identity, "selector": selector, "template": template, "replicas": _replicas(entry)}
    )
    if entry.parked:
        return
    labels = {**identity["labels"], names.LABEL_SERVICE: "revision"}
    yield _service({**identity, "labels": labels, "selector": selector}, settings)
    if settings.pod_disruption_budget:
        yield engine.render("pdb.yaml.j2", {**identity, "selector": selector})
    if isinstance(entry.scale, Autoscaled):
        scale = entry.scale
        bounds = {"min": scale.min, "max": scale.max, "metrics": list(scale.metrics or ()), "behavior": scale.behavior}
        yield engine.render("hpa.yaml.j2", {**identity, **bounds})


def _replicas(entry: RevisionPlan) -> int | None:
    return entry.scale.replicas if isinstance(entry.scale, Fixed) else entry.scale.keep_replicas


def _service(context: dict[str, Any], settings: ChildSettings) -> Manifest:
    return engine.render("service.yaml.j2", {**context, "ip_family_policy": settings.ip_family_policy})


def _stable_service(resource: ModelDeployment, plan: Plan, settings: ChildSettings) -> Manifest:
    name = resource.metadata.name
    identity = _identity(resource, name, None, settings)
    selector = {names.LABEL_DEPLOYMENT: name}
    if plan.service_revision is not None:
        selector[names.LABEL_REVISION] = plan.service_revision
    labels = {**identity["labels"], names.LABEL_SERVICE: "stable"}
    return _service({**identity, "labels": labels, "selector": selector}, settings)


def route(resource: ModelDeployment, plan: RoutePlan, settings: ChildSettings = _DEFAULTS) -> Manifest:
    """Return the HTTPRoute of a resource."""
    name = resource.metadata.name
    return engine.render(
        "httproute.yaml.j2",
        {
            **_identity(resource, name, None, settings),
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
