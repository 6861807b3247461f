"""Facts from API objects.

Each function takes one raw object and reads the few fields that decisions use. The caches store the results, so memory
holds facts instead of whole pods, and "nothing changed" means that the facts are equal.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.traffic import Header, ParentRef
from sluicegate.core.models import signature
from sluicegate.core.snapshot.crashes import crash_count, last_crash
from sluicegate.core.snapshot.facts import (
    AutoscalerFacts,
    DeploymentFacts,
    GatewayClassFacts,
    GatewayFacts,
    Listener,
    Mirror,
    ParentReport,
    PodFacts,
    Revision,
    RouteFacts,
    RouteParent,
    ServiceFacts,
    Split,
)
from sluicegate.core.snapshot.pod_diagnosis import has_ended, pod_problem
from sluicegate.core.snapshot.pod_refusal import refused_containers
from sluicegate.core.snapshot.redaction import sentence
from sluicegate.core.snapshot.request_timeout import request_timeout
from sluicegate.core.snapshot.route_reports import with_controllers
from sluicegate.core.snapshot.termination import parse_report

Raw = Mapping[str, Any]


def labels(obj: Raw) -> Mapping[str, str]:
    """Return the labels of an object. They are empty when it has none."""
    return (obj.get("metadata") or {}).get("labels") or {}


def revision_hash(obj: Raw) -> RevisionHash | None:
    """Return the hash that the label of a child has. Return None for a child of no single revision."""
    value = labels(obj).get(names.LABEL_REVISION)
    return RevisionHash(value) if value else None


def owner_key(obj: Raw) -> tuple[str, str] | None:
    """Return the (namespace, name) of the ModelDeployment that a child's label names.

    The label states the name only. The namespace is the child's own.
    """
    name = labels(obj).get(names.LABEL_DEPLOYMENT)
    return (obj["metadata"]["namespace"], name) if name else None


def _conditions(obj: Raw) -> dict[str, Mapping[str, Any]]:
    return {entry["type"]: entry for entry in (obj.get("status") or {}).get("conditions") or ()}


def time_of(text: str | None) -> datetime | None:
    """Parse a Kubernetes timestamp. Return None for None and for an empty text."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def text_of(moment: datetime) -> str:
    """Format a time as Kubernetes does, in whole seconds.

    This is the inverse of `time_of`.
    """
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(obj: Raw) -> PodFacts:
    """Return the facts of a pod."""
    metadata = obj["metadata"]
    readiness, fetched = _conditions(obj).get("Ready", {}), _fetched(obj)
    ready = readiness.get("status") == "True"
    problem, crash = (None, last_crash(obj)) if ready else (pod_problem(obj), None)
    unrequested = _unrequested(obj.get("spec") or {})
    return PodFacts(
        name=metadata["name"],
        revision=revision_hash(obj),
        ready=ready,
        deleting="deletionTimestamp" in metadata,
        problem=problem,
        crash=crash,
        ready_since=str(readiness.get("lastTransitionTime") or "") if crash is not None else "",
        crashes=crash_count(obj) if problem is not None else 0,
        digest=fetched.get("digest"),
        signature=signature.parse(signature_text) if (signature_text := fetched.get("signature")) else None,
        waiting_since="" if ready else readiness.get("lastTransitionTime") or metadata.get("creationTimestamp") or "",
        room=room(obj.get("spec") or {}),
        scheduled=bool((obj.get("spec") or {}).get("nodeName")),
        unrequested=frozenset(name for name, _ in unrequested),
        unrequested_sidecars=frozenset(
            missing for missing in unrequested if (missing[0], names.MODEL_CONTAINER) not in unrequested
        ),
        address=_address(obj),
        uid=metadata.get("uid", ""),
        ended=has_ended(obj),
    )


