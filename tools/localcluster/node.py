"""containerd, kubelet and kube-proxy, which turn a control plane into a node."""

from __future__ import annotations

import json
from pathlib import Path

from tools.localcluster import controlplane, images, proc
from tools.localcluster.paths import socket_dir
from tools.localcluster.pki import Pki
from tools.localcluster.shell import run, wait_until
from tools.localcluster.spec import NODE_NAME, Spec
from tools.localcluster.tools import kubernetes


def containerd_socket(spec: Spec) -> str:
    """Return the path of the socket on which containerd listens."""
    return str(socket_dir(spec.name) / "containerd.sock")


def _cri_plugin(spec: Spec) -> str:
    """Return the CRI settings of containerd.

    `restrict_oom_score_adj` is set because machines without CAP_SYS_RESOURCE cannot lower the score. In that case,
    runc reports "can't get final child's PID from pipe: EOF".
    `netns_mounts_under_state_dir` is set so that the pods' network namespaces are found and removed with the state.
    """
    return f"""
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{spec.state}/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{spec.state}/registries"
"""


def _start_containerd(spec: Spec) -> None:
    state, sockets = spec.state, socket_dir(spec.name)
    sockets.mkdir(parents=True, exist_ok=True)
    config = state / "containerd.toml"
    config.write_text(
        f"""version = 2
root = "{state}/containerd"
state = "{sockets}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{containerd_socket(spec)}"
[ttrpc]
  address = "{containerd_socket(spec)}.ttrpc"
"""
        + _cri_plugin(spec)
    )
    # No image registry is reachable. A pull of an image that was not imported fails at once, whatever its name.
    refuse = state / "registries" / "_default"
    refuse.mkdir(parents=True)
    (refuse / "hosts.toml").write_text('server = "http://127.0.0.1:9"\n')
    # ptp gives each pod its own route. Unlike a bridge, ptp does not depend on the kernel's br_netfilter for the way
    # back from a pod to a pod through a Service.
    ipam = {
        "type": "host-local",
        "dataDir": f"{state}/ipam",
        "ranges": [[{"subnet": spec.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugins = [
        {"type": "ptp", "ipMasq": False, "ipam": ipam},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    (state / "cni").mkdir()
    conflist = {"cniVersion": "0.4.0", "name": spec.netns, "plugins": plugins}
    (state / "cni" / "10-pods.conflist").write_text(json.dumps(conflist))
    controlplane.start(spec, "containerd", ["containerd", "-c", str(config)])


def _kubelet_config(spec: Spec) -> dict[str, object]:
    pki = Pki(spec.state / "pki")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": spec.node_ip,
        "containerRuntimeEndpoint": f"unix://{containerd_socket(spec)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{spec.netns}",  # its own cgroup, which the teardown can find and remove
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [spec.service_ip(10)],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": pki.crt("ca")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki.crt("kubelet"),
        "tlsPrivateKeyFile": pki.key("kubelet"),
        "serializeImagePulls": False,
        "maxPods": 250,
        "imageGCHighThresholdPercent": 100,  # an imported image cannot be pulled again
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "100Mi"},
        "volumePluginDir": f"{spec.state}/volumeplugins",
        "containerLogMaxSize": "20Mi",
        "podLogsDir": f"{spec.state}/pod-logs",  # a kubelet removes unknown folders, even those of other clusters
    }


def cgroup_folders(netns: str) -> list[Path]:
    """Return the folder of the cluster's cgroup in each hierarchy.

    cgroup v1 has many hierarchies, and cgroup v2 has one.
    """
    top = Path("/sys/fs/cgroup")
    return [p for p in (top / netns, *(h / netns for h in top.glob("*") if h.is_dir())) if p.is_dir()]


def _make_cgroups(spec: Spec) -> None:
    top = Path("/sys/fs/cgroup")
    if (top / "cgroup.controllers").exists():
        (top / spec.netns).mkdir(exist_ok=True)
        return
    for hierarchy in top.glob("*"):
        # the folder "cpu,cpuacct" has links named cpu and cpuacct
        if (hierarchy / "cgroup.procs").exists() and not hierarchy.is_symlink() and hierarchy.name != "unified":
            (hierarchy / spec.netns).mkdir(exist_ok=True)
    cpuset, root = top / "cpuset" / spec.netns, top / "cpuset"
    for setting in ("cpuset.cpus", "cpuset.mems"):  # no process may enter a new cgroup while these are empty
        if (cpuset / setting).exists():
            (cpuset / setting).write_text((root / setting).read_text())


def _start_kubelet(spec: Spec) -> None:
    config = spec.state / "kubelet.json"
    config.write_text(json.dumps(_kubelet_config(spec), indent=1))
    argv = [
        kubernetes.bin("kubelet"),
        f"--config={config}",
        f"--kubeconfig={spec.state}/kubelet.conf",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={spec.node_ip}",
        f"--root-dir={spec.state}/kubelet",
    ]
    controlplane.start(spec, "kubelet", argv)


def _start_proxy(spec: Spec) -> None:
    argv = [
        kubernetes.bin("kube-proxy"),
        f"--kubeconfig={spec.state}/proxy.conf",
        "--proxy-mode=iptables",
        f"--hostname-override={NODE_NAME}",
        f"--cluster-cidr={spec.pods}",
        f"--bind-address={spec.node_ip}",
        # other values would be written to the /proc/sys of the whole machine
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
        "--iptables-min-sync-period=0s",
    ]
    controlplane.start(spec, "kube-proxy", argv)


def _answers(spec: Spec) -> bool:
    run(["ctr", "-a", containerd_socket(spec), "version"], timeout=10)
    return True


def wait_for_runtime(spec: Spec) -> None:
    """Wait until containerd answers. kubelet exits without it."""
    wait_until("containerd to answer", lambda: _answers(spec), 30)


def start_runtime(spec: Spec) -> None:
    """Start containerd and import the pause image.

    containerd needs no API server, so both start in parallel.
    """
    _make_cgroups(spec)
    _start_containerd(spec)
    wait_for_runtime(spec)
    tar = images.pause_image()
    run(["ctr", "-a", containerd_socket(spec), "-n", "k8s.io", "images", "import", str(tar)])


def start_node(spec: Spec) -> None:
    """Start kubelet and kube-proxy."""
    _start_kubelet(spec)
    _start_proxy(spec)


def ready(spec: Spec) -> bool:
    """Tell whether the node reports that it is ready."""
    proc.check_alive(spec.state, ["containerd", "kubelet", "kube-proxy"])
    condition = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    kubectl = [kubernetes.bin("kubectl"), "--kubeconfig", spec.state / "admin.conf"]
    return run([*kubectl, "get", "node", NODE_NAME, "-o", condition], timeout=10) == "True"
