"""The spec to apply, computed from `-C key=value` and managed fields.

This module is pure and does not need MLflow.
Server-side apply needs all fields that the manager keeps, but `update` only gets those that change.
So the plugin reads the fields that it owns from metadata.managedFields, and merges the changes into them.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[hms]?)|(?:\d+[hms])+")
_KEY = re.compile(r"(?:[^.\\]|\\.)+")


class WrongConfig(ValueError):
    """An option cannot be parsed. The text names the option."""


@dataclass(frozen=True)
class Config:
    """The parsed `-C` options."""

    fields: Mapping[tuple[str, ...], Any]
    """Maps the path of a field in spec to its value; None removes the field."""
    wait: bool = True
    """Whether to wait until the ModelDeployment is ready."""
    timeout: float = 900.0
    """Maximum time to wait, in seconds."""
    force: bool = False
    """Whether to take over fields of other managers."""


def read(options: Mapping[str, Any] | None) -> Config:
    """Parse the configuration that MLflow passes to the plugin.

    Values from the command line are strings. Values from Python code have any type.

    Raises:
        WrongConfig: an option cannot be parsed.
    """
    rest = dict(options or {})
    wait, force = (_truth(key, rest.pop(key, default)) for key, default in (("wait", True), ("force", False)))
    timeout = _seconds(rest.pop("timeout", 900.0))
    fields = {path(key): value(option) for key, option in rest.items()}
    if ("model", "uri") in fields:
        raise WrongConfig("-C model.uri is not supported: set the model with -m (model_uri)")
    return Config(fields, wait, timeout, force)


def path(key: str) -> tuple[str, ...]:
    """Split a key such as `a.b.c` into its parts.

    A backslash escapes a dot inside a part. A leading `spec` is dropped.

    Raises:
        WrongConfig: the key is empty, or one of its parts is.
    """
    parts = tuple(part.replace("\\.", ".") for part in _KEY.findall(key))
    if not parts or key.startswith(".") or key.endswith(".") or ".." in key:
        raise WrongConfig(f"-C {key} is not a path in spec: use a path such as scaling.replicas")
    return parts[1:] if parts[0] == "spec" and len(parts) > 1 else parts


def value(option: Any) -> Any:
    """Parse the value of an option.

    true, false, null and numbers in the form of JSON are parsed as such. Lists, objects and quoted strings are YAML.
    Anything else stays a string, also `1.10`, `0755`, `on` and `12:30`, which YAML would convert.
    A value that is not a string is returned unchanged.

    Raises:
        WrongConfig: a list, an object or a quoted string is not valid YAML.
    """
    if not isinstance(option, str):
        return option
    text = option.strip()
    if text[:1] in ("[", "{", '"', "'"):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise WrongConfig(f"{option!r} is not a valid list, object or quoted string: {error}") from error
    try:
        parsed = json.loads(text)
    except ValueError:
        return option
    return parsed if json.dumps(parsed) == text and text.lstrip("-")[:1] not in ("N", "I") else option


def _truth(key: str, option: Any) -> bool:
    parsed = value(option)
    if not isinstance(parsed, bool):
        raise WrongConfig(f"-C {key}={option} is invalid: use true or false")
    return parsed


def _seconds(option: Any) -> float:
    text = str(option).strip()
    if not _DURATION.fullmatch(text):
        raise WrongConfig(f"-C timeout={option} is invalid: use seconds or a duration such as 90s or 1h30m")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in re.findall(r"([\d.]+)([hms]?)", text))


def changed(spec: Mapping[str, Any], fields: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return a copy of `spec` with `fields` set, and without the fields whose value is None.

    An object that becomes empty by a removal is removed too.

    Raises:
        WrongConfig: a parent in a path is not an object.
    """
    result: dict[str, Any] = copy.deepcopy(dict(spec))
    for parts, new in fields.items():
        _set(result, parts, new)
    return result


def _set(parent: dict[str, Any], parts: tuple[str, ...], new: Any) -> None:
    first, rest = parts[0], parts[1:]
    if not rest:
        if new is None:
            parent.pop(first, None)
        else:
            parent[first] = new
        return
    child = parent.setdefault(first, {})
    if not isinstance(child, dict):
        raise WrongConfig(f"-C {'.'.join(parts)}: {first} is {child!r} and has no fields. Set {first} as a whole")
    _set(child, rest, new)
    if new is None and not child:
        del parent[first]


def owned(live: Mapping[str, Any], manager: str) -> dict[str, Any]:
    """Return the part of spec that `manager` owns by server-side apply, with the current values."""
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            tree = (entry.get("fieldsV1") or {}).get("f:spec")
            part = _covered(live.get("spec") or {}, tree) if tree is not None else {}
            return part if isinstance(part, dict) else {}
    return {}


def _covered(current: Any, tree: Mapping[str, Any]) -> Any:
    """Return the part of the value `current` that the tree of owned fields covers.

    An empty tree covers the whole value.
    """
    keys = [key for key in tree if key != "."]
    if not keys:
        return copy.deepcopy(current)
    if isinstance(current, dict):
        return {key[2:]: _covered(current[key[2:]], tree[key]) for key in keys if key[2:] in current}
    if isinstance(current, list):
        return [_covered(item, tree[key]) for item in current for key in keys if _selects(key, item)]
    return current


def _selects(key: str, item: Any) -> bool:
    """Tell whether a field key such as `k:{"name":"A"}` or `v:"x"` selects this list item."""
    kind, _, text = key.partition(":")
    if kind == "v":
        return bool(item == json.loads(text))
    return kind == "k" and all(item.get(name) == part for name, part in json.loads(text).items())
