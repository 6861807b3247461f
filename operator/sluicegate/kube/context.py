"""The default namespace of a command.

It is that of the kubeconfig's context, as in kubectl.
"""

from __future__ import annotations

import os
from pathlib import Path

from kubernetes.aio.config import ConfigException, list_kube_config_contexts
from kubernetes.aio.config.incluster_config import SERVICE_TOKEN_FILENAME

IN_CLUSTER = Path(SERVICE_TOKEN_FILENAME).with_name("namespace")


def namespace(kubeconfig: str | None, context: str | None) -> str:
    """Return the default namespace of a command.

    This is the namespace of a context of the kubeconfig. In a pod without kubeconfig, it is the pod's own namespace.

    Args:
        kubeconfig: A file, or several files joined as in $KUBECONFIG. None means $KUBECONFIG, then the pod, then the
            default of kubectl.
        context: A context of the kubeconfig. None means the current context.
    """
    source = kubeconfig or os.environ.get("KUBECONFIG")
    if source is None and IN_CLUSTER.is_file():
        return IN_CLUSTER.read_text(encoding="utf-8").strip() or "default"
    try:
        contexts, current = list_kube_config_contexts(source)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError):
        return "default"  # connecting reports what is wrong with the kubeconfig
    selected = next((entry for entry in contexts if entry["name"] == context), None) if context else current
    return str(((selected or {}).get("context") or {}).get("namespace") or "default")
