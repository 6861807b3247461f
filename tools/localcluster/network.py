"""The node's network namespace.

A veth pair connects the namespace to the host. Routes on the host lead to pods and Services.
The namespace has no default route, so nothing in the cluster can reach beyond this machine.
An attempt, such as an image pull, fails at once instead of after a timeout.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

from tools.localcluster.errors import ClusterError
from tools.localcluster.shell import run
from tools.localcluster.spec import Spec


def path(netns: str) -> Path:
    """Return the path at which iproute2 keeps the namespace."""
    return Path("/run/netns") / netns


def enter(spec: Spec) -> list[str]:
    """Return the prefix of a command that has to run on the node.

    The prefix is not `ip netns exec`, which mounts a new /sys and so hides the cgroups from kubelet.
    """
    return ["nsenter", f"--net={path(spec.netns)}"] if spec.is_node else []


def _veth(name: str) -> str:
    return "slg" + hashlib.sha256(name.encode()).hexdigest()[:9]  # interface names have at most 15 characters


def create(spec: Spec) -> None:
    """Create the namespace, the link and the routes."""
    veth = _veth(spec.name)
    run(["ip", "netns", "add", spec.netns])
    run(["ip", "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", spec.netns])
    run(["ip", "addr", "add", f"{spec.host_ip}/30", "dev", veth])
    run(["ip", "link", "set", veth, "up"])
    inside = (
        f"ip addr add {spec.node_ip}/30 dev eth0 && ip link set eth0 up && ip link set lo up"
        # a local client of a ClusterIP needs a route before kube-proxy's rules can rewrite the address
        f" && ip route add {spec.services} via {spec.host_ip}"
        " && echo 1 > /proc/sys/net/ipv4/ip_forward"
    )
    run([*enter(spec), "sh", "-c", inside])
    for destination in (spec.pods, spec.services):
        run(["ip", "route", "replace", destination, "via", spec.node_ip])


def exists(netns: str) -> bool:
    """Tell whether the namespace exists."""
    return path(netns).exists()


def processes(netns: str) -> list[int]:
    """Return the IDs of all processes in this namespace.

    They belong to daemons, containerd's shims and pods on the host network.
    """
    if not exists(netns):
        return []
    try:
        wanted = path(netns).stat().st_ino
    except OSError:
        return []
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "ns" / "net").stat().st_ino == wanted and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def remove(name: str, netns: str) -> None:
    """Remove the link, which removes its routes too, and the namespace."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return
    with contextlib.suppress(ClusterError):
        run(["ip", "link", "del", _veth(name)])
    if exists(netns):
        run(["ip", "netns", "del", netns])
