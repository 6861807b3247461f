"""A handle on a running cluster, for tests."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
from pathlib import Path

from tools.localcluster import controlplane, network, node, proc
from tools.localcluster import spec as specs
from tools.localcluster.errors import ClusterError
from tools.localcluster.paths import socket_dir
from tools.localcluster.shell import run
from tools.localcluster.tools import ensure_one, helm, kubernetes


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A handle on a cluster.

    The handle keeps nothing open. `connect` can create another handle at any time.
    """

    spec: specs.Spec

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.spec.name

    @property
    def state(self) -> Path:
        """The folder with the cluster's logs, keys and data."""
        return self.spec.state

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of a user who may do everything."""
        return self.state / "admin.conf"

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self.spec.server

    @property
    def node_ip(self) -> str:
        """The node's address, or 127.0.0.1 in the control-plane profile."""
        return self.spec.node_ip

    @property
    def host_ip(self) -> str:
        """The address at which pods reach a server that a test runs on this machine."""
        return self.spec.host_ip

    @property
    def gateway_url(self) -> str:
        """The URL of the Gateway `gateway-system/default`, without a trailing slash."""
        return f"http://{self.spec.node_ip}"

    @property
    def components(self) -> list[str]:
        """The names of the daemons of this cluster, in the order of their latest start."""
        return proc.names(self.state)

    def kubectl(self, *args: str, input: str | None = None, timeout: float = 120) -> str:
        """Run kubectl and return its standard output.

        Raises:
            ClusterError: kubectl failed. The message contains the output of kubectl.
        """
        argv = [kubernetes.bin("kubectl"), "--kubeconfig", self.kubeconfig, *args]
        return run(argv, stdin=input, timeout=timeout)

    def helm(self, *args: str, timeout: float = 300) -> str:
        """Run Helm and return its standard output.

        Helm is built first if it is not in the cache.

        Raises:
            ClusterError: Helm failed. The message contains the output of Helm.
        """
        ensure_one(helm)
        home = {f"HELM_{part}_HOME": str(self.state / "helm" / part.lower()) for part in ("CACHE", "CONFIG", "DATA")}
        argv = [helm.bin(), "--kubeconfig", self.kubeconfig, *args]
        return run(argv, env={**os.environ, **home}, timeout=timeout)

    def process(self, name: str) -> int:
        """Return the process ID of a running component.

        Raises:
            ClusterError: The component does not exist or does not run.
        """
        proc.check_alive(self.state, [name])
        return proc.load(self.state, name).pid

    def kill(self, name: str, sig: int = signal.SIGKILL) -> None:
        """Kill a component and leave it down, for fault tests."""
        record = proc.load(self.state, name)
        proc.kill({record.pid: record.started}, sig)

    def start(self, name: str) -> None:
        """Start a component that is down, in the same way as before."""
        record = proc.load(self.state, name)
        if not record.alive:
            proc.start(self.state, name, record.argv, record.env)
        if name == "containerd":
            node.wait_for_runtime(self.spec)

    def restart(self, name: str, sig: int = signal.SIGKILL) -> None:
        """Kill a component, start it again, and wait for the API server.

        The default signal is SIGKILL.
        """
        self.kill(name, sig)
        self.start(name)
        controlplane.wait_ready(self.spec)

    def nsenter(self, argv: list[str], **options: object) -> subprocess.Popen[bytes]:
        """Start a command in the node's network namespace.

        The options are those of `subprocess.Popen`.
        """
        return subprocess.Popen([*network.enter(self.spec), *argv], **options)  # type: ignore[call-overload,no-any-return]

    def load_image(self, tar: Path | str) -> None:
        """Import an image archive (docker-archive or OCI) into the node's containerd."""
        if not self.spec.is_node:
            raise ClusterError("Only the node profile has images: it is the one with a kubelet.")
        address = str(socket_dir(self.name) / "containerd.sock")
        run(["ctr", "-a", address, "-n", "k8s.io", "images", "import", "--no-unpack=false", str(tar)])

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, object]:
        """Return an object as parsed JSON."""
        parsed: dict[str, object] = json.loads(self.kubectl("-n", namespace, "get", kind, name, "-o", "json"))
        return parsed

    def broken(self) -> str:
        """Return why the cluster is not usable, or an empty string if it is."""
        if not self.spec.ready:
            return "its start was never finished"
        if down := [n for n in self.components if not proc.load(self.state, n).alive]:
            return f"not running: {', '.join(down)}"
        try:
            return "" if controlplane.ready(self.spec) else "the API server is not ready"
        except ClusterError as problem:
            return str(problem)


def connect(name: str = "dev") -> Cluster:
    """Return the running cluster of that name.

    Raises:
        ClusterError: There is no such cluster.
    """
    spec = specs.load(name)
    if spec is None or not spec.ready:
        raise ClusterError(f"There is no cluster {name!r}; `python3 -m tools.localcluster up --name {name}` makes it.")
    return Cluster(spec)
