"""Reading YAML as kubectl does.

The offline checks therefore see what kubectl would send to the API server.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from sluicegate.api.resource import Manifest

MAX_DEPTH = 100
"""Maximum nesting of a document. Kubernetes objects are far below it, and the renderer recurses."""
MAX_VALUES = 1_000_000
"""Maximum number of values in a document after its aliases are replaced."""


class Unreadable(ValueError):
    """A file is missing, is not YAML, or has no Kubernetes objects. The message says which one, and where."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as kubectl reads it.

    Booleans such as `on` and octal numbers such as `0755` are valid. Times stay text, and a repeated key is an error.
    """

    def construct_document(self, node: yaml.Node) -> Any:
        _measure(node, {}, 0)
        return super().construct_document(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (AttributeError, LookupError) as error:  # what PyYAML raises for `!!bool x`
            raise ConstructorError(None, None, f"invalid value for the tag {node.tag}", node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key must be text", key.start_mark)
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _measure(node: yaml.Node, measured: dict[yaml.Node, tuple[int, int] | None], depth: int) -> tuple[int, int]:
    """Return the number of values in `node` after its aliases are replaced, and its height.

    Args:
        node: The node.
        measured: The results so far. None stands for a node that contains the current one.
        depth: The depth of the node in its document.

    Raises:
        ConstructorError: The node contains itself, or is too large or too deep.
    """
    if node in measured:
        result = measured[node]
        if result is None:
            raise ConstructorError(None, None, "an anchor contains itself", node.start_mark)
        values, height = result
    else:
        measured[node] = None
        values, height = 1, 1
        if isinstance(node, yaml.CollectionNode) and depth < MAX_DEPTH:
            parts = (
                node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
            )
            for part in parts:
                inside, below = _measure(part, measured, depth + 1)
                values, height = values + inside, max(height, below + 1)
        measured[node] = values, height
    if values > MAX_VALUES:
        raise ConstructorError(None, None, f"more than {MAX_VALUES:,} values after aliases", node.start_mark)
    if depth + height > MAX_DEPTH:
        raise ConstructorError(None, None, f"more than {MAX_DEPTH} levels", node.start_mark)
    return values, height


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


def files(paths: Sequence[str]) -> list[str]:
    """Return the files, with each directory replaced by its YAML and JSON files.

    Raises:
        Unreadable: A directory has no such file.
    """
    result: list[str] = []
    for path in paths:
        if path == "-" or not Path(path).is_dir():
            result.append(path)
            continue
        inside = sorted(str(file) for file in Path(path).glob("*") if file.suffix in (".yaml", ".yml", ".json"))
        if not inside:
            raise Unreadable(f"{path}: the directory has no .yaml, .yml or .json file")
        result += inside
    return result


def read(file: str) -> list[Manifest]:
    """Return the Kubernetes objects in `file`, where `-` is standard input.

    Each List is replaced by its items, and empty documents are left out. Each object is one that a command can name:
    its metadata is an object or absent, and so are the name and the namespace, which are text.

    Raises:
        Unreadable: The file does not exist or cannot be read, it is not YAML, or a document is not an object.
    """
    try:
        content = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise Unreadable(
            f"{file}: cannot read the file: {error.strerror if isinstance(error, OSError) else error}. "
            "Check its path, permissions and encoding (UTF-8)."
        ) from error
    return parse(content, file)


def parse(content: str, origin: str) -> list[Manifest]:
    """Return the Kubernetes objects in the YAML `content`, as `read` does.

    Args:
        content: The YAML text.
        origin: Where the text comes from, for error messages.

    Raises:
        Unreadable: The content is not YAML, or a document is not an object.
    """
    try:
        documents = [_plain(document) for document in yaml.load_all(content, Loader=_Loader)]
    except RecursionError as error:
        raise Unreadable(f"{origin}: is not valid YAML: more than {MAX_DEPTH} levels") from error
    except (yaml.YAMLError, ValueError) as error:
        raise Unreadable(f"{origin}: is not valid YAML: {' '.join(str(error).split())}") from error
    items = [item for document in documents if document is not None for item in _items(document)]
    return [_object(item, origin) for item in items]


def _items(document: Any) -> Iterator[Any]:
    if isinstance(document, dict) and document.get("kind") == "List" and isinstance(document.get("items"), list):
        yield from document["items"]
    else:
        yield document


def _object(value: Any, origin: str) -> Manifest:
    """Return `value` if it has the form of a Kubernetes object.

    Raises:
        Unreadable: It is not an object, or a part of its metadata that commands use has the wrong type.
    """
    if not isinstance(value, dict):
        raise Unreadable(
            f"{origin}: a document is {_shown(value)}, not an object with apiVersion, kind, metadata and spec"
        )
    metadata = value.get("metadata")
    if not isinstance(metadata, dict | None):
        raise Unreadable(f"{origin}: metadata must be an object, not {_shown(metadata)}")
    for field in ("name", "namespace"):
        if not isinstance(text := (metadata or {}).get(field), str | None):
            raise Unreadable(f"{origin}: metadata.{field} must be text, not {_shown(text)}: quote the value")
    return value


def _shown(value: Any) -> str:
    """Return `value` as it is shown in an error message."""
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _plain(value: Any) -> Any:
    """Convert `value` as a conversion to JSON and back would.

    Keys become text, and 2.0 becomes 2.
    """
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool | None):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, str):
        return _text(value)
    raise ValueError(f"JSON has no value {value!r}")


def _number(value: float) -> float:
    """Convert a number as Go does: one beyond 64 bits is not an integer."""
    try:
        if abs(value) < 2**63:
            return int(value) if value == int(value) else value
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"JSON has no number {number}")
    return number


def _text(value: str) -> str:
    r"""Replace surrogate pairs, which JSON files have for characters such as emoji.

    Raises:
        ValueError: Half a pair is missing, as in "\ud800". No output could show such a text.
    """
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError as error:
        raise ValueError(f"half of a surrogate pair in {value!a}") from error


def _key(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return _text(str(key))
