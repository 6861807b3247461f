"""Clusters that this package does not build: an existing one, or one of kind."""

from __future__ import annotations

import os
import shutil

from tools.localcluster import images, tools
from tools.localcluster.addons.gateway_crds import gateway_crds, manifests
from tools.localcluster.errors import ClusterError
from tools.localcluster.paths import check_name, state_root
from tools.localcluster.shell import run, step


def existing() -> str:
    """Install the Gateway API CRDs into the cluster of $KUBECONFIG.

    Returns:
        The path of the kubeconfig.
    """
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig:
        raise ClusterError("--use existing works on the cluster that KUBECONFIG names: set it first.")
    _gateway_crds(kubeconfig)
    return kubeconfig


def kind(name: str) -> str:
    """Create or find a kind cluster, and return the path of its kubeconfig."""
    check_name(name)
    if shutil.which("kind") is None or images.engine() is None:
        raise ClusterError("--use kind needs the command `kind` and a running Docker or Podman engine.")
    kubeconfig = state_root() / f"kind-{name}.conf"
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    if name in run(["kind", "get", "clusters"]).split():
        kubeconfig.write_text(run(["kind", "get", "kubeconfig", "--name", name]))
    else:
        with step(f"kind cluster {name}"):
            run(["kind", "create", "cluster", "--name", name, "--kubeconfig", kubeconfig, "--wait", "120s"])
    _gateway_crds(str(kubeconfig))
    return str(kubeconfig)


def _gateway_crds(kubeconfig: str) -> None:
    tools.ensure(gateway_crds.tools)
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        tools.ensure([tools.kubernetes])
        kubectl = tools.kubernetes.bin("kubectl")
    with step("addon gateway-crds"):
        apply = ["apply", "--server-side", "--force-conflicts", "-f", manifests()]
        run([kubectl, "--kubeconfig", kubeconfig, *apply])
