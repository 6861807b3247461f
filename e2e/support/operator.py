"""The operator as a process on the node."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections import Counter
from pathlib import Path

from e2e.support.kube import Json, Kube, wait_until
from tools.localcluster import Cluster

NAMESPACE = "sluicegate-system"


class Operator:
    """The operator's Deployment in a namespace."""

    def __init__(self, cluster: Cluster, kube: Kube, namespace: str = NAMESPACE) -> None:
        self._cluster = cluster
        self._kube = kube
        self._namespace = namespace

    def pods(self) -> list[Json]:
        """List the operator's pods that are not being deleted, oldest first."""
        found = self._kube.list("pod", self._namespace, **{"app.kubernetes.io__name": "sluicegate"})
        alive = [each for each in found if not each["metadata"].get("deletionTimestamp")]
        return sorted(alive, key=lambda each: str(each["metadata"]["creationTimestamp"]))

    def ready_pods(self) -> list[Json]:
        """List the operator's ready pods. A standby is ready too."""
        return [pod for pod in self.pods() if _ready(pod)]

    def leader(self) -> str:
        """Return the Lease's `holderIdentity`. Empty if no operator holds the Lease."""
        lease = self._kube.get("lease", "sluicegate-operator", self._namespace)
        return str((lease or {}).get("spec", {}).get("holderIdentity") or "")

    def leading_pod(self) -> Json | None:
        """Return the leading pod, once it is ready.

        A killed pod restarts under its name while the Lease still names the old process. So this also checks the pod's
        metrics.
        """
        holder = self.leader()
        held = [pod for pod in self.ready_pods() if holder.startswith(pod["metadata"]["name"])]
        return next((pod for pod in held if self._leads(pod)), None)

    def _leads(self, pod: Json) -> bool:
        try:
            return "sluicegate_leading 1.0" in self.metrics(pod, timeout=2)
        except OSError:
            return False

    def wait_leading(self, timeout: float = 90, other_than: str = "") -> Json:
        """Wait until a ready pod leads, and return the pod.

        Args:
            timeout: seconds to wait.
            other_than: id of a container that does not count.
        """

        def look() -> Json | None:
            pod = self.leading_pod()
            return pod if pod is not None and container_id(pod) != other_than else None

        return dict(wait_until("an operator that leads", look, timeout))

    def metrics(self, pod: Json, timeout: float = 10) -> str:
        """Return the response of the pod's /metrics."""
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:8080/metrics", timeout=timeout) as answer:
            return str(answer.read().decode())

    def writes(self, pod: Json) -> Counter[str]:
        """Count the writes since the process started, by kind and outcome ("Service ok").

        Renewals of the Lease are left out, and writes that found nothing: the namespace of another test has just gone.
        """
        found: Counter[str] = Counter()
        for labels, value in re.findall(r"^sluicegate_writes_total\{(.*)\} (\S+)$", self.metrics(pod), re.MULTILINE):
            label = dict(re.findall(r'(\w+)="(\w*)"', labels))
            if label["kind"] != "Lease" and label["outcome"] != "NotFound":
                found[f"{label['kind']} {label['outcome']}"] += int(float(value))
        return found

    def reconciles(self, pod: Json) -> int:
        """Count the reconciles since the process started."""
        matches = re.findall(
            r"^sluicegate_reconcile_duration_seconds_count\{.*\} (\S+)$", self.metrics(pod), re.MULTILINE
        )
        return sum(int(float(each)) for each in matches)

    def container(self, pod: Json) -> str:
        """Return the id of the pod's container. A different id means a different process."""
        return container_id(pod)

    def kill(self, pod: Json, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to every process of the container, from outside the container.

        From inside, PID 1 would ignore the signal.
        """
        for pid in processes(container_id(pod)):
            os.kill(pid, number)


def container_id(pod: Json) -> str:
    """Return the id of the pod's running container."""
    state = (pod["status"].get("containerStatuses") or [{}])[0]
    return str(state.get("containerID", "")).rpartition("/")[2]


def processes(cgroup: str) -> list[int]:
    """Return the process IDs of a container or of a pod, by the id of the container or the UID of the pod."""
    pids = [pid for pid in _pids() if cgroup in _cgroup(pid)]
    assert pids, f"no process of {cgroup} on this machine"
    return pids


def _ready(pod: Json) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"].get("conditions") or ()
    )


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _cgroup(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""
