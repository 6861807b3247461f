"""The Gateway API's resource definitions (standard channel)."""

from __future__ import annotations

from tools.localcluster.addons.base import Addon
from tools.localcluster.cluster import Cluster
from tools.localcluster.tools import module_files

_files = module_files(
    "gateway-api",
    "sigs.k8s.io/gateway-api",
    "v1.7.0",
    "config/crd/standard",
    "h1:duVnm7nO6oXfMMUWfcDoBph47CYR/ME3NGxccOVglaY=",
)
_CRDS = tuple(
    f"crd/{name}.gateway.networking.k8s.io" for name in ("gatewayclasses", "gateways", "httproutes", "referencegrants")
)


def manifests() -> str:
    """The folder to apply; it brings a ValidatingAdmissionPolicy of its own along."""
    return str(_files.path)


def _begin(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", manifests())


def _ready(cluster: Cluster) -> bool:
    """Whether every CRD is established. Not `kubectl wait`: it fails on a CRD so fresh that it has no conditions yet."""
    established = "{range .items[*]}{.status.conditions[?(@.type=='Established')].status}{' '}{end}"
    return cluster.kubectl("get", *_CRDS, "-o", f"jsonpath={established}").split() == ["True"] * len(_CRDS)


gateway_crds = Addon("gateway-crds", (_files,), _begin, _ready, on_node=False)
