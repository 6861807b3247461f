"""The structural schema of an API type, as a CustomResourceDefinition requires it.

The schema is derived from the constraints and descriptions of the types, so each field is described once. A CRD needs a
description of every field, and an upper bound for every string, list and map. Without the bounds the API server cannot
estimate the cost of the CEL rules. A type that lacks one of these raises an error here rather than at installation.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec.inspect as mi

from sluicegate.api.fields import MESSAGE, RULES, Rule

Schema = dict[str, Any]


class SchemaError(TypeError):
    """A type lacks something that its schema requires. The message names the field."""


def schema_of(kind: type) -> Schema:
    """Return the structural schema of `kind`, a subclass of ApiType.

    Everything that it refers to is written out in place.

    Raises:
        SchemaError: A field has no description, or a string, list or map has no upper bound.
    """
    return _walk(mi.type_info(kind), kind.__name__)


def validations(rules: Iterable[Rule]) -> list[Schema]:
    """Convert CEL rules to `x-kubernetes-validations`."""
    return [
        {
            "rule": rule.expression,
            "message": rule.message,
            **({"fieldPath": rule.field} if rule.field else {}),
            "reason": "FieldValueInvalid",
        }
        for rule in rules
    ]


def description_of(kind: type) -> str:
    """Return the first paragraph of the docstring of `kind`, as one line."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())


def optional(kind: mi.Type) -> mi.Type:
    """Return `kind` without None, which is absence on the wire."""
    if not isinstance(kind, mi.UnionType):
        return kind
    present = [item for item in kind.types if not isinstance(item, mi.NoneType)]
    return present[0] if len(present) == 1 else mi.UnionType(tuple(present))


def _walk(kind: mi.Type, path: str) -> Schema:
    kind = optional(kind)
    match kind:
        case mi.Metadata(type=inner, extra_json_schema=extra):
            return _annotated(inner, extra or {}, path)
        case mi.StrType():
            return _string(kind, path)
        case mi.IntType():
            return {"type": "integer", **_range(kind)}
        case mi.FloatType():
            return {"type": "number", **_range(kind)}
        case mi.BoolType():
            return {"type": "boolean"}
        case mi.LiteralType(values=values):
            return {"type": "string", "enum": list(values)}
        case mi.EnumType(cls=cls):
            return {"type": "string", "enum": [member.value for member in cls]}
        case mi.VarTupleType():
            return _list(kind, path)
        case mi.DictType():
            return _map(kind, path)
        case mi.StructType():
            return _object(kind, path)
    raise SchemaError(f"{path}: {type(kind).__name__} has no place in a structural schema")


def _annotated(kind: mi.Type, extra: Mapping[str, Any], path: str) -> Schema:
    """Return the schema of `kind` with the additions of its Meta.

    A Meta that states the type replaces the type's own schema.
    """
    stated = extra.get("type") == "object" or "x-kubernetes-int-or-string" in extra
    schema = {} if stated else _walk(kind, path)
    rules = [Rule(*rule) for rule in extra.get(RULES, ())]  # msgspec returns plain lists
    if MESSAGE in extra:
        pattern = schema.pop("pattern")
        rules.insert(0, Rule(f"self.matches({json.dumps(pattern)})", extra[MESSAGE]))
    plain = {key: value for key, value in extra.items() if key not in (MESSAGE, RULES)}
    merged = {**({"description": ""} if "description" in plain else {}), **schema, **plain}
    if rules:
        merged["x-kubernetes-validations"] = merged.get("x-kubernetes-validations", []) + validations(rules)
    return merged


def _string(kind: mi.StrType, path: str) -> Schema:
    if kind.max_length is None:
        raise SchemaError(f"{path}: a string needs max_length")
    bounds = {"minLength": kind.min_length, "maxLength": kind.max_length, "pattern": kind.pattern}
    return {"type": "string", **{key: value for key, value in bounds.items() if value is not None}}


def _range(kind: mi.IntType | mi.FloatType) -> Schema:
    """Return the bounds as in OpenAPI 3.0, where `exclusiveMinimum` is a flag next to `minimum`."""
    schema: Schema = {}
    if kind.ge is not None or kind.gt is not None:
        schema["minimum"] = kind.ge if kind.ge is not None else kind.gt
    if kind.gt is not None:
        schema["exclusiveMinimum"] = True
    if kind.le is not None:
        schema["maximum"] = kind.le
    return schema


def _list(kind: mi.VarTupleType, path: str) -> Schema:
    if kind.max_length is None:
        raise SchemaError(f"{path}: a list needs max_length")
    bounds = {"minItems": kind.min_length, "maxItems": kind.max_length}
    return {
        "type": "array",
        **{key: value for key, value in bounds.items() if value is not None},
        "x-kubernetes-list-type": "atomic",
        "items": _walk(kind.item_type, f"{path}[]"),
    }


def _map(kind: mi.DictType, path: str) -> Schema:
    if kind.max_length is None:
        raise SchemaError(f"{path}: a map needs max_length")
    return {
        "type": "object",
        "maxProperties": kind.max_length,
        "additionalProperties": _walk(kind.value_type, f"{path}{{}}"),
    }


def _object(kind: mi.StructType, path: str) -> Schema:
    properties = {}
    for field in kind.fields:
        place = f"{path}.{field.encode_name}"
        schema = _walk(field.type, place)
        declared = field.type.extra_json_schema if isinstance(field.type, mi.Metadata) else None
        if not (declared or {}).get("description"):
            raise SchemaError(f"{place}: a field needs a description")
        properties[field.encode_name] = schema
    required = [field.encode_name for field in kind.fields if field.required]
    rules = validations(getattr(kind.cls, "RULES", ()))
    return {
        "description": description_of(kind.cls),
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        **({"x-kubernetes-validations": rules} if rules else {}),
    }
