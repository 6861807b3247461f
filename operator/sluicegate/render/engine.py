"""Jinja2 made safe for YAML.

Plain Jinja2 is a trap: `0755` becomes 493, `on` True, a missing variable null, and a newline in a value adds keys. Here a
missing variable is an error, and no `{{ value }}` is ever written: a mark stands for it, and once YAML has been read the value
itself is put in its place. So no string from a spec can become anything but that string, and since the text is the same for
every resource, its reading is remembered.
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
except ImportError:  # a PyYAML without libyaml: slower, the same answers
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]


class TemplateError(ValueError):
    """A template does not give an object; the sentence says which one and where."""


_MARK = f"{secrets.token_hex(16)}:"
"""In front of the number of a part. Nobody outside this process knows it, so no string of a spec is taken for one."""
_INSIDE = re.compile(f'"{_MARK}([0-9]+)"')
_PARTS = "_parts"


@jinja2.pass_context
def _written(context: jinja2.runtime.Context, value: Any) -> Any:
    """What a template writes for a value."""
    if isinstance(value, jinja2.Undefined):
        return value
    parts: list[Any] = context[_PARTS]
    parts.append(_plain(value))
    return f'"{_MARK}{len(parts) - 1}"'


def _plain(value: Any) -> Any:
    """A copy of `value` made of what JSON has."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise TypeError(f"a {type(value).__name__} has no place in a manifest")


def _filled(value: Any, parts: list[Any]) -> Any:
    """`value` with the parts in place of their marks."""
    if isinstance(value, dict):
        return {_filled(key, parts): _filled(item, parts) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, parts) for item in value]
    if isinstance(value, str) and _MARK in value:
        number = value.removeprefix(_MARK)
        return parts[int(number)] if number.isdecimal() else _INSIDE.sub(partial(_inside, parts), value)
    return value


def _inside(parts: list[Any], found: re.Match[str]) -> str:
    """A value inside a text, such as a script: as JSON."""
    value = parts[int(found[1])]
    if isinstance(value, dict | list):
        raise jinja2.TemplateRuntimeError("a list or an object stands inside a text: give it a field of its own")
    return json.dumps(value)


@lru_cache(maxsize=512)
def _read(text: str) -> Any:
    """What YAML makes of a text; never changed by those who get it."""
    return yaml.load(text, Loader=_Loader)


def _environment(loader: jinja2.BaseLoader) -> jinja2.Environment:
    return jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        finalize=_written,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        autoescape=False,  # finalize quotes every value; HTML's rules have no place in YAML
    )


@lru_cache(maxsize=1)
def _built_in() -> jinja2.Environment:
    return _environment(jinja2.PackageLoader("sluicegate.render", "templates"))


@lru_cache(maxsize=32)
def _custom(text: str) -> jinja2.Template:
    return _environment(jinja2.BaseLoader()).from_string(text)


def render(template: str, context: dict[str, Any]) -> dict[str, Any]:
    """The object that the built-in template `template` gives.

    Raises:
        TemplateError: the template misses a variable or gives no object.
    """
    return _parse(template, lambda: _built_in().get_template(template), context)


def render_text(name: str, text: str, context: dict[str, Any]) -> dict[str, Any]:
    """The object that a platform's own template gives.

    Raises:
        TemplateError: the text is not a template, misses a variable or gives no object.
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
        raise TemplateError(f"template {name} does not give YAML: {error}") from error
    if not isinstance(parsed, dict):
        raise TemplateError(f"template {name} gives a {type(parsed).__name__}, not an object")
    return parsed
