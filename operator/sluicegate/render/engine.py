"""Jinja2 made safe for YAML.

Plain Jinja2 is a trap: `0755` becomes 493, `on` True, a missing variable null, and a newline in a value adds keys. Here a
missing variable is an error, and every `{{ value }}` is written as a JSON value in pure ASCII, which YAML reads back as exactly that
value: no string from a spec can become anything but that string.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import jinja2
import yaml

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML without libyaml: slower, the same answers
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]


class TemplateError(ValueError):
    """A template does not give an object; the sentence says which one and where."""


_SPECIAL = re.compile(r'\x7f|[0-9]e[+-]?[0-9]|(?:[^"\\]|\\.){900}')
"""Where JSON may not be YAML 1.1, apart from what is not ASCII: a float like 1e+16 (text to YAML), a very long key (not one)."""


def quote(value: Any) -> str:
    """`value` as JSON that YAML reads back as the same value.

    JSON is YAML but for characters outside the basic plane (JSON writes them as two surrogates, YAML wants one escape),
    floats without a point, and keys above 1024 characters, which YAML wants marked.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if text.isascii() and not _SPECIAL.search(text):
        return text
    return _written(value)


def _written(value: Any) -> str:
    """What `quote` gives for values in which JSON and YAML differ."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"? {_written(str(key))} : {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if isinstance(value, str):
        return "".join(_escape(character) for character in text)
    if isinstance(value, float) and "e" in text and "." not in text:
        return text.replace("e", ".0e")
    return text


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x7F:
        return character
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"


def _environment(loader: jinja2.BaseLoader) -> jinja2.Environment:
    return jinja2.Environment(
        loader=loader,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, jinja2.Undefined) else quote(value),
        trim_blocks=True,
        lstrip_blocks=True,
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
    return _parse(template, lambda: _built_in().get_template(template).render(context))


def render_text(name: str, text: str, context: dict[str, Any]) -> dict[str, Any]:
    """The object that a platform's own template gives.

    Raises:
        TemplateError: the text is not a template, misses a variable or gives no object.
    """
    return _parse(name, lambda: _custom(text).render(context))


def _parse(name: str, produce: Any) -> dict[str, Any]:
    try:
        parsed = yaml.load(produce(), Loader=_Loader)
    except jinja2.TemplateError as error:
        raise TemplateError(f"template {name}: {error}") from error
    except yaml.YAMLError as error:
        raise TemplateError(f"template {name} does not give YAML: {error}") from error
    if not isinstance(parsed, dict):
        raise TemplateError(f"template {name} gives a {type(parsed).__name__}, not an object")
    return parsed
