"""Model signatures: whether callers of one version can call another unchanged.

The pods of a revision report the signature of the model that they fetched, in the termination message of the init
container. So the operator knows it for every source, before any request. What is compatible follows from how MLflow
enforces a schema on JSON: a caller must send every required input, a number may become a wider one, and MLflow drops
further columns. Source: mlflow/models/utils.py, `_enforce_schema`.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Field = Mapping[str, Any]
_LARGEST = 4 << 20
"""The largest number of bytes of JSON to unpack. The operator does not trust the message of a pod."""
_DEEPEST = 16
_WIDER = {
    "integer": {"long", "double"},
    "long": {"double"},
    "float": {"double"},
    "int32": {"int64", "float64"},
    "int64": {"float64"},
    "float32": {"float64"},
}
"""For each type, the wider types that accept the values which callers send for it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and returns.

    For a very wide signature, only the digest is known.
    """

    text: str
    """The text that the pod reported. It is equal for equal signatures."""
    inputs: tuple[Field, ...] | None = None
    outputs: tuple[Field, ...] | None = None
    params: tuple[Field, ...] = ()

    @property
    def whole(self) -> bool:
        """Tell whether more than the digest is known."""
        return self.text.startswith("z:")


@lru_cache(maxsize=4096)
def parse(text: str) -> Signature | None:
    """Parse the signature that a pod reported. Return None for any other text."""
    if text.startswith("sha256:"):
        return Signature(text)
    if not text.startswith("z:"):
        return None
    unpacking = zlib.decompressobj()
    try:
        document = json.loads(unpacking.decompress(base64.b64decode(text[2:], validate=True), _LARGEST))
        parts = {part: _fields(document[part]) for part in ("inputs", "outputs", "params")}
    except (ValueError, zlib.error, KeyError, TypeError, RecursionError):
        return None
    if not unpacking.eof:
        return None
    return Signature(text, parts["inputs"], parts["outputs"], parts["params"] or ())


def _fields(schema: Any) -> tuple[Field, ...] | None:
    if schema is None:
        return None
    if not isinstance(schema, list) or not all(isinstance(field, dict) for field in schema):
        raise ValueError("a schema is a list of objects")
    return tuple(schema)


def differences(old: Signature, new: Signature) -> tuple[str, ...]:
    """Return why callers of `old` may not be compatible with `new`, as phrases.

    For inputs, these differences count: an input that is required now and was missing or optional before, a required
    input that was removed, and a type that does not accept what callers send. For outputs, any change counts. For
    params, a removal or another type counts.

    Where only the digest of either signature is known, the result is one phrase for any change. The result is empty
    where callers are compatible, or where either signature has no schema to compare.
    """
    if old.text == new.text:
        return ()
    if not (old.whole and new.whole):
        return ("it changed, and is too large to list the differences",)
    phrases = [
        *_inputs(old.inputs, new.inputs),
        *_outputs(old.outputs, new.outputs),
        *_params(old.params, new.params),
    ]
    return tuple(dict.fromkeys(phrases))


def _inputs(old: tuple[Field, ...] | None, new: tuple[Field, ...] | None) -> Iterator[str]:
    if old is not None and new is not None:
        yield from _compared("input ", _named(old), _named(new), 0)


def _compared(prefix: str, old: Mapping[str, Field], new: Mapping[str, Field], depth: int) -> Iterator[str]:
    """Yield the incompatible differences of fields that callers send."""
    for name, now in new.items():
        before = old.get(name)
        if before is None:
            if _required(now):
                yield f"{prefix}{name} ({_type(now)}) is required and did not exist"
            continue
        if _required(now) and not _required(before):
            yield f"{prefix}{name} is required and was optional"
        yield from _retyped(f"{prefix}{name}", before, now, depth)
    for name, before in old.items():
        if name not in new and _required(before):
            yield f"{prefix}{name} ({_type(before)}) was removed"


def _retyped(what: str, old: Field, new: Field, depth: int) -> Iterator[str]:
    """Yield the difference of a field whose type does not accept what callers send."""
    before, now = str(old.get("type")), str(new.get("type"))
    if depth < _DEEPEST and before == now == "object":
        yield from _compared(f"{what}.", _properties(old), _properties(new), depth + 1)
    elif depth < _DEEPEST and before == now and now in ("array", "map"):
        part = {"array": "items", "map": "values"}[now]
        yield from _retyped(f"{what}[]", _inner(old, part), _inner(new, part), depth + 1)
    elif before == now == "tensor":
        yield from _reshaped(what, _inner(old, "tensor-spec"), _inner(new, "tensor-spec"))
    elif _type(old) != _type(new) and now != "any" and now not in _WIDER.get(before, ()):
        yield f"{what} changed from {_type(old)} to {_type(new)}"


def _reshaped(what: str, old: Field, new: Field) -> Iterator[str]:
    before, now = _shape(old), _shape(new)
    fits = len(before) == len(now) and all(b in (-1, a) for a, b in zip(before, now, strict=True))
    same_type = old.get("dtype") == new.get("dtype") or new.get("dtype") in _WIDER.get(str(old.get("dtype")), ())
    if not (fits and same_type):
        yield f"{what} changed from {_tensor(old)} to {_tensor(new)}"


def _outputs(old: tuple[Field, ...] | None, new: tuple[Field, ...] | None) -> Iterator[str]:
    if old is None or new is None:
        return
    before, now = _named(old), _named(new)
    for name in (*before, *(added for added in now if added not in before)):
        if name not in now:
            yield f"output {name} ({_type(before[name])}) was removed"
        elif name not in before:
            yield f"output {name} ({_type(now[name])}) was added"
        elif before[name] != now[name]:
            inner = list(_retyped(f"output {name}", before[name], now[name], 0))
            yield from inner or (f"output {name} changed from {_type(before[name])} to {_type(now[name])}",)


def _params(old: tuple[Field, ...], new: tuple[Field, ...]) -> Iterator[str]:
    now = _named(new)
    for name, before in _named(old).items():
        if name not in now:
            yield f"param {name} was removed"
        elif (_type(now[name]), now[name].get("shape")) != (_type(before), before.get("shape")):
            yield f"param {name} changed from {_type(before)} to {_type(now[name])}"


def _named(fields: tuple[Field, ...]) -> dict[str, Field]:
    """Return fields by name, or by position where they have no name."""
    return {str(field.get("name", f"#{place}")): field for place, field in enumerate(fields, 1)}


def _required(field: Field) -> bool:
    return field.get("required", True) is not False


def _properties(field: Field) -> dict[str, Field]:
    properties = _inner(field, "properties")
    return {name: value for name, value in properties.items() if isinstance(value, dict)}


def _inner(field: Field, part: str) -> Field:
    value = field.get(part)
    return value if isinstance(value, dict) else {}


def _type(field: Field) -> str:
    if field.get("type") == "tensor":
        return _tensor(_inner(field, "tensor-spec"))
    return str(field.get("type"))


def _tensor(spec: Field) -> str:
    return f"a tensor of {spec.get('dtype')} {_shape(spec)}"


def _shape(spec: Field) -> list[Any]:
    shape = spec.get("shape")
    return shape if isinstance(shape, list) else []
