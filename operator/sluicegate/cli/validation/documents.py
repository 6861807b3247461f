"""Reading YAML as kubectl does.

The offline checks therefore see what kubectl would send to the API server.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml


class Unreadable(ValueError):
    """A file is missing or is not YAML. The message says which one, and where."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as kubectl reads it.

    Booleans such as `on` and octal numbers such as `0755` are valid. Times stay text, and a repeated key is an error.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_INT, _FLOAT, _TIME = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT, _TIME)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# As in Go, there are no sexagesimal numbers of YAML 1.1 (1:30), and an exponent needs no dot (1e3).
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
    """Return the documents of `file`, where `-` is standard input.

    The result contains the items of a List instead of the List. It contains no empty documents.

    Raises:
        Unreadable: The file does not exist or cannot be read, or it is not YAML.
    """
    try:
        content = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise Unreadable(
            f"{file}: cannot read the file: {error.strerror if isinstance(error, OSError) else error}. "
            "Check its path, permissions and encoding (UTF-8)."
        ) from error
    return parse(content, file)


def parse(content: str, origin: str) -> list[Any]:
    """Return the documents of the YAML `content`, as `read` does.

    Args:
        content: The YAML text.
        origin: Where the text comes from, for error messages.

    Raises:
        Unreadable: The content is not YAML.
    """
    try:
        documents = [_plain(document) for document in yaml.load_all(content, Loader=_Loader)]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(f"{origin}: is not valid YAML: {' '.join(str(error).split())}") from error
    return [item for document in documents if document is not None for item in _items(document)]


def _items(document: Any) -> Iterator[Any]:
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        yield from document["items"]
    else:
        yield document


def _plain(value: Any) -> Any:
    """Convert `value` as a conversion to JSON and back would.

    Keys become text, and 2.0 becomes 2.
    """
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"JSON has no number {value}")
        return int(value) if value.is_integer() else value
    if isinstance(value, str | int | None):
        return value
    raise ValueError(f"JSON has no value {value!r}")


def _key(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)
