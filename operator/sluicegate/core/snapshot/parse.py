"""Facts from API objects.

Each function takes one raw object and reads the few fields that decisions use. The caches store the results, so memory
holds facts instead of whole pods, and "nothing changed" means that the facts are equal.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.core.models import signature
from sluicegate.core.snapshot.crashes import crash_count, last_crash
from sluicegate.core.snapshot.facts import (
    AutoscalerFacts,
    DeploymentFacts,
    PodFacts,
    Revision,
    ServiceFacts,
)
from sluicegate.core.snapshot.pod_diagnosis import has_ended, pod_problem
from sluicegate.core.snapshot.pod_refusal import refused_containers
from sluicegate.core.snapshot.request_timeout import request_timeout
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


def conditions_of(obj: Raw) -> dict[str, Mapping[str, Any]]:
    """Return the conditions of an object by type."""
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
    readiness, fetched = conditions_of(obj).get("Ready", {}), _fetched(obj)
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
    failure = conditions_of(obj).get("ReplicaFailure", {})
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
    active = conditions_of(obj).get("ScalingActive", {})
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
