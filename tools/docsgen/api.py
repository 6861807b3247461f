"""The API reference: one table for each type, from the same types as the CRD."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec.inspect as mi
from sluicegate.api import names
from sluicegate.api.fields import DURATION_PATTERN, Rule
from sluicegate.api.schema import description_of, optional

_INTRODUCTION = f"""\
<!-- Generated from operator/sluicegate/api by `make generate`: do not edit. -->
# API reference: `{names.KIND}`

The API version is `{names.API_VERSION}`, and the short name of the resource is `{names.SHORT_NAME}`.
`kubectl explain {names.SHORT_NAME}.spec` prints the same descriptions.
The operator applies the defaults. It never writes them into the object.

- A **duration** consists of whole numbers with units, largest unit first: `90s`, `1h30m`, `7d`.
- A **quantity** is a Kubernetes quantity: `2`, `500m`, `4Gi`. Write a fraction as `500m`, or in quotes as `"0.5"`.
- An *object* belongs to another API. It is kept as written, and checked where it is used.
"""
_DEFAULT = re.compile(r"\s*Default: (.+?)\.(?=\s|$)")


def reference(roots: Sequence[type]) -> str:
    """Return a Markdown page with a table for each of `roots` and each type they refer to.

    The tables are in reading order: a type follows the first type that refers to it.
    """
    pages = [_INTRODUCTION]
    pages += [_section(struct) for struct in _structs(roots)]
    return "\n".join(pages)


def _structs(roots: Sequence[type]) -> Iterator[mi.StructType]:
    seen: set[type] = set()
    waiting = [mi.type_info(root) for root in roots]
    while waiting:
        kind = waiting.pop(0)
        if not isinstance(kind, mi.StructType) or kind.cls in seen:
            continue
        seen.add(kind.cls)
        yield kind
        waiting[:0] = [_innermost(field.type) for field in kind.fields]


def _innermost(kind: mi.Type) -> mi.Type:
    kind = optional(kind)
    match kind:
        case mi.Metadata(type=inner):
            return _innermost(inner)
        case mi.VarTupleType(item_type=item):
            return _innermost(item)
        case mi.DictType(value_type=value):
            return _innermost(value)
    return kind


def _section(struct: mi.StructType) -> str:
    lines = [
        f"## {struct.cls.__name__}",
        "",
        description_of(struct.cls),
        "",
        "| Field | Type | Default | Description |",
    ]
    lines.append("|---|---|---|---|")
    for field in struct.fields:
        extra = (field.type.extra_json_schema or {}) if isinstance(field.type, mi.Metadata) else {}
        text, default = _split(extra.get("description", ""), field.required)
        row = (f"`{field.encode_name}`", _type(field.type), default, text)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    rules: Sequence[Rule] = getattr(struct.cls, "RULES", ())
    if rules:
        lines += ["", "The API server rejects an invalid object with one of these messages:", ""]
        lines += [f"- {rule.message}" for rule in rules]
    return "\n".join(lines) + "\n"


def _split(description: str, required: bool) -> tuple[str, str]:
    """Split a description into the text without its default, and the default."""
    match = _DEFAULT.search(description)
    if match is None:
        return description, "**required**" if required else ""
    return (description[: match.start()] + description[match.end() :]).strip(), match[1]


def _type(kind: mi.Type, extra: Mapping[str, Any] | None = None) -> str:
    kind = optional(kind)
    extra = extra or {}
    if "x-kubernetes-int-or-string" in extra:
        return "quantity"
    if "x-kubernetes-preserve-unknown-fields" in extra:
        return "*object*"
    match kind:
        case mi.Metadata(type=inner, extra_json_schema=more):
            return _type(inner, more)
        case mi.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case mi.VarTupleType(item_type=item):
            return f"list of {_type(item)}"
        case mi.DictType(value_type=value):
            return f"map of {_type(value)}"
        case mi.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case mi.EnumType(cls=cls):
            return " or ".join(f"`{member.value}`" for member in cls)
        case mi.IntType():
            return "integer" + _range(kind)
        case mi.FloatType():
            return "number"
        case mi.BoolType():
            return "boolean"
        case mi.StrType(pattern=pattern):
            if extra.get("format") == "date-time":
                return "time"
            return "duration" if pattern == DURATION_PATTERN else "string"
    return type(kind).__name__


def _range(kind: mi.IntType) -> str:
    if kind.ge is None:
        return ""
    return f" from {kind.ge}" + ("" if kind.le is None else f" to {kind.le}")
