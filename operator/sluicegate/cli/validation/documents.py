"""Reading YAML the way kubectl does, so that what is checked offline is what the API server would have been sent."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml


class Unreadable(ValueError):
    """A file is missing or is not YAML; the sentence says where."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as kubectl reads it: booleans like `on`, octal `0755`; but times stay text, and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is written twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_INT, _FLOAT, _TIME = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT, _TIME)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# Without the sexagesimal numbers of YAML 1.1 (1:30), and with exponents that need no dot (1e3): both as in Go.
_Loader.add_implicit_resolver(
    _INT,
    re.compile(r"^[-+]?(0b[01_]+|0[0-7_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"^([-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+0123456789."),
)


def read(file: str) -> list[Any]:
    """The documents of `file` (`-` is standard input), the items of Lists in place of the Lists, empty ones left out.

    Raises:
        Unreadable: there is no such file, or it is not YAML.
    """
    try:
        content = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise Unreadable(
            f"{file}: cannot be read: {error.strerror if isinstance(error, OSError) else error}"
        ) from error
    return parse(content, file)


def parse(content: str, origin: str) -> list[Any]:
    """The documents of the YAML `content`; `origin` is named in errors.

    Raises:
        Unreadable: it is not YAML.
    """
    try:
        documents = [_plain(document) for document in yaml.load_all(content, Loader=_Loader)]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(f"{origin}: is not YAML: {' '.join(str(error).split())}") from error
    return [item for document in documents if document is not None for item in _items(document)]


def _items(document: Any) -> Iterator[Any]:
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        yield from document["items"]
    else:
        yield document


def _plain(value: Any) -> Any:
    """`value` as it is after the way through JSON: keys are text, and 2.0 is 2."""
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number that JSON has")
        return int(value) if value.is_integer() else value
    if isinstance(value, str | int | None):
        return value
    raise ValueError(f"{value!r} is no value that JSON has")


def _key(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)
