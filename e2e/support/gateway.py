"""The Gateways of a cluster, so that one test can run on each implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from e2e.support.kube import Json
from tools.localcluster import Cluster, up
from tools.localcluster.addons.envoy_gateway import PORT as ENVOY_PORT

GATEWAYS = {"traefik": ("default", 80), "envoy-gateway": ("envoy", ENVOY_PORT)}
"""The Gateway in gateway-system and its port, by GatewayClass.

A class has the name of its addon.
"""


@dataclass(frozen=True)
class Gateway:
    """One Gateway API implementation: its parentRef, its URL and its features."""

    name: str
    """The GatewayClass."""
    parent: Json
    """The entry in `parentRefs`."""
    url: str
    """The URL on which the Gateway listens, without a trailing slash."""
    features: frozenset[str]
    """status.supportedFeatures of the GatewayClass. Empty where the class lists none."""

    def can(self, feature: str) -> bool:
        """Tell whether the class may support an extended feature.

        An example of a feature is HTTPRouteRequestMirror. A class that lists no features at all may support any of
        them.
        """
        return not self.features or feature in self.features

    def traffic(self, **more: Any) -> Json:
        """Return `spec.traffic` of a resource on this Gateway.

        Args:
            more: other fields of `spec.traffic`, such as `timeout="2s"`.
        """
        return {"gateway": {"parentRefs": [self.parent]}, **more}


def connect(cluster: Cluster, name: str) -> Gateway:
    """Return the Gateway of this class, and start it if the cluster does not have it."""
    up(cluster.name, addons=("gateway-crds", name))
    gateway, port = GATEWAYS[name]
    status: Any = cluster.get("gatewayclass", name).get("status", {})
    return Gateway(
        name=name,
        parent={"namespace": "gateway-system", "name": gateway},
        url=f"http://{cluster.node_ip}" + ("" if port == 80 else f":{port}"),
        features=frozenset(feature["name"] for feature in status.get("supportedFeatures") or ()),
    )
