"""The Gateway API's resource definitions (standard channel)."""

from __future__ import annotations

from e2e.cluster.addons.base import Addon
from e2e.cluster.cluster import Cluster
from e2e.cluster.tools import module_files

_files = module_files(
    "gateway-api",
    "sigs.k8s.io/gateway-api",
    "v1.7.0",
    "config/crd/standard",
    "h1:duVnm7nO6oXfMMUWfcDoBph47CYR/ME3NGxccOVglaY=",
)


def manifests() -> str:
    """The folder to apply; it brings a ValidatingAdmissionPolicy of its own along."""
    return str(_files.path)


def _begin(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", manifests())
    names = ["gatewayclasses", "gateways", "httproutes", "referencegrants"]
    crds = [f"crd/{n}.gateway.networking.k8s.io" for n in names]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)


def _ready(cluster: Cluster) -> bool:
    return True


gateway_crds = Addon("gateway-crds", (_files,), _begin, _ready, on_node=False)
