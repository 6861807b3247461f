"""A new control plane for each pass: an API server with an audit log, and controllers.

The controllers start on request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.controlplane import audit, bare
from tools.localcluster import Cluster, controlplane, down, proc, up
from tools.localcluster.addons.kwok import add_nodes
from tools.localcluster.pki import Pki
from tools.localcluster.shell import wait_until

OPERATOR, USER, GATE = "operator", "user", "gate"
MEASURED, WARM_UP = "bench", "warm-up"
REPOSITORY = Path(__file__).resolve().parents[2]
_CONTROLLERS = ("kube-controller-manager", "kube-scheduler", "kwok")
_NODES = 10


@dataclass(frozen=True)
class Testbed:
    """A control plane for one pass."""

    cluster: Cluster
    log: audit.Log

    @property
    def keys(self) -> Path:
        """Return the folder with the key and the certificate of each user."""
        return self.cluster.state / "pki"

    @property
    def operator_kubeconfig(self) -> Path:
        """Return the path of the operator's kubeconfig."""
        return self.cluster.state / f"{OPERATOR}.conf"

    def start_controllers(self) -> None:
        """Start the controller-manager, the scheduler and kwok, so that Deployments get pods.

        kwok's nodes exist already.
        """
        for name in _CONTROLLERS:
            self.cluster.start(name)


@contextmanager
def fresh(name: str, statuses: bool = False) -> Iterator[Testbed]:
    """Run a control plane with the CRD and both namespaces while the context is open.

    Its controllers do not run until `start_controllers` is called.
    While a pass creates resources, the API server shares the CPUs only with the measured client, and no pods are made.
    The figures of other projects, with which ours are compared, were measured in the same way.

    Args:
        name: name of the cluster
        statuses: also install the Gateway API, and keep the statuses that the operator writes in the audit log
    """
    down(name)
    addons = ("kwok", "gateway-crds") if statuses else ("kwok",)
    cluster = up(name, profile="control-plane", addons=addons, scheduler=True)
    try:
        add_nodes(cluster, _NODES)
        wait_until("the fake nodes to be ready", lambda: _nodes_ready(cluster), 60)
        for controller in _CONTROLLERS:
            cluster.kill(controller)
        _raise_limits(cluster)
        _users(cluster)
        yield Testbed(cluster, audit.Log(_audited(cluster, OPERATOR if statuses else None)))
    finally:
        down(name)


def _nodes_ready(cluster: Cluster) -> bool:
    """Tell whether the scheduler can place pods on all nodes.

    A new node is tainted until the controller-manager has observed that it is ready.
    """
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    return len(nodes) == _NODES and not any(node["spec"].get("taints") for node in nodes)


def _raise_limits(cluster: Cluster) -> None:
    """Raise the rate limit of the controller-manager, which otherwise limits how fast pods are created."""
    record = proc.load(cluster.state, "kube-controller-manager")
    argv = [*record.argv, "--kube-api-qps=1000", "--kube-api-burst=2000"]
    proc.save(cluster.state, proc.Record(record.name, argv, record.env, record.log, record.pid, record.started))


def _users(cluster: Cluster) -> None:
    """Issue a certificate for each client, with a separate user name for the audit log.

    All clients are in the group system:masters, so the API server throttles none of them.
    """
    pki = Pki(cluster.state / "pki")
    for user in (OPERATOR, bare.USER, USER, GATE):
        pki.issue(user, f"/O=system:masters/CN={user}")
    pki.kubeconfig(cluster.state / f"{OPERATOR}.conf", OPERATOR, cluster.server)


def _audited(cluster: Cluster, statuses_of: str | None) -> Path:
    """Restart the API server with an audit log, and create the CRD and the namespaces.

    Returns:
        The path of the audit log.
    """
    path, rules = cluster.state / "audit.log", cluster.state / "audit-policy.json"
    rules.write_text(audit.policy((OPERATOR, bare.USER, USER), statuses_of))
    record = proc.load(cluster.state, "kube-apiserver")
    cluster.kill("kube-apiserver")
    proc.start(
        cluster.state,
        "kube-apiserver",
        [
            *record.argv,
            f"--audit-log-path={path}",
            f"--audit-policy-file={rules}",
            "--audit-log-maxsize=100000",  # by default it starts a new file after 100 MB
        ],
        record.env,
    )
    controlplane.wait_ready(cluster.spec)
    cluster.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/modeldeployments.sluicegate.dev")
    for namespace in (MEASURED, WARM_UP, "sluicegate-system"):
        cluster.kubectl("create", "namespace", namespace)
    return path
