"""The type of an addon, and functions that most addons need."""

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
    """A component that can be added to a running cluster.

    Attributes:
        name: Name as in `--addons`. The addon's daemon has the same name, if it has one. More daemons are `NAME-PART`.
        tools: Tools that have to be built for the addon.
        begin: Starts the addon and does not wait, because all addons come up in parallel.
        ready: Tells whether the addon works. It is called until the addon works.
        on_node: Whether the addon needs the node profile.
        needs: Names of the addons that have to start first.
    """

    name: str
    tools: tuple[Tool, ...]
    begin: Callable[[Cluster], None]
    ready: Callable[[Cluster], bool]
    on_node: bool = True
    needs: tuple[str, ...] = ()

    def running(self, cluster: Cluster) -> bool:
        """Tell whether the addon was started in this cluster."""
        return (cluster.state / "addons" / self.name).exists()

    def start(self, cluster: Cluster) -> None:
        """Start the addon and record that it was started."""
        self.begin(cluster)
        note = cluster.state / "addons" / self.name
        note.parent.mkdir(exist_ok=True)
        note.touch()

    def stop(self, cluster: Cluster) -> None:
        """Stop the addon's daemons.

        The addon's objects stay until the cluster is removed.
        """
        for name in proc.names(cluster.state):
            if name == self.name or name.startswith(f"{self.name}-"):
                cluster.kill(name)
                (cluster.state / "run" / f"{name}.json").unlink()
        (cluster.state / "addons" / self.name).unlink(missing_ok=True)


def daemon(cluster: Cluster, name: str, argv: list[str], env: dict[str, str] | None = None) -> None:
    """Start an addon's daemon on the node."""
    start_daemon(cluster.spec, name, argv, env)


def apply(cluster: Cluster, *objects: dict[str, object]) -> None:
    """Apply objects with server-side apply."""
    listing = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=listing)


def node_service(
    cluster: Cluster,
    namespace: str,
    name: str,
    ports: list[tuple[str, str, int, int]],
    cluster_ip: str | None = None,
) -> list[dict[str, object]]:
    """Return a Service and an EndpointSlice that lead to a daemon on the node.

    The Service has no selector.

    Args:
        cluster: The cluster of the node.
        namespace: Namespace of both objects. It has to exist.
        name: Name of both objects.
        ports: Name, protocol, port of the Service and port on the node.
        cluster_ip: A fixed address, if other components are configured with it.
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
    """Return a Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
