"""Invariants of every manifest, independent of templates and overlays.

A violation is a bug in the operator, and the manifest is never sent.
"""

from __future__ import annotations

from typing import Any

from sluicegate.api import names
from sluicegate.render import schema


class Broken(AssertionError):
    """A manifest that must not be applied. The message names the violated rule."""


def checked(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return `manifest` if it meets every invariant.

    Raises:
        Broken: The manifest violates an invariant.
    """
    kind, metadata, spec = manifest["kind"], manifest["metadata"], manifest.get("spec") or {}
    where = f"{kind} {metadata['namespace']}/{metadata['name']}"
    if not metadata.get("ownerReferences"):
        raise Broken(f"{where} has no owner")
    if metadata["labels"].get(names.LABEL_MANAGED_BY) != names.MANAGER:
        raise Broken(f"{where} lacks the label that watches select by")
    if kind == "Deployment":
        selector = spec["selector"]["matchLabels"].items()
        if names.LABEL_REVISION not in spec["selector"]["matchLabels"]:
            raise Broken(f"{where} would own pods of other revisions")
        if not selector <= spec["template"]["metadata"]["labels"].items():
            raise Broken(f"{where} does not select its own pods")
    if kind == "HTTPRoute":
        for rule in spec["rules"]:
            weights = [backend["weight"] for backend in rule["backendRefs"]]
            if sum(weights) != 100 or min(weights) < 0:
                raise Broken(f"{where} has weights {weights}, which do not sum to 100")
    if wrong := schema.problems(kind, {**manifest, "metadata": {**metadata, "ownerReferences": []}}):
        raise Broken(f"{where}: {'; '.join(wrong)}")
    return manifest
