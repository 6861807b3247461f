"""Comparison of an object in the cluster with a manifest.

Only fields that the manifest has are compared. Fields that others added (defaults, a sidecar, an annotation) are
ignored. `FINGERPRINT` is a hash of the manifest, kept as an annotation. It shows fields that the operator once applied
and no longer wants.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from sluicegate.api.names import GROUP
from sluicegate.render.overlay import merge_key

FINGERPRINT = f"{GROUP}/applied"
_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(m|u|n|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?"
)
_SUFFIX = {
    "n": "1e-9",
    "u": "1e-6",
    "m": "1e-3",
    "k": "1e3",
    "M": "1e6",
    "G": "1e9",
    "T": "1e12",
    "P": "1e15",
    "E": "1e18",
}
_IN_RESOURCES = re.compile(r"\.(limits|requests|target|hard)\.[^\[\]]+$")
_KEPT_WHEN_ZERO = {
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "blockOwnerDeletion",
    "enableServiceLinks",
    "minReplicas",
    "privileged",
    "readOnlyRootFilesystem",
    "replicas",
    "runAsNonRoot",
    "runAsUser",
    "weight",
}
"""Fields whose zero value differs from their absence. In all other fields the API server drops "", 0 and false."""
_QUANTITY_FIELDS = {"sizeLimit", "averageValue", "divisor", "storage"}


def fingerprinted(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return `manifest` with its own hash as an annotation.

    The hash does not include spec.replicas. Whether the operator applies it depends on which controller owns it, and
    that alone is not a change.
    """
    spec = {key: value for key, value in (manifest.get("spec") or {}).items() if key != "replicas"}
    digest = hashlib.sha256(msgspec.json.encode({**manifest, "spec": spec}, order="sorted")).hexdigest()[:16]
    metadata = manifest["metadata"]
    annotations = {**(metadata.get("annotations") or {}), FINGERPRINT: digest}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def difference(desired: Any, existing: Any, path: str = "") -> str | None:
    """Return the path of the first field that differs from the manifest, or None.

    Quantities compare by value, because the API server stores 1000m as 1. An empty object or list equals a missing one.

    Args:
        desired: The manifest, or a part of it.
        existing: The same part of the object in the cluster.
        path: Path of the part.
    """
    if isinstance(desired, dict):
        if not isinstance(existing, dict):
            return None if not desired and existing is None else path
        paths = (difference(value, existing.get(key), f"{path}.{key}") for key, value in desired.items())
        return next((path for path in paths if path is not None), None)
    if isinstance(desired, list):
        return _list_difference(desired, existing, path)
    if desired == existing or (_is_quantity(path) and _same_quantity(desired, existing)):
        return None
    if existing is None and not desired and path.rpartition(".")[2] not in _KEPT_WHEN_ZERO:
        return None
    return path


def _list_difference(desired: list[Any], existing: Any, path: str) -> str | None:
    if not desired and not existing:
        return None
    if not isinstance(existing, list):
        return path
    key = merge_key(desired, existing) if existing else None
    if key is None:
        if len(desired) != len(existing):
            return path
        pairs = [(index, item, existing[index]) for index, item in enumerate(desired)]
    else:
        named = {item[key]: item for item in existing}
        pairs = [(item[key], item, named.get(item[key])) for item in desired]
    paths = (difference(item, other, f"{path}[{index}]") for index, item, other in pairs)
    return next((path for path in paths if path is not None), None)


def _is_quantity(path: str) -> bool:
    return path.rpartition(".")[2] in _QUANTITY_FIELDS or _IN_RESOURCES.search(path) is not None


def _same_quantity(left: Any, right: Any) -> bool:
    first, second = _quantity(left), _quantity(right)
    return first is not None and first == second


def _quantity(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        return None
    number, suffix = Decimal(match.group(1)), match.group(2)
    if suffix is None:
        return number
    if suffix.endswith("i"):
        return number * Decimal(2) ** (10 * ("KMGTPE".index(suffix[0]) + 1))
    return number * Decimal(_SUFFIX[suffix])
