"""Overlay of `spec.podTemplate` on a pod template."""

from __future__ import annotations

from typing import Any

_KEYS = ("mountPath", "devicePath", "name", "containerPort", "topologyKey", "ip")
"""Fields that identify the items of a list, as in Kubernetes' strategic merge patch.

One volume may be mounted twice, so the path identifies a mount before the name does.
"""

_SETS = ("tolerations",)
"""Lists whose items have no name, and to which an overlay adds items."""

_PATCH = "$patch"
"""Directive of Kubernetes' strategic merge patch.

`{$patch: delete}` in place of a value removes a field, as null does. Client-side `kubectl apply` drops null before it
reaches the API server, and keeps the directive. In an item of a list, the directive removes that item.
"""


def overlay(base: Any, over: Any) -> Any:
    """Return `over` merged into `base`.

    Objects merge field by field, and null or `{$patch: delete}` removes a field. Lists of items with a name
    (containers, volumes, env, ports) merge item by item. Tolerations are added. Every other list, and every scalar, is
    replaced.
    """
    if isinstance(base, dict) and isinstance(over, dict):
        merged = dict(base)
        for field, value in over.items():
            if value is None or _deletes(value):
                merged.pop(field, None)
            else:
                merged[field] = _laid(field, merged[field], value) if field in merged else _added(value)
        return merged
    if isinstance(base, list) and isinstance(over, list):
        key = merge_key(base, over)
        return _merge_items(base, over, key) if key else _added(over)
    return _added(over)


def _deletes(value: Any) -> bool:
    return isinstance(value, dict) and value.get(_PATCH) == "delete"


def _added(value: Any) -> Any:
    """Return a value that replaces nothing, without the parts to delete."""
    if isinstance(value, dict):
        return {field: _added(item) for field, item in value.items() if not _deletes(item)}
    if isinstance(value, list):
        return [_added(item) for item in value if not _deletes(item)]
    return value


def without_nulls(value: Any) -> Any:
    """Return a copy of `value` without the fields that are null, at any depth."""
    if isinstance(value, dict):
        return {field: without_nulls(item) for field, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def _laid(field: str, base: Any, over: Any) -> Any:
    if field in _SETS and isinstance(base, list) and isinstance(over, list):
        deleted = [{key: item[key] for key in item if key != _PATCH} for item in over if _deletes(item)]
        added = [item for item in over if not _deletes(item) and item not in base]
        return [item for item in base if item not in deleted] + added
    return overlay(base, over)


def merge_key(left: list[Any], right: list[Any]) -> str | None:
    """Return the field that identifies the items of both lists, or None.

    No two items of one list have the same value of that field.
    """
    items = [*left, *right]
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    return next((key for key in _KEYS if _names(key, left) and _names(key, right)), None)


def _names(key: str, items: list[dict[str, Any]]) -> bool:
    values = [item.get(key) for item in items]
    return all(isinstance(value, str | int) for value in values) and len(set(values)) == len(values)


def _merge_items(base: list[Any], over: list[Any], key: str) -> list[Any]:
    merged = {item[key]: item for item in base}
    for item in over:
        if _deletes(item):
            merged.pop(item[key], None)
            continue
        merged[item[key]] = overlay(merged[item[key]], item) if item[key] in merged else _added(item)
    return list(merged.values())
