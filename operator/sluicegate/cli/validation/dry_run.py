"""What the API server would store for a manifest, by a dry run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sluicegate.api import names
from sluicegate.cli.cluster import Failed
from sluicegate.cli.output.diff_text import LAST_APPLIED
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Invalid, NotFound
from sluicegate.kube.kinds import MODEL_DEPLOYMENT

Manifest = dict[str, Any]


async def dry_run(client: KubeClient, manifest: Manifest, live: Manifest | None, manager: str | None) -> Manifest:
    """Return the object as the API server would store it.

    Where a client-side `kubectl apply` wrote the object, and the user names no field manager, the dry run sends the
    same merge patch. Otherwise it is a server-side apply.

    Args:
        client: The client of the cluster.
        manifest: The manifest to apply.
        live: The live object, or None where it does not exist.
        manager: The field manager that the user names.

    Raises:
        Failed: The API server would reject the object, or responds with NotFound.
    """
    path = f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
    applied = ((live or {}).get("metadata") or {}).get("annotations", {}).get(LAST_APPLIED)
    try:
        if live is not None and applied and manager is None:
            return await client.dry_run(MODEL_DEPLOYMENT, _client_side_patch(manifest, live, applied), manager=None)
        return await client.dry_run(MODEL_DEPLOYMENT, manifest, manager=manager or applier_of(live or {}))
    except Invalid as error:
        raise Failed(f"{path}: the API server rejects it: {error.message}") from error
    except NotFound as error:
        raise Failed(f"{path}: {error.message}") from error


def _client_side_patch(manifest: Manifest, live: Manifest, applied: str) -> Manifest:
    metadata = manifest["metadata"]
    annotated = {"annotations": {}, **metadata}  # kubectl's own annotation is always set
    patch = three_way(json.loads(applied), {**manifest, "metadata": annotated}, live)
    identity = {key: metadata[key] for key in ("name", "namespace")}
    return {**patch, "metadata": {**(patch.get("metadata") or {}), **identity}}


def applier_of(live: Mapping[str, Any]) -> str:
    """Return the field manager that has applied the object so far.

    This is `kubectl` where it is one of several, and where no field manager has applied the object.
    """
    entries = (live.get("metadata") or {}).get("managedFields") or ()
    managers = [
        entry["manager"]
        for entry in entries
        if entry.get("operation") == "Apply" and not entry.get("subresource") and entry["manager"] != names.MANAGER
    ]
    return "kubectl" if "kubectl" in managers or not managers else str(managers[0])


def three_way(original: Any, manifest: Manifest, live: Manifest) -> Manifest:
    """Return the merge patch that a client-side `kubectl apply` would send.

    Args:
        original: The manifest that was applied last, from kubectl's annotation.
        manifest: The manifest to apply. Its fields are set where they differ from the live object.
        live: The live object. Its fields that `original` has and `manifest` has not are removed.
    """
    patch: Manifest = {}
    for key, value in manifest.items():
        current = live.get(key)
        if isinstance(value, dict) and isinstance(current, dict):
            before = original.get(key) if isinstance(original, dict) else None
            inner = three_way(before if isinstance(before, dict) else {}, value, current)
            if inner:
                patch[key] = inner
        elif value != current:
            patch[key] = value
    if isinstance(original, dict):
        patch |= {key: None for key in original if key not in manifest and key in live and key != "status"}
    return patch
