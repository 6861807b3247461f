"""Jinja2 with safe YAML output.

Plain Jinja2 is not safe for YAML: `0755` becomes 493, `on` becomes True, a missing variable becomes null, and a newline
in a value adds keys. Here a missing variable is an error. The text of a template never contains a value. A mark stands
for each `{{ value }}`, and the value replaces the mark after YAML is parsed. So a string from a spec always remains
that string. The text is the same for every resource, so its parsed form is cached.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jinja2
import yaml

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # without libyaml, PyYAML is slower but returns the same
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]


class TemplateError(ValueError):
    """A template produces no object. The message names the template and the cause."""


_MARK = f"{secrets.token_hex(16)}:"
"""Prefix of a part's number in a mark. Nothing outside this process knows it, so no string of a spec is mistaken for a
mark."""
_INSIDE = re.compile(f'"{_MARK}([0-9]+)"')
_PARTS = "_parts"


@jinja2.pass_context
def _written(context: jinja2.runtime.Context, value: Any) -> Any:
    """Store a value as a part, and return the mark that a template writes for it."""
    if isinstance(value, jinja2.Undefined):
        return value
    parts: list[Any] = context[_PARTS]
    parts.append(_plain(value))
    return f'"{_MARK}{len(parts) - 1}"'


def _plain(value: Any) -> Any:
    """Return a copy of `value` with JSON types only."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise TypeError(f"a value of type {type(value).__name__} cannot be in a manifest")


def _filled(value: Any, parts: list[Any]) -> Any:
    """Return `value` with the parts in place of their marks."""
    if isinstance(value, dict):
        return {_filled(key, parts): _filled(item, parts) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, parts) for item in value]
    if isinstance(value, str) and _MARK in value:
        number = value.removeprefix(_MARK)
        return parts[int(number)] if number.isdecimal() else _INSIDE.sub(partial(_inside, parts), value)
    return value


def _inside(parts: list[Any], match: re.Match[str]) -> str:
    """Return the JSON of a value that is part of a longer string, such as a script."""
    value = parts[int(match[1])]
    if isinstance(value, dict | list):
        raise jinja2.TemplateRuntimeError(
            "a list or an object cannot be part of a string. Write it as the whole value of a field"
        )
    return json.dumps(value)


@lru_cache(maxsize=512)
def _read(text: str) -> Any:
    """Return the parsed YAML of a text. Callers must not change it."""
    return yaml.load(text, Loader=_Loader)


def _environment(loader: jinja2.BaseLoader) -> jinja2.Environment:
    return jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        finalize=_written,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        autoescape=False,  # finalize quotes every value; HTML escaping does not apply to YAML
    )


@lru_cache(maxsize=1)
def _built_in() -> jinja2.Environment:
    return _environment(jinja2.PackageLoader("sluicegate.render", "templates"))


@lru_cache(maxsize=32)
def _custom(text: str) -> jinja2.Template:
    return _environment(jinja2.BaseLoader()).from_string(text)


def render(template: str, context: dict[str, Any]) -> dict[str, Any]:
    """Return the object that a built-in template produces.

    Raises:
        TemplateError: The template uses a missing variable or produces no object.
    """
    return _parse(template, lambda: _built_in().get_template(template), context)


def render_text(name: str, text: str, context: dict[str, Any]) -> dict[str, Any]:
    """Return the object that a template of the platform team produces.

    Raises:
        TemplateError: The text is not a template, uses a missing variable or produces no object.
    """
    return _parse(name, lambda: _custom(text), context)


def _parse(name: str, template: Callable[[], jinja2.Template], context: dict[str, Any]) -> dict[str, Any]:
    parts: list[Any] = []
    try:
        parsed = _filled(_read(template().render(context | {_PARTS: parts})), parts)
    except jinja2.TemplateError as error:
        raise TemplateError(f"template {name}: {error}") from error
    except TypeError as error:
        raise TemplateError(f"template {name}: {error}") from error
    except yaml.YAMLError as error:
        raise TemplateError(f"template {name} does not produce YAML: {error}") from error
    if not isinstance(parsed, dict):
        raise TemplateError(f"template {name} produces a {type(parsed).__name__}, not an object")
    return parsed
