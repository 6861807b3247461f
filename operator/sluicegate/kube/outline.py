"""Access to parts of a JSON text without decoding it, at any nesting depth.

Decoders recurse, so they fail at a depth that a user can choose. The functions here do not recurse. They accept valid
JSON, as the API server sends it, and are only used where decoding is not safe.
"""

import re
from collections.abc import Iterator

Span = tuple[int, int]
"""Start and end of a part of a text."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BRACKETS_IN_STRINGS = re.compile(rb'"[^"]*"')
_TOKENS = re.compile(_STRING + rb"|[{}\[\],]", re.DOTALL)
_MEMBER = re.compile(rb"\s*(" + _STRING + rb")\s*:\s*", re.DOTALL)

_OPEN, _CLOSE, _COMMA = b"{[", b"}]", ord(",")
_NO_MARKS = bytes(byte for byte in range(256) if byte not in b'{}[]"')
_AS_OBJECTS = bytes.maketrans(b"[]", b"{}")


def deeper_than(text: bytes, limit: int) -> bool:
    """Tell whether objects and lists are nested deeper than `limit`.

    This costs less than decoding the text.
    """
    if text.count(b"{") + text.count(b"[") <= limit:
        return False
    if b"\\" in text:  # after this, each quote begins or ends a string
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = text.translate(None, _NO_MARKS).replace(b'""', b"")  # most strings have no brackets
    if b'"' in brackets:
        brackets = _BRACKETS_IN_STRINGS.sub(b"", brackets)
    levels = brackets.translate(_AS_OBJECTS)
    for _ in range(limit):  # each turn removes the innermost level
        outer = levels.replace(b"{}", b"")
        if outer == levels:
            return False  # nothing is left, or the text is not valid JSON
        levels = outer
    return bool(levels)


def parts(text: bytes, start: int = 0) -> Iterator[Span]:
    """Yield the span of each member of an object, or item of a list.

    The object or list is the first one that begins at or after `start`.

    Raises:
        ValueError: The text ends before the object or list does.
    """
    depth, begin = 0, start
    for token in _TOKENS.finditer(text, start):
        byte = text[token.start()]
        if byte in _OPEN:
            depth += 1
            if depth == 1:
                begin = token.end()
        elif byte in _CLOSE:
            depth -= 1
            if depth <= 0:
                if text[begin : token.start()].strip():
                    yield begin, token.start()
                return
        elif byte == _COMMA and depth == 1:
            yield begin, token.start()
            begin = token.end()
    raise ValueError("the JSON text ends inside an object or a list")


def members(text: bytes, start: int = 0) -> Iterator[tuple[bytes, Span]]:
    """Yield the quoted name and the span of the value of each member.

    The arguments and errors are those of `parts`.
    """
    for begin, end in parts(text, start):
        name = _MEMBER.match(text, begin, end)
        if name is not None:
            yield name.group(1), (name.end(), end)


def member(text: bytes, key: str) -> Span | None:
    """Return the span of the value of a member of an object, or None.

    The errors are those of `parts`.
    """
    quoted = f'"{key}"'.encode()
    return next((span for name, span in members(text) if name == quoted), None)


def start_of(text: bytes, key: str) -> int | None:
    """Return where the value of a member of an object starts, or None.

    The function does not read that value.
    """
    quoted, depth = f'"{key}"'.encode(), 0
    for token in _TOKENS.finditer(text):
        byte = text[token.start()]
        if byte in _OPEN:
            depth += 1
        elif byte in _CLOSE:
            depth -= 1
        elif depth == 1 and token.group() == quoted and (name := _MEMBER.match(text, token.start())):
            return name.end()
    return None