def _address(obj: Raw) -> str:
    """Return the HOST:PORT at which the scoring server of a pod listens.

    It is the container port called `http`, which all runtimes have. Return an empty text while the pod has no IP.
    """
    address = (obj.get("status") or {}).get("podIP") or ""
    for container in (obj.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            if address and port.get("name") == "http":
                return (
                    f"[{address}]:{port['containerPort']}" if ":" in address else f"{address}:{port['containerPort']}"
                )
    return ""


def _fetched(obj: Raw) -> dict[str, str]:
    """Return what the fetch container left in its termination message.

    The values are texts such as the digest and the signature. Return an empty mapping unless the message is a JSON
    object.
    """
    for entry in (obj.get("status") or {}).get("initContainerStatuses") or ():
        ended = (entry.get("state") or {}).get("terminated") or {}
        if entry.get("name") == names.FETCH_CONTAINER and ended.get("exitCode") == 0:
            return parse_report(ended.get("message") or "")
    return {}


def room(spec: Raw) -> str:
    """Return a digest of what a pod asks of a node.

    It covers resources and devices, labels, affinity, tolerations and volume claims.
    """
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    asked = [spec.get(field) for field in ("nodeSelector", "affinity", "topologySpreadConstraints", "runtimeClassName")]
    own = [
        toleration
        for toleration in spec.get("tolerations") or ()
        if not str(toleration.get("key")).startswith("node.kubernetes.io/")
    ]
    claims = [
        volume["persistentVolumeClaim"] for volume in spec.get("volumes") or () if "persistentVolumeClaim" in volume
    ]
    text = json.dumps([asked, own, claims, [container.get("resources") for container in containers]], sort_keys=True)
    return sys.intern(hashlib.blake2b(text.encode(), digest_size=8).hexdigest())


def _unrequested(spec: Raw) -> frozenset[tuple[str, str]]:
    """Return the missing requests as resource and container.

    The API server has already set missing requests to the limits.
    """
    return frozenset(
        (name, str(container.get("name")))
        for container in spec.get("containers") or ()
        for name in ("cpu", "memory")
        if name not in ((container.get("resources") or {}).get("requests") or {})
    )


def deployment(obj: Raw) -> DeploymentFacts:
    """Return the facts of a Deployment."""
    status = obj.get("status") or {}
    failure = _conditions(obj).get("ReplicaFailure", {})
    refusal = str(failure.get("message") or "") if failure.get("status") == "True" else None
    spec = obj.get("spec") or {}
    return DeploymentFacts(
        replicas=int(spec.get("replicas", 1)),
        current=int(status.get("replicas") or 0),
        ready=int(status.get("readyReplicas") or 0),
        replicas_ours=owns_replicas(obj),
        replica_failure=refusal,
        refused_containers=refused_containers(refusal, (spec.get("template") or {}).get("spec") or {})
        if refusal
        else (),
    )


def owns_replicas(obj: Raw) -> bool:
    """Tell whether the operator has applied spec.replicas and still owns it.

    The answer comes from metadata.managedFields.
    """
    for entry in (obj.get("metadata") or {}).get("managedFields") or ():
        if entry.get("manager") == names.MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            return "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    return False


def autoscaler(obj: Raw) -> AutoscalerFacts:
    """Return the facts of an HPA."""
    status = obj.get("status") or {}
    active = _conditions(obj).get("ScalingActive", {})
    inactive = None
    if active.get("status") == "False" and active.get("reason") != "ScalingDisabled":
        inactive = str(active.get("message") or active.get("reason"))
    metrics = [metric.get("resource") or {} for metric in (obj.get("spec") or {}).get("metrics") or ()]
    return AutoscalerFacts(
        current=int(status.get("currentReplicas") or 0),
        desired=int(status.get("desiredReplicas") or 0),
        inactive=inactive,
        inactive_since=time_of(active.get("lastTransitionTime")) if inactive else None,
        utilization=frozenset(
            metric["name"] for metric in metrics if (metric.get("target") or {}).get("type") == "Utilization"
        ),
    )


def service(obj: Raw) -> ServiceFacts:
    """Return the facts of the stable Service."""
    return ServiceFacts(revision=((obj.get("spec") or {}).get("selector") or {}).get(names.LABEL_REVISION))


def endpoints(obj: Raw) -> tuple[str, frozenset[str]]:
    """Return the (Service name, names of ready pods) of one EndpointSlice."""
    ready = {
        entry["targetRef"]["name"]
        for entry in obj.get("endpoints") or ()
        if entry.get("targetRef") and (entry.get("conditions") or {}).get("ready", True)
    }
    return (labels(obj).get("kubernetes.io/service-name", ""), frozenset(ready))


def merged_endpoints(slices: Iterable[tuple[str, frozenset[str]]]) -> dict[str, frozenset[str]]:
    """Return the names of ready pods by Service.

    A Service may have several EndpointSlices.
    """
    merged: dict[str, frozenset[str]] = {}
    for name, ready in slices:
        merged[name] = merged.get(name, frozenset()) | ready
    return merged


def route(obj: Raw) -> RouteFacts:
    """Return the facts of the HTTPRoute.

    They are what its spec says, and whether every parent accepts the current generation.
    """
    spec, metadata = obj.get("spec") or {}, obj["metadata"]
    namespace, generation = metadata.get("namespace") or "", int(metadata.get("generation") or 0)
    reports = tuple(
        ParentReport(
            ref=_parent_ref(entry.get("parentRef") or {}, namespace),
            controller=str(entry.get("controllerName") or ""),
            acceptance=_parent_acceptance(entry, generation),
            serves=_serves(entry),
        )
        for entry in (obj.get("status") or {}).get("parents") or ()
    )
    refs = dict.fromkeys(_parent_ref(ref, namespace) for ref in spec.get("parentRefs") or ())
    rules = spec.get("rules") or ()
    facts = RouteFacts(
        split=_split(rules),
        accepted=False,
        parents=tuple(RouteParent(ref, accepted=False, serving=False) for ref in refs),
        hostnames=tuple(spec.get("hostnames") or ()),
        path_prefixes=path_prefixes(rules),
        reports=reports,
    )
    return with_controllers(facts, {})


def _serves(parent: Raw) -> bool:
    return _conditions({"status": parent}).get("Accepted", {}).get("status") == "True"


def _parent_ref(ref: Raw, namespace: str) -> ParentRef:
    return ParentRef(
        name=ref.get("name") or "",
        namespace=ref.get("namespace") or namespace,
        section_name=ref.get("sectionName"),
        port=ref.get("port"),
    )


def path_prefixes(rules: Iterable[Raw]) -> tuple[str, ...]:
    """Return the path prefixes that the rules of a route match, each once."""
    matches = [match for rule in rules for match in rule.get("matches") or ()]
    prefixes = [(match.get("path") or {}).get("value") for match in matches]
    return tuple(dict.fromkeys(prefix for prefix in prefixes if prefix))


def _split(rules: Sequence[Raw]) -> Split:
    """Return the traffic split that the rules of a route express.

    A rule with a header match belongs to the candidate alone. The other rule distributes requests by weight. While the
    path prefix changes, each prefix has the same rules.
    """
    weights: dict[RevisionHash, int] = {}
    matched, matches, mirror = None, [], None
    prefixes = path_prefixes(rules)
    for rule in rules:
        if prefixes and path_prefixes([rule]) != prefixes[:1]:
            continue
        shares = {_revision_of(backend): int(backend.get("weight", 1)) for backend in rule.get("backendRefs") or ()}
        shares = {revision: weight for revision, weight in shares.items() if weight}
        headers = [header for match in rule.get("matches") or () for header in match.get("headers") or ()]
        if headers:
            matched = next(iter(shares), None)
            matches += [
                Header(name=header["name"], value=header["value"], type=header.get("type")) for header in headers
            ]
            continue
        weights.update(shares)
        for filtered in rule.get("filters") or ():
            if filtered.get("type") == "RequestMirror":
                copied = filtered["requestMirror"]
                mirror = Mirror(_revision_of(copied["backendRef"]), int(copied.get("percent", 100)))
    return Split(weights=weights, matched=matched, matches=tuple(matches), mirror=mirror)


def _revision_of(backend: Raw) -> RevisionHash:
    return RevisionHash(str(backend.get("name", "")).rpartition("-")[2])


def _parent_acceptance(parent: Mapping[str, Any], generation: int) -> bool | str | None:
    """Tell whether a parent accepts the route, or why not.

    Returns:
        True when the parent accepts this generation, a sentence when it refuses it, and None when it has not processed
        it yet.
    """
    conditions = {entry["type"]: entry for entry in parent.get("conditions") or ()}
    for condition_type in ("Accepted", "ResolvedRefs"):
        condition = conditions.get(condition_type)
        if condition is None or int(condition.get("observedGeneration") or 0) < generation:
            return None
        if condition.get("status") != "True":
            name = (parent.get("parentRef") or {}).get("name")
            return (
                f"Gateway {name} reports {condition_type}={condition.get('status')} ({condition.get('reason')}): "
                f"{sentence(str(condition.get('message') or 'no message'))}"
            )
    return True


def gateway(obj: Raw) -> GatewayFacts:
    """Return the facts of a Gateway that exists."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    addresses = status.get("addresses") or ()
    reported = {entry.get("name"): entry for entry in status.get("listeners") or ()}
    return GatewayFacts(
        namespace=obj["metadata"]["namespace"],
        name=obj["metadata"]["name"],
        exists=True,
        address=addresses[0].get("value") if addresses else None,
        listeners=tuple(_listener(entry, reported.get(entry["name"]) or {}) for entry in spec.get("listeners") or ()),
        gateway_class=str(spec.get("gatewayClassName") or ""),
    )


def _listener(listener: Raw, status: Raw) -> Listener:
    allowed = listener.get("allowedRoutes") or {}
    routes = [kind.get("kind") for kind in allowed.get("kinds") or ()]
    return Listener(
        name=listener["name"],
        protocol=listener["protocol"],
        port=int(listener["port"]),
        hostname=listener.get("hostname") or None,
        namespaces="None"
        if routes and "HTTPRoute" not in routes
        else str((allowed.get("namespaces") or {}).get("from") or "Same"),
        programmed=_conditions({"status": status}).get("Programmed", {}).get("status") != "False",
    )


def gateway_class(obj: Raw) -> GatewayClassFacts:
    """Return the facts of a GatewayClass."""
    listed = (obj.get("status") or {}).get("supportedFeatures") or ()
    return GatewayClassFacts(
        controller=str((obj.get("spec") or {}).get("controllerName") or ""),
        features=frozenset(entry["name"] if isinstance(entry, Mapping) else str(entry) for entry in listed),
    )


class _Model(msgspec.Struct):
    display: str | None = None
    version: str | None = None
    source: str | None = None


class _Record(msgspec.Struct):
    """The part of a ControllerRevision's data that decisions and rendering use."""

    template: dict[str, Any]
    model: _Model
    intent: dict[str, Any] | None = None


def revision(obj: Raw) -> Revision:
    """Return the facts of a ControllerRevision that the operator created.

    Raises:
        KeyError: The object has no label with the hash of the revision.
        msgspec.ValidationError: The data is not what the operator writes. Another client created or replaced the
            object.
    """
    record = msgspec.convert(obj.get("data"), _Record)
    return Revision(
        hash=RevisionHash(labels(obj)[names.LABEL_REVISION]),
        number=int(obj.get("revision") or 0),
        model=record.model.display or "",
        version=record.model.version,
        source=record.model.source or "",
        request_timeout=request_timeout(record.template),
    )
