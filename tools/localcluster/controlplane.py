"""The control plane: etcd, the API server, the controllers and the scheduler."""

from __future__ import annotations

from tools.localcluster import network, proc
from tools.localcluster.pki import Pki
from tools.localcluster.shell import run, wait_until
from tools.localcluster.spec import NODE_NAME, Spec
from tools.localcluster.tools import etcd, kubernetes


def certificates(spec: Spec) -> None:
    """Create all certificates and kubeconfigs of the cluster."""
    folder = spec.state / "pki"
    folder.mkdir(mode=0o700)
    pki = Pki(folder)
    pki.authority("ca")
    pki.authority("front-ca")
    pki.service_accounts()
    addresses = f"IP:{spec.node_ip},IP:127.0.0.1,IP:{spec.service_ip(1)},DNS:localhost,DNS:kubernetes.default.svc"
    pki.issue("apiserver", "/CN=kube-apiserver", names=addresses)
    pki.issue("front", "/CN=front-proxy", authority="front-ca")
    subjects = {
        "admin": "/O=system:masters/CN=admin",
        "kcm": "/CN=system:kube-controller-manager",
        "scheduler": "/CN=system:kube-scheduler",
    }
    if spec.is_node:
        subjects["proxy"] = "/CN=system:kube-proxy"
        # DNS, metrics and the gateway are infrastructure and not under test, so they may do everything
        subjects["addon"] = "/O=system:masters/CN=addon"
        pki.issue(
            "kubelet",
            f"/O=system:nodes/CN=system:node:{NODE_NAME}",
            names=f"IP:{spec.node_ip},DNS:{NODE_NAME}",
        )
        pki.kubeconfig(spec.state / "kubelet.conf", "kubelet", spec.server)
    for user, subject in subjects.items():
        pki.issue(user, subject)
        pki.kubeconfig(spec.state / f"{user}.conf", user, spec.server)


def _flags(values: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


def start(spec: Spec, name: str, argv: list[str], env: dict[str, str] | None = None) -> None:
    """Start a daemon on the node, or on this machine if there is no node."""
    proc.start(spec.state, name, [*network.enter(spec), *argv], env)


def _start_etcd(spec: Spec) -> None:
    client, peer = f"http://127.0.0.1:{spec.etcd_port}", f"http://127.0.0.1:{spec.etcd_peer_port}"
    flags = {
        "data-dir": spec.state / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "log-level": "warn",
    }
    start(spec, "etcd", [etcd.bin(), *_flags(flags), "--unsafe-no-fsync"])


def _start_apiserver(spec: Spec) -> None:
    pki = Pki(spec.state / "pki")
    flags: dict[str, object] = {
        "etcd-servers": f"http://127.0.0.1:{spec.etcd_port}",
        "bind-address": spec.node_ip,
        "advertise-address": spec.node_ip,
        "secure-port": spec.api_port,
        "client-ca-file": pki.crt("ca"),
        "tls-cert-file": pki.crt("apiserver"),
        "tls-private-key-file": pki.key("apiserver"),
        "service-account-key-file": pki.folder / "sa.pub",
        "service-account-signing-key-file": pki.key("sa"),
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-cluster-ip-range": spec.services,
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "enable-aggregator-routing": "true",
        "profiling": "false",
        "requestheader-client-ca-file": pki.crt("front-ca"),
        "requestheader-allowed-names": "front-proxy",  # otherwise a client's certificate could claim any user
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki.crt("front"),
        "proxy-client-key-file": pki.key("front"),
    }
    if spec.is_node:
        flags |= {
            "kubelet-client-certificate": pki.crt("admin"),
            "kubelet-client-key": pki.key("admin"),
            "kubelet-preferred-address-types": "InternalIP",  # otherwise `kubectl logs` looks up the node in DNS
        }
    else:
        # 127.0.0.1 cannot be an endpoint, and nothing in this profile reaches the Service `kubernetes`
        flags |= {"endpoint-reconciler-type": "none"}
    start(spec, "kube-apiserver", [kubernetes.bin("kube-apiserver"), *_flags(flags)])


def _start_controllers(spec: Spec, scheduler: bool) -> None:
    pki = Pki(spec.state / "pki")

    def common(user: str) -> dict[str, object]:
        config = spec.state / f"{user}.conf"
        flags: dict[str, object] = {"kubeconfig": config, "leader-elect": "false", "profiling": "false"}
        if spec.is_node:
            return flags | {"authentication-kubeconfig": config, "authorization-kubeconfig": config}
        return flags | {"secure-port": 0}

    manager = common("kcm") | {
        "service-account-private-key-file": pki.key("sa"),
        "root-ca-file": pki.crt("ca"),
        "use-service-account-credentials": "true",
        "kube-api-qps": 100,  # with the default, the controllers create 20 pods a second
        "kube-api-burst": 200,
        "horizontal-pod-autoscaler-sync-period": "5s",  # tests wait for a sync
    }
    start(spec, "kube-controller-manager", [kubernetes.bin("kube-controller-manager"), *_flags(manager)])
    if scheduler:
        flags = common("scheduler")
        start(spec, "kube-scheduler", [kubernetes.bin("kube-scheduler"), *_flags(flags)])


def ready(spec: Spec) -> bool:
    """Tell whether the API server reports that it is ready."""
    argv = [kubernetes.bin("kubectl"), "--kubeconfig", spec.state / "admin.conf", "get", "--raw", "/readyz"]
    return run([*argv, "--request-timeout=2s"], timeout=10).startswith("ok")


def _has_service_account(spec: Spec) -> bool:
    argv = [kubernetes.bin("kubectl"), "--kubeconfig", spec.state / "admin.conf", "-n", "default"]
    return "default" in run([*argv, "get", "serviceaccount", "default", "-o", "name"], timeout=10)


def wait_ready(spec: Spec, timeout: float = 60) -> None:
    """Wait until the API server is ready.

    If etcd or the API server exits instead, the error contains the end of its log.
    """
    parts = [n for n in ("etcd", "kube-apiserver") if n in proc.names(spec.state)]
    end_reached: list[str] = []

    def check() -> bool:
        for name in parts:
            record = proc.load(spec.state, name)
            if not record.alive:
                end_reached.append(name)
                return True
        return ready(spec)

    wait_until("the API server to be ready", check, timeout)
    if end_reached:
        proc.check_alive(spec.state, parts)


def bring_up(spec: Spec, scheduler: bool) -> None:
    """Start the control plane and wait until its controllers work.

    The controllers start after the API server is ready. Before that, RBAC denies their requests and they exit.
    """
    certificates(spec)
    _start_etcd(spec)
    _start_apiserver(spec)
    wait_ready(spec)
    _start_controllers(spec, scheduler)
    wait_until("the controllers to make the default service account", lambda: _has_service_account(spec), 30)
