"""kwok: nodes and pods that exist only in the API server.

It enables measurements with more pods than a machine can run.
kwok needs a scheduler (`up(..., scheduler=True)` in a control plane).
It ignores the nodes of real kubelets, because only the nodes that `add_nodes` creates have its annotation.
"""

from __future__ import annotations

from tools.localcluster.addons.base import Addon, apply, daemon
from tools.localcluster.cluster import Cluster
from tools.localcluster.tools import kwok as _program
from tools.localcluster.tools import module_files

_ANNOTATION = "kwok.x-k8s.io/node"
_stages = module_files(
    "kwok-stages",
    "sigs.k8s.io/kwok",
    "v0.8.0",
    "kustomize/stage",
    "h1:OTIOTwgROqPMovcTwxICx2eYQ4AwLpSx5EpjbDKF4SQ=",
)
_STAGES = ("node/fast/node-initialize", "pod/fast/pod-ready", "pod/fast/pod-delete")
"""The stages of nodes and pods.

A node becomes ready. A pod runs and is ready at once. A deleted pod disappears at once.
"""


def add_nodes(cluster: Cluster, count: int) -> None:
    """Create nodes with room for any number of pods.

    The nodes are ready a few seconds later.
    """
    apply(cluster, *(_node(f"kwok-{number}") for number in range(count)))


def _node(name: str) -> dict[str, object]:
    metadata = {"name": name, "annotations": {_ANNOTATION: "fake"}, "labels": {"kubernetes.io/os": "linux"}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


def _begin(cluster: Cluster) -> None:
    config = cluster.state / ("addon.conf" if cluster.spec.is_node else "admin.conf")
    argv = [
        _program.bin(),
        f"--kubeconfig={config}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake",
        "--node-lease-duration-seconds=10",
        "--cidr=10.64.0.0/12",
        *(f"--config={_stages.path}/{stage}.yaml" for stage in _STAGES),
    ]
    daemon(cluster, "kwok", argv)


def _ready(cluster: Cluster) -> bool:
    return True


kwok = Addon("kwok", (_program, _stages), _begin, _ready, on_node=False)
