"""The CRDs of the Gateway API (standard channel)."""

from __future__ import annotations

from tools.localcluster.addons.base import Addon
from tools.localcluster.cluster import Cluster
from tools.localcluster.tools import module_files

files = module_files(
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
    """Return the folder to apply.

    The folder also contains a ValidatingAdmissionPolicy.
    """
    return str(files.path)


def _begin(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", manifests())


def _ready(cluster: Cluster) -> bool:
    """Tell whether every CRD is established.

    The check is not `kubectl wait`, which fails on a CRD so new that it has no conditions yet.
    """
    established = "{range .items[*]}{.status.conditions[?(@.type=='Established')].status}{' '}{end}"
    return cluster.kubectl("get", *_CRDS, "-o", f"jsonpath={established}").split() == ["True"] * len(_CRDS)


gateway_crds = Addon("gateway-crds", (files,), _begin, _ready, on_node=False)
