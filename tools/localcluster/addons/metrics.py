"""metrics-server, for `kubectl top` and the HorizontalPodAutoscaler."""

from __future__ import annotations

from tools.localcluster.addons.base import Addon, apply, daemon, node_service
from tools.localcluster.cluster import Cluster
from tools.localcluster.tools import go_tool

_server = go_tool("metrics-server", "v0.9.0", "sigs.k8s.io/metrics-server/cmd/metrics-server")
_PORT = 10290
_GROUP = "metrics.k8s.io"


def _begin(cluster: Cluster) -> None:
    config = cluster.state / "addon.conf"
    argv = [
        _server.bin(),
        f"--bind-address={cluster.node_ip}",
        f"--secure-port={_PORT}",
        f"--cert-dir={cluster.state}/metrics-cert",
        f"--kubeconfig={config}",
        f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}",
        "--kubelet-insecure-tls",
        "--kubelet-preferred-address-types=InternalIP",
        "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",  # must be below the resolution, or the server panics
    ]
    daemon(cluster, "metrics", argv)
    service = node_service(cluster, "kube-system", "metrics-server", [("https", "TCP", 443, _PORT)])
    api: dict[str, object] = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1beta1.{_GROUP}"},
        "spec": {
            "group": _GROUP,
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "kube-system", "name": "metrics-server", "port": 443},
        },
    }
    apply(cluster, *service, api)


def _ready(cluster: Cluster) -> bool:
    condition = '{.status.conditions[?(@.type=="Available")].status}'
    return cluster.kubectl("get", "apiservice", f"v1beta1.{_GROUP}", "-o", f"jsonpath={condition}") == "True"


metrics = Addon("metrics", (_server,), _begin, _ready)
