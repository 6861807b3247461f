"""A fresh API server with an audit log for each pass, and the controllers switched on when their turn comes."""

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
    """One control plane, used for one pass."""

    cluster: Cluster
    log: audit.Log

    @property
    def keys(self) -> Path:
        """The folder with every user's key and certificate."""
        return self.cluster.state / "pki"

    @property
    def operator_kubeconfig(self) -> Path:
        """What the operator logs in with."""
        return self.cluster.state / f"{OPERATOR}.conf"

    def start_controllers(self) -> None:
        """Starts what makes pods of Deployments: controller-manager, scheduler, and kwok, whose nodes are there already."""
        for name in _CONTROLLERS:
            self.cluster.start(name)


@contextmanager
def fresh(name: str, statuses: bool = False) -> Iterator[Testbed]:
    """A control plane with the CRD and both namespaces; its controllers wait for `start_controllers`.

    With `statuses` it has the Gateway API too, and the audit log keeps the statuses that the operator writes.

    While a pass creates resources the API server has the processors for the client that is measured, and nothing makes pods:
    that is how the figures of others were measured that ours are compared with.
    """
    down(name)
    addons = ("kwok", "gateway-crds") if statuses else ("kwok",)
    cluster = up(name, profile="control-plane", addons=addons, scheduler=True)
    try:
        add_nodes(cluster, _NODES)
        wait_until("the fake nodes to be ready", lambda: _nodes_ready(cluster), 60)
        for each in _CONTROLLERS:
            cluster.kill(each)
        _raise_limits(cluster)
        _users(cluster)
        yield Testbed(cluster, audit.Log(_audited(cluster, OPERATOR if statuses else None)))
    finally:
        down(name)


def _nodes_ready(cluster: Cluster) -> bool:
    """Whether the scheduler would place pods: a new node is tainted until the controller-manager has seen it ready."""
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    return len(nodes) == _NODES and not any(each["spec"].get("taints") for each in nodes)


def _raise_limits(cluster: Cluster) -> None:
    """The controllers' own rate limit would decide how fast pods come."""
    record = proc.load(cluster.state, "kube-controller-manager")
    argv = [*record.argv, "--kube-api-qps=1000", "--kube-api-burst=2000"]
    proc.save(cluster.state, proc.Record(record.name, argv, record.env, record.log, record.pid, record.started))


def _users(cluster: Cluster) -> None:
    """A name of its own for each client, so that the audit log tells them apart; none is throttled (system:masters)."""
    pki = Pki(cluster.state / "pki")
    for user in (OPERATOR, bare.USER, USER, GATE):
        pki.issue(user, f"/O=system:masters/CN={user}")
    pki.kubeconfig(cluster.state / f"{OPERATOR}.conf", OPERATOR, cluster.server)


def _audited(cluster: Cluster, statuses_of: str | None) -> Path:
    """Starts the API server again with an audit log, and installs what the passes need; returns the log's path."""
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
            "--audit-log-maxsize=100000",  # or it begins another file after 100 MB
        ],
        record.env,
    )
    controlplane.wait_ready(cluster.spec)
    cluster.kubectl("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/modeldeployments.sluicegate.dev")
    for namespace in (MEASURED, WARM_UP, "sluicegate-system"):
        cluster.kubectl("create", "namespace", namespace)
    return path
