"""From `-C key=value` and managed fields to what is applied. Pure, and without MLflow.

Server-side apply wants all fields that its manager keeps, while `update` is told only what changes. So what the manager owns is
read back from metadata.managedFields, and the changes are laid over it.
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
    """An option cannot be read; the sentence names it."""


@dataclass(frozen=True)
class Config:
    """What `-C` said."""

    fields: Mapping[tuple[str, ...], Any]
    """Value by path in spec; None removes the field."""
    wait: bool = True
    """Whether to return only when the model serves."""
    timeout: float = 900.0
    """Seconds to wait."""
    force: bool = False
    """Whether to take over fields that somebody else applies."""


def read(options: Mapping[str, Any] | None) -> Config:
    """The configuration as MLflow hands it over: texts from the command line, anything from Python.

    Raises:
        WrongConfig: an option cannot be read.
    """
    given = dict(options or {})
    wait, force = (_truth(key, given.pop(key, default)) for key, default in (("wait", True), ("force", False)))
    timeout = _seconds(given.pop("timeout", 900.0))
    fields = {path(key): value(each) for key, each in given.items()}
    if ("model", "uri") in fields:
        raise WrongConfig("-C model.uri: name the model by -m (model_uri) instead")
    return Config(fields, wait, timeout, force)


def path(key: str) -> tuple[str, ...]:
    """The parts of `a.b.c`; a dot inside a part has a backslash before it."""
    parts = tuple(part.replace("\\.", ".") for part in _KEY.findall(key))
    if not parts or key.startswith(".") or key.endswith(".") or ".." in key:
        raise WrongConfig(f"-C {key}: write a path in spec such as scaling.replicas")
    return parts[1:] if parts[0] == "spec" and len(parts) > 1 else parts


def value(given: Any) -> Any:
    """A text as what it says: true, false, null, a number written as JSON writes it, a list, an object or a quoted text.

    Anything else is a text: `1.10`, `0755`, `on` and `12:30` are not what YAML would make of them.

    Raises:
        WrongConfig: a list or an object is not closed, or otherwise no YAML.
    """
    if not isinstance(given, str):
        return given
    text = given.strip()
    if text[:1] in ("[", "{", '"', "'"):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise WrongConfig(
                f"{given!r} begins as a list, an object or a quoted text, and cannot be read: {error}"
            ) from error
    try:
        found = json.loads(text)
    except ValueError:
        return given
    return found if json.dumps(found) == text and text.lstrip("-")[:1] not in ("N", "I") else given


def _truth(key: str, given: Any) -> bool:
    found = value(given)
    if not isinstance(found, bool):
        raise WrongConfig(f"-C {key}={given}: write true or false")
    return found


def _seconds(given: Any) -> float:
    text = str(given).strip()
    if not _DURATION.fullmatch(text):
        raise WrongConfig(f"-C timeout={given}: write seconds or a duration such as 90s or 1h30m")
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in re.findall(r"([\d.]+)([hms]?)", text))


def changed(spec: Mapping[str, Any], fields: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """`spec` with the fields set, those with None left out; what a removal empties goes too.

    Raises:
        WrongConfig: a path leads through something that has no fields.
    """
    result: dict[str, Any] = copy.deepcopy(dict(spec))
    for parts, wanted in fields.items():
        _set(result, parts, wanted)
    return result


def _set(inside: dict[str, Any], parts: tuple[str, ...], wanted: Any) -> None:
    first, rest = parts[0], parts[1:]
    if not rest:
        if wanted is None:
            inside.pop(first, None)
        else:
            inside[first] = wanted
        return
    deeper = inside.setdefault(first, {})
    if not isinstance(deeper, dict):
        raise WrongConfig(f"-C {'.'.join(parts)}: {first} is {deeper!r} and has no fields; give {first} as a whole")
    _set(deeper, rest, wanted)
    if wanted is None and not deeper:
        del inside[first]


def owned(live: Mapping[str, Any], manager: str) -> dict[str, Any]:
    """The part of spec that `manager` applies, with the values that are there now."""
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            mine = (entry.get("fieldsV1") or {}).get("f:spec")
            found = _taken(live.get("spec") or {}, mine) if mine is not None else {}
            return found if isinstance(found, dict) else {}
    return {}


def _taken(there: Any, mine: Mapping[str, Any]) -> Any:
    """What a tree of owned fields covers: an empty one, or one of a list without keys, is the whole value."""
    inner = [key for key in mine if key != "."]
    if not inner:
        return copy.deepcopy(there)
    if isinstance(there, dict):
        return {key[2:]: _taken(there[key[2:]], mine[key]) for key in inner if key[2:] in there}
    if isinstance(there, list):
        return [_taken(each, mine[key]) for each in there for key in inner if _is(each, key)]
    return there


def _is(item: Any, key: str) -> bool:
    """Whether a field key (`k:{"name":"A"}`, `v:"x"`) means this item of a list."""
    kind, _, text = key.partition(":")
    if kind == "v":
        return bool(item == json.loads(text))
    return kind == "k" and all(item.get(name) == each for name, each in json.loads(text).items())
