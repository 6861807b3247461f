"""The size of the free objects of a spec: the fields that hold objects of other APIs, such as `podTemplate`.

The CRD cannot limit them, because their schema is unknown. A decoded object takes up to 20 times the memory of its
JSON, and the operator keeps the specs of all namespaces in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import msgspec.inspect as mi

from sluicegate.api.fields import ANY_OBJECT
from sluicegate.api.schema import optional
from sluicegate.api.spec import ModelDeploymentSpec

LIMIT: Final = 64 << 10
"""Bytes of JSON of all free objects of one resource together. A pod template has a few kilobytes."""
_ITEMS: Final = "[]"
_Path: TypeAlias = tuple[str, ...]


class TooLarge(NamedTuple):
    """The free objects of a resource are over the limit."""

    field: str
    """Path of the largest one."""
    size: int
    """Its bytes."""
    total: int
    """Bytes of all of them."""

    @property
    def message(self) -> str:
        """Return the problem and its fix."""
        others = "" if self.total == self.size else f", and with the other fields of this kind {self.total:,}"
        return (
            f"it has {self.size:,} bytes of JSON{others}, more than the limit of {LIMIT:,}. Move large values to a "
            "ConfigMap or a volume, or remove them."
        )

    def __str__(self) -> str:
        """Return the field, the problem and its fix."""
        return f"{self.field}: {self.message}"


class _Free(NamedTuple):
    """A free object: its path, and the object or list that contains it."""

    path: str
    container: Any
    key: Any


def bounded(spec: Any) -> tuple[Any, TooLarge | None]:
    """Return a spec that is safe to keep in memory.

    Args:
        spec: The spec as plain data.

    Returns:
        The spec, and None. If its free objects are over the limit: a copy without them, and the largest one.
    """
    sizes = {free.path: len(msgspec.json.encode(free.container[free.key])) for free in _find(spec)}
    total = sum(sizes.values())
    if total <= LIMIT:
        return spec, None
    largest = max(sizes, key=lambda path: sizes[path])
    return _without(spec), TooLarge(largest, sizes[largest], total)


def _without(spec: Any) -> Any:
    copied = msgspec.json.decode(msgspec.json.encode(spec))
    for free in _find(copied):
        free.container[free.key] = {}
    return copied


def _find(spec: Any) -> Iterator[_Free]:
    for path in _PATHS:
        yield from _below(spec, path, "spec")


def _below(value: Any, path: _Path, name: str) -> Iterator[_Free]:
    step, *rest = path
    places: list[tuple[int | str, str]]
    if step == _ITEMS:
        places = [(index, f"{name}[{index}]") for index in range(len(value))] if isinstance(value, list) else []
    else:
        places = [(step, f"{name}.{step}")] if isinstance(value, Mapping) and value.get(step) is not None else []
    for key, child in places:
        if rest:
            yield from _below(value[key], tuple(rest), child)
        else:
            yield _Free(child, value, key)


def _paths(kind: mi.Type) -> Iterator[_Path]:
    kind = optional(kind)
    match kind:
        case mi.Metadata(extra_json_schema=extra) if ANY_OBJECT.items() <= (extra or {}).items():
            yield ()
        case mi.Metadata(type=inner):
            yield from _paths(inner)
        case mi.VarTupleType(item_type=item):
            yield from ((_ITEMS, *path) for path in _paths(item))
        case mi.StructType(fields=fields):
            for field in fields:
                yield from ((field.encode_name, *path) for path in _paths(field.type))


_PATHS: Final = tuple(_paths(mi.type_info(ModelDeploymentSpec)))
