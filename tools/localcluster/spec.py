"""The profile and the addresses of one cluster.

They are kept as `cluster.json` in the cluster's state folder.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import random
import socket
from pathlib import Path

from tools.localcluster.errors import ClusterError
from tools.localcluster.paths import state_dir, state_root
from tools.localcluster.shell import run

PROFILES = ("node", "control-plane")
NODE_NAME = "node1"
_RANGE = ipaddress.ip_network("198.18.0.0/15")  # reserved for tests of networks, and not routed anywhere
_BLOCK = 18  # prefix length in bits, for eight clusters at a time


@dataclasses.dataclass(frozen=True)
class Spec:
    """The facts from which every part of a cluster is configured."""

    name: str
    profile: str
    node_ip: str
    host_ip: str
    block: str
    pods: str
    services: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    ready: bool = False

    @property
    def state(self) -> Path:
        """The folder with the cluster's state."""
        return state_dir(self.name)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.node_ip}:{self.api_port}"

    @property
    def netns(self) -> str:
        """The name of the node's network namespace, of its cgroup and of its CNI network."""
        return f"sluice-{self.name}"

    @property
    def is_node(self) -> bool:
        """Whether the cluster has a kubelet, and so a network namespace."""
        return self.profile == "node"

    def service_ip(self, number: int) -> str:
        """Return an address in the Service range: 1 is the API server, 10 is DNS."""
        return str(ipaddress.ip_network(self.services)[number])

    def save(self) -> None:
        """Write `cluster.json` atomically."""
        path = self.state / "cluster.json"
        path.with_suffix(".tmp").write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")
        path.with_suffix(".tmp").rename(path)


def load(name: str) -> Spec | None:
    """Read the facts of a cluster.

    Return None if there is no cluster, or if its file is invalid.
    """
    try:
        return Spec(**json.loads((state_dir(name) / "cluster.json").read_text()))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def all_names() -> list[str]:
    """Return the names of the clusters that have state on this machine."""
    return sorted(p.parent.name for p in state_root().glob("*/cluster.json"))


def control_plane(name: str) -> Spec:
    """Return the facts for a control plane on 127.0.0.1.

    The ports are free now. They are below the range that outgoing connections use, so they stay free for a while.
    """
    etcd, peer, api = _free_ports(3)
    local = "127.0.0.1"
    return Spec(name, "control-plane", local, local, "", "10.244.0.0/16", "10.96.0.0/16", api, etcd, peer)


def node(name: str) -> Spec:
    """Return the facts for a node in the first free address block.

    A block is free if no other cluster and no route uses it.
    """
    taken = {s.block for n in all_names() if n != name and (s := load(n))}
    routes = run(["ip", "-4", "route", "show"]) + run(["ip", "-4", "-o", "addr", "show"])
    used = [ipaddress.ip_network(w, strict=False) for w in routes.split() if w.startswith(("198.18.", "198.19."))]
    for block in _RANGE.subnets(new_prefix=_BLOCK):
        if str(block) in taken or any(block.overlaps(u) for u in used):
            continue
        services, pods = list(block.subnets(new_prefix=20))[1], list(block.subnets(new_prefix=19))[1]
        return Spec(name, "node", str(block[2]), str(block[1]), str(block), str(pods), str(services), 6443, 2379, 2380)
    raise ClusterError(f"All address blocks of {_RANGE} are in use; take a cluster down first.")


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        port = random.randint(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
