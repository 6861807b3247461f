"""Kubernetes Events about the changes of a status."""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.core.status.events import events_between
from sluicegate.kube.events import EventRecorder


def record_changes(recorder: EventRecorder, resource: ModelDeployment, after: ModelDeploymentStatus) -> None:
    """Record an Event for each change from the status of `resource` to `after`."""
    metadata = resource.metadata
    about = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": metadata.name,
        "namespace": metadata.namespace,
        "uid": metadata.uid,
    }
    for severity, reason, message in events_between(resource.status, after):
        recorder.record(about, severity, reason, message, "Reconcile")
