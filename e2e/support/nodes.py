"""Nodes with GPUs on a machine that has none.

The status of the real node lists extended resources. A second node is only an object that no kubelet runs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from e2e.support.kube import Json, Kube, Refused, wait_until

NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
MERGE = "application/merge-patch+json"
HEARTBEAT = 5
"""Seconds between two renewals of the node's Lease.

The node controller gives up on a node after 40 or more.
"""


def advertise(kube: Kube, node: str, devices: Mapping[str, int | None]) -> None:
    """Set the number of each extended resource of a node. None removes the resource.

    The kubelet adopts these numbers and admits pods by them.
    """
    amounts = {name: None if count is None else str(count) for name, count in devices.items()}
    kube.call("PATCH", f"{NODES}/{node}/status", {"status": {"capacity": amounts, "allocatable": amounts}}, MERGE)

    def there() -> bool:
        allocatable = kube.call("GET", f"{NODES}/{node}")["status"]["allocatable"]
        return all(allocatable.get(name) == amount for name, amount in amounts.items())

    wait_until(f"{node} to have {amounts}", there, 30)


def label(kube: Kube, node: str, labels: Mapping[str, str | None]) -> None:
    """Set labels of a node, or remove those whose value is None."""
    kube.call("PATCH", f"{NODES}/{node}", {"metadata": {"labels": labels}}, MERGE)


@contextlib.contextmanager
def real_node(kube: Kube, devices: dict[str, int], labels: dict[str, str]) -> Iterator[str]:
    """Yield the cluster's own node, with GPUs added. Pods run on it."""
    node = str(kube.call("GET", NODES)["items"][0]["metadata"]["name"])
    try:
        label(kube, node, labels)
        advertise(kube, node, devices)
        yield node
    finally:
        advertise(kube, node, dict.fromkeys(devices))
        label(kube, node, dict.fromkeys(labels))


@contextlib.contextmanager
def paper_node(kube: Kube, name: str, devices: dict[str, int], labels: dict[str, str]) -> Iterator[str]:
    """Yield a second node that exists only as an object.

    The scheduler binds pods to it, but no kubelet runs them.
    It has the same taint as GPU nodes, so that no other pod of the cluster is scheduled there.
    """
    resources = {"cpu": "8", "memory": "64Gi", "pods": "20", **{key: str(count) for key, count in devices.items()}}
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(kube, name, stop), daemon=True)
    try:
        kube.call("POST", NODES, _node(name, resources, labels))
        kube.call("POST", LEASES, _lease(name))
        beat.start()
        wait_until(f"{name} to be schedulable", lambda: _taints(kube, name) == {"nvidia.com/gpu"}, 60)
        yield name
    finally:
        stop.set()
        if beat.is_alive():
            beat.join(HEARTBEAT * 2)
        _delete(kube, f"{LEASES}/{name}")
        _delete(kube, f"{NODES}/{name}")
        for pod in kube.call("GET", f"/api/v1/pods?fieldSelector=spec.nodeName={name}")["items"]:
            metadata = pod["metadata"]  # no kubelet ends these pods
            _delete(kube, f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}?gracePeriodSeconds=0")


def _node(name: str, resources: dict[str, str], labels: dict[str, str]) -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "OnPaper",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    own = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}  # every kubelet sets these
    return {
        "metadata": {"name": name, "labels": {**own, **labels}},
        "spec": {"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]},
        "status": {"capacity": resources, "allocatable": resources, "conditions": [ready]},
    }


def _lease(name: str) -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now},
    }


def _beat(kube: Kube, name: str, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with contextlib.suppress(Refused):
            kube.call("PATCH", f"{LEASES}/{name}", {"spec": _lease(name)["spec"]}, MERGE)


def _taints(kube: Kube, name: str) -> set[str]:
    return {taint["key"] for taint in kube.call("GET", f"{NODES}/{name}")["spec"].get("taints") or ()}


def _delete(kube: Kube, path: str) -> None:
    try:
        kube.call("DELETE", path)
    except Refused as refused:
        if refused.code != 404:
            raise
