"""What an addon is, and what most of them need."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

from tools.localcluster import proc
from tools.localcluster.cluster import Cluster
from tools.localcluster.controlplane import start as start_daemon
from tools.localcluster.tools import Tool


@dataclasses.dataclass(frozen=True)
class Addon:
    """Something that can be added to a running cluster.

    Attributes:
        name: as in `--addons`; its daemon, where it has one, has the same name, and more of them `NAME-PART`.
        tools: what has to be built for it.
        begin: starts it, and does not wait: all addons come up side by side.
        ready: whether it works; asked until it does.
        on_node: whether it needs the node profile.
        needs: other addons that have to be there first.
    """

    name: str
    tools: tuple[Tool, ...]
    begin: Callable[[Cluster], None]
    ready: Callable[[Cluster], bool]
    on_node: bool = True
    needs: tuple[str, ...] = ()

    def running(self, cluster: Cluster) -> bool:
        """Whether it was started in this cluster."""
        return (cluster.state / "addons" / self.name).exists()

    def start(self, cluster: Cluster) -> None:
        """Starts it and notes that."""
        self.begin(cluster)
        note = cluster.state / "addons" / self.name
        note.parent.mkdir(exist_ok=True)
        note.touch()

    def stop(self, cluster: Cluster) -> None:
        """Ends its daemons; its objects stay until the cluster goes."""
        for name in proc.names(cluster.state):
            if name == self.name or name.startswith(f"{self.name}-"):
                cluster.kill(name)
                (cluster.state / "run" / f"{name}.json").unlink()
        (cluster.state / "addons" / self.name).unlink(missing_ok=True)


def daemon(cluster: Cluster, name: str, argv: list[str], env: dict[str, str] | None = None) -> None:
    """Starts an addon's daemon on the node."""
    start_daemon(cluster.spec, name, argv, env)


def apply(cluster: Cluster, *objects: dict[str, object]) -> None:
    """Applies objects by server-side apply."""
    listing = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=listing)


def node_service(
    cluster: Cluster,
    namespace: str,
    name: str,
    ports: list[tuple[str, str, int, int]],
    cluster_ip: str | None = None,
) -> list[dict[str, object]]:
    """A Service without selector and the EndpointSlice that leads to a daemon on the node.

    Args:
        cluster: where.
        namespace: of both objects; it has to exist.
        name: of both objects.
        ports: name, protocol, port of the Service, port on the node.
        cluster_ip: a fixed address, where others are configured with it.
    """
    service: dict[str, object] = {
        "ports": [{"name": n, "protocol": p, "port": port, "targetPort": at} for n, p, port, at in ports]
    }
    if cluster_ip:
        service["clusterIP"] = cluster_ip
    labels = {"kubernetes.io/service-name": name}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": service,
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": n, "protocol": p, "port": at} for n, p, _, at in ports],
            "endpoints": [{"addresses": [cluster.node_ip], "conditions": {"ready": True}}],
        },
    ]


def namespace(name: str) -> dict[str, object]:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
