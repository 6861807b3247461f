"""The Gateways of a cluster, so that one test can run on each implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from e2e.support.kube import Json
from tools.localcluster import Cluster, up
from tools.localcluster.addons.envoy_gateway import PORT as ENVOY_PORT

GATEWAYS = {"traefik": ("default", 80), "envoy-gateway": ("envoy", ENVOY_PORT)}
"""By GatewayClass, which is called like the addon: the Gateway in gateway-system, and its port."""


@dataclass(frozen=True)
class Gateway:
    """One implementation: how a resource names it, where it answers, and what it can."""

    name: str
    """The GatewayClass."""
    parent: Json
    """The entry in `parentRefs`."""
    url: str
    """Where it listens, without a slash at the end."""
    features: frozenset[str]
    """GatewayClass status.supportedFeatures; empty where the class says nothing."""

    def can(self, feature: str) -> bool:
        """Whether it supports an extended feature, as HTTPRouteRequestMirror: a class that lists none at all may have it."""
        return not self.features or feature in self.features

    def traffic(self, **more: Any) -> Json:
        """`spec.traffic` of a resource on this Gateway; `more` are other fields of it, as `timeout="2s"`."""
        return {"gateway": {"parentRefs": [self.parent]}, **more}


def connect(cluster: Cluster, name: str) -> Gateway:
    """The Gateway of this class; it is started where the cluster does not have it yet."""
    up(cluster.name, addons=("gateway-crds", name))
    gateway, port = GATEWAYS[name]
    status: Any = cluster.get("gatewayclass", name).get("status", {})
    return Gateway(
        name=name,
        parent={"namespace": "gateway-system", "name": gateway},
        url=f"http://{cluster.node_ip}" + ("" if port == 80 else f":{port}"),
        features=frozenset(each["name"] for each in status.get("supportedFeatures") or ()),
    )
