"""The rules of the CRD, without an API server: its schema and its CEL rules.

The results are the API server's: a test compares them on one table of invalid inputs.
The messages are our own where the API server's do not say what to write.
Only this module imports cel and jsonschema, which the extra `cli` installs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import cel
import jsonschema

from sluicegate.api import names
from sluicegate.api.crd import schema

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a number"}
_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}
_QUANTITY = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")


class Problem(NamedTuple):
    """One rule that a document breaks."""

    field: str
    message: str


def problems(document: Mapping[str, Any]) -> list[Problem]:
    """Return what the API server would reject about a ModelDeployment.

    The list is empty where the API server would accept `document`.
    """
    broken: defaultdict[tuple[str | int, ...], set[Problem]] = defaultdict(set)
    for error in _validator().iter_errors(document):
        if error.absolute_path and error.absolute_path[0] == "status" and error.validator != "additionalProperties":
            continue  # the API server drops a status that users write, but first rejects its unknown fields
        for place, problem in _problems(error):
            broken[place].add(problem)
    body = {key: value for key, value in document.items() if key != "status"}
    for place, problem in _repeated(_schema(), body, ()):
        broken[place].add(problem)
    structural = {problem for items in broken.values() for problem in items}
    return sorted(structural.union(_cel(schema(), body, (), tuple(broken))))


def violations(node: dict[str, Any], value: Any, name: str) -> list[Problem]:
    """Return what the API server would reject about a field, by the schema of the field.

    Args:
        node: The structural schema with CEL rules, as in a CRD.
        value: The value of the field.
        name: The name of the field, such as `spec`.
    """
    root = {"type": "object", "properties": {name: node}}
    document = {name: value}
    broken: defaultdict[tuple[str | int, ...], set[Problem]] = defaultdict(set)
    for error in jsonschema.Draft4Validator(_closed(root)).iter_errors(document):
        for place, problem in _problems(error):
            broken[place].add(problem)
    structural = {problem for items in broken.values() for problem in items}
    return sorted(structural.union(_cel(root, document, (), tuple(broken))))


@cache
def _schema() -> dict[str, Any]:
    """Return the structural schema as a JSON Schema.

    It rejects unknown fields, as kubectl's strict validation does.
    """
    root: dict[str, Any] = _closed(schema())
    root["properties"]["apiVersion"]["enum"] = [names.API_VERSION]
    labels = {"type": "object", "additionalProperties": {"type": "string"}}
    root["properties"]["metadata"] |= {"additionalProperties": True, "required": ["name"]}
    root["properties"]["metadata"]["properties"] |= {
        "labels": labels,
        "annotations": labels,
        "namespace": {"type": "string"},
    }
    root["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return root


@cache
def _validator() -> Any:
    return jsonschema.Draft4Validator(_schema())  # OpenAPI 3.0 has draft 4's exclusiveMinimum


def _closed(node: dict[str, Any]) -> dict[str, Any]:
    closed = {
        key: value for key, value in node.items() if not key.startswith("x-") or key.startswith("x-kubernetes-list")
    }
    if "x-kubernetes-int-or-string" in node:
        return {**closed, "type": ["integer", "string"]}
    if "properties" in node:
        closed["properties"] = {key: _closed(value) for key, value in node["properties"].items()}
        closed["additionalProperties"] = bool(node.get(_PRESERVE))
    if isinstance(node.get("additionalProperties"), dict):
        closed["additionalProperties"] = _closed(node["additionalProperties"])
    if "items" in node:
        closed["items"] = _closed(node["items"])
    return closed


def _problems(error: Any) -> Iterator[tuple[tuple[str | int, ...], Problem]]:
    """Yield the problems of one schema error, each with its place in the document."""
    place = tuple(error.absolute_path)
    limit = error.validator_value
    match error.validator:
        case "required":
            for name in limit:
                if name not in error.instance:
                    yield place, Problem(path_of((*place, name)), "is required")
        case "additionalProperties":
            for name in error.instance:
                if name not in error.schema.get("properties", {}):
                    yield place, Problem(path_of((*place, name)), f"unknown field{_suggestion(name, error.schema)}")
        case "type":
            types = [limit] if isinstance(limit, str) else limit
            expected = " or ".join(_TYPES[name] for name in types)
            yield place, Problem(path_of(place), f"must be {expected}, not {_actual(error.instance, types)}")
        case "enum":
            yield place, Problem(path_of(place), f"must be {' or '.join(limit)}")
        case _:
            yield place, Problem(path_of(place), _bound(error.validator, limit, error.schema))


def _actual(value: Any, types: list[str]) -> str:
    """Return the kind of value that the user wrote, and a hint at what to write instead."""
    if value is None:
        return "empty (null): set a value, or remove the field"
    if isinstance(value, float):
        return f"{value}" + (": use a quantity such as 500m, or quote the value" if "string" in types else "")
    hint = ": quote the value" if types == ["string"] and isinstance(value, bool | int) else ""
    return _KINDS[type(value)] + hint


def _bound(keyword: str, limit: Any, node: Mapping[str, Any]) -> str:
    above = "greater than" if node.get("exclusiveMinimum") else "at least"
    messages = {
        "minimum": f"must be {above} {limit}",
        "maximum": f"must be at most {limit}",
        "minLength": "must not be empty" if limit == 1 else f"must have at least {limit} characters",
        "maxLength": f"must have at most {limit} characters",
        "minItems": f"must have at least {limit} item{'' if limit == 1 else 's'}",
        "maxItems": f"must have at most {limit} items",
        "maxProperties": f"must have at most {limit} entries",
    }
    return messages.get(keyword, f"violates the rule {keyword}: {limit}")


def _suggestion(name: str, node: Mapping[str, Any]) -> str:
    """Return a hint at the field that the user probably meant."""
    from difflib import get_close_matches

    fields = {key.lower(): key for key in node.get("properties", {})}
    close = get_close_matches(name.lower(), fields, n=1)
    return f"; did you mean {fields[close[0]]}?" if close else ""


def _children(node: Mapping[str, Any], value: Any) -> Iterator[tuple[str | int, Any, Any]]:
    """Yield key, schema and value of each part of `value` that has a schema."""
    if isinstance(value, dict):
        other = node.get("additionalProperties")
        for key, part in value.items():
            inner = node.get("properties", {}).get(key, other)
            if isinstance(inner, dict):
                yield key, inner, part
    elif isinstance(value, list) and "items" in node:
        for index, part in enumerate(value):
            yield index, node["items"], part


def _repeated(
    node: Mapping[str, Any], value: Any, place: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Problem]]:
    """Yield the items of lists with map keys that repeat the key of an earlier item."""
    keys = node.get("x-kubernetes-list-map-keys")
    if keys and isinstance(value, list):
        seen: list[Any] = []
        for index, item in enumerate(value):
            identity = [item.get(key) for key in keys] if isinstance(item, dict) else None
            if identity is not None and identity in seen:
                key_values = ", ".join(f"{key} {part}" for key, part in zip(keys, identity, strict=True))
                yield (*place, index), Problem(path_of((*place, index)), f"repeats {key_values} of an earlier item")
            seen.append(identity)
    for key, inner, part in _children(node, value):
        yield from _repeated(inner, part, (*place, key))


def _cel(
    node: Mapping[str, Any], value: Any, place: tuple[str | int, ...], broken: tuple[tuple[str | int, ...], ...]
) -> Iterator[Problem]:
    """Yield the broken CEL rules of `value` and its parts.

    The rules of a value that the schema rejects already are not evaluated.
    """
    rules = node.get("x-kubernetes-validations", [])
    within = place or ("metadata",)  # the rules of the root are only about the name
    if rules and not any(other[: len(within)] == within for other in broken):
        context = cel.Context(variables={"self": _typed(node, value)}, functions={"isQuantity": _is_quantity})
        for rule in rules:
            if not _holds(rule["rule"], context):
                yield Problem(
                    path_of(place) + rule.get("fieldPath", "") if place else rule.get("fieldPath", "")[1:],
                    rule["message"],
                )
    for key, inner, part in _children(node, value):
        yield from _cel(inner, part, (*place, key), broken)


def _holds(expression: str, context: Any) -> bool:
    try:
        return bool(_program(expression).execute(context))
    except (RuntimeError, ValueError, TypeError, KeyError):
        return False  # as in the API server, a rule that cannot be evaluated rejects the value


@cache
def _program(expression: str) -> Any:
    # A rule escapes the reserved word, and the property that it names has no escape.
    return cel.compile(expression.replace("__namespace__", "namespace"))


def _typed(node: Mapping[str, Any], value: Any) -> Any:
    """Convert `value` to CEL's types.

    What the schema declares as a number becomes a double, even where the user writes 1.
    """
    if node.get("type") == "number" and isinstance(value, int):
        return float(value)
    if isinstance(value, dict):
        return {**value, **{key: _typed(inner, part) for key, inner, part in _children(node, value)}}
    if isinstance(value, list) and "items" in node:
        return [_typed(node["items"], part) for part in value]
    return value


def _is_quantity(text: str) -> bool:
    return _QUANTITY.fullmatch(text) is not None


def path_of(place: tuple[str | int, ...]) -> str:
    """Return a place as the API server writes it: `spec.rollout.steps[1].weight`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text
