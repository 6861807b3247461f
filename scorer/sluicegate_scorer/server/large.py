"""Reads large JSON bodies in pieces, so that other requests do not wait for them.

A JSON parser, and the conversion of its lists to an array, hold Python's global interpreter lock until they return. For
a body of 35 MiB that is seconds, in which the event loop responds to nothing, /health included. A body is therefore cut
between two rows, each piece is parsed as a body of its own, and its Python objects are gone before the next one.

The result is that of the whole body. The part around the rows is decoded with a random number in their place, so the
rows are the value of the form's key. The rows of a piece, in brackets, have to be one JSON value. They begin at a row,
so they end at a row too, and not in a string or after the array. A body that is built in another way, or has a piece
that the parser refuses, is not cut.
"""

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

Matrix = Any
Parse = Callable[[bytes], Any]

LARGE = 1 << 20
"""Bytes of a body that is read in pieces."""
PIECE = 128 << 10
"""Bytes of a piece, which take about 1 ms to parse."""
ENCODED = 10_000
"""Predictions that are encoded at a time."""
_MARK = secrets.randbits(62)
"""Stands for the rows while the part around them is decoded. No client knows it."""
_FORM = re.compile(rb'\s*\{\s*"(dataframe_split|dataframe_records|instances|inputs)"\s*:\s*')
_DATA = re.compile(rb'"data"\s*:\s*(?=\[)')
_LONGEST = 1 << 20
"""Bytes of a row. A search for the end of a longer one would hold the lock itself."""
_CANDIDATES = 16
"""Places that are tried for the end of the rows, or of a piece. Strings may look like one."""
_SPACE = b" \t\r\n"
_BETWEEN = {ord("["): re.compile(rb"\]\s*,\s*(?=\[)"), ord("{"): re.compile(rb"\}\s*,\s*(?=\{)")}
_CLOSING = {ord("["): b"]", ord("{"): b"}"}


_skip = msgspec.json.Decoder(msgspec.Raw).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_integers = msgspec.json.Decoder(list[int]).decode


class _NotCut(Exception):
    """The body has to be read whole."""


class _Rows(NamedTuple):
    """Where the rows of a body are, and what is around them.

    Attributes:
        begin: position of the first row.
        end: position after the last row.
        before: what a piece begins with.
        after: what a piece ends with.
        labels: the text of `index`, or None.
    """

    begin: int
    end: int
    before: bytes
    after: bytes
    labels: bytes | None


def matrix(parse: Parse, convert: Callable[[Any], Matrix], body: bytes) -> Matrix | None:
    """Return the rows of a body as one array; None if the body has to be read whole.

    Args:
        parse: returns the rows of a body, or None.
        convert: makes an array of rows.
        body: the body.
    """
    found = _find(body)
    if found is None:
        return None
    parts = []
    try:
        for piece in _pieces(body, found):
            rows = parse(piece)
            if rows is None:
                return None
            parts.append(convert(rows))
            del rows
    except _NotCut:
        return None
    values = np.concatenate(parts)
    return values if found.labels is None or _counts(found.labels, len(values)) else None


def frame(parse: Parse, body: bytes) -> pd.DataFrame | None:
    """Return the rows of a body as one DataFrame; None if the body has to be read whole.

    The columns and their types must not depend on the piece. They can, for example if only some pieces have missing
    values.

    Args:
        parse: returns the DataFrame of a body, or None.
        body: the body.
    """
    found = _find(body)
    if found is None:
        return None
    parts: list[pd.DataFrame] = []
    try:
        for piece in _pieces(body, found):
            part = parse(piece)
            if part is None or (parts and not part.dtypes.equals(parts[0].dtypes)):
                return None
            parts.append(part)
    except _NotCut:
        return None
    whole = pd.concat(parts, ignore_index=True)
    if found.labels is not None:
        if not _counts(found.labels, len(whole)):
            return None
        whole.index = pd.Index(np.arange(len(whole)))  # MLflow makes it of the list, so it is not a RangeIndex
    return whole


def data_frame(parse: Parse, body: bytes) -> pd.DataFrame | None:
    """Return the DataFrame of a body, in pieces if the body is large; None if MLflow's own code has to read it."""
    whole = frame(parse, body) if len(body) > LARGE else None
    return whole if whole is not None else parse(body)


def encode(encoder: Callable[[Any], str], predictions: Any) -> bytes:
    """Return the JSON of predictions, encoded a few at a time."""
    if type(predictions) is not list or len(predictions) <= ENCODED:
        return encoder(predictions).encode()
    parts = [encoder(predictions[at : at + ENCODED])[1:-1] for at in range(0, len(predictions), ENCODED)]
    return f"[{', '.join(parts)}]".encode()


def _find(body: bytes) -> _Rows | None:
    """Return where the rows of a body are, or None if they are not where clients mostly have them."""
    head = _FORM.match(body)
    if head is None:
        return None
    form = head[1].decode()
    begin = head.end()
    if form == "dataframe_split":
        data = _DATA.match(body, max(body.find(b'"data"', begin), 0))
        if data is None:
            return None
        begin = data.end()
    first = begin + 1 + _spaces(body[begin + 1 : begin + 65])
    if body[begin : begin + 1] != b"[" or body[first : first + 1] not in (b"[", b"{"):
        return None
    end = _end(body, first, _CLOSING[body[first]])
    if end is None:
        return None
    return _checked(form, b"%b%d%b" % (body[:begin], _MARK, body[end:]), first, body.rfind(b"]", 0, end))


def _end(body: bytes, begin: int, closing: bytes) -> int | None:
    """Return the position after the array of rows: its last `]` that follows the end of a row."""
    at = len(body)
    for _ in range(_CANDIDATES):
        at = body.rfind(b"]", begin, at)
        if at < 0 or body[max(begin, at - 64) : at].rstrip(_SPACE).endswith(closing):
            break
    return at + 1 if at >= 0 else None


def _checked(form: str, around: bytes, begin: int, end: int) -> _Rows | None:
    """Return the rows if `_MARK` is the value that they have to be."""
    mark = b"%d" % _MARK
    try:
        request = _members(around)
        if list(request) != [form]:
            return None
        if form != "dataframe_split":
            before = b'{"%b":[' % form.encode()
            return _Rows(begin, end, before, b"]}", None) if bytes(request[form]) == mark else None
        split = _members(request[form])
        if not {"data", "columns"} <= set(split) <= {"data", "columns", "index"} or bytes(split["data"]) != mark:
            return None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    before = b'{"dataframe_split":{"columns":%b,"data":[' % bytes(split["columns"])
    labels = bytes(split["index"]) if "index" in split else None
    return _Rows(begin, end, before, b"]}}", labels)


def _pieces(body: bytes, rows: _Rows) -> Iterator[bytes]:
    """Cut a body between rows.

    Raises:
        _NotCut: if no place is found.
    """
    between = _BETWEEN[body[rows.begin]]
    at = rows.begin
    while at < rows.end:
        until = at + PIECE
        for _ in range(_CANDIDATES):
            cut = between.search(body, until, min(until + _LONGEST, rows.end))
            until, after = (cut.start() + 1, cut.end()) if cut is not None else (rows.end, rows.end)
            part = body[at:until]
            if _is_array(b"[%b]" % part):
                break
        else:
            raise _NotCut
        yield b"%b%b%b" % (rows.before, part, rows.after)
        at = after


def _is_array(text: bytes) -> bool:
    try:
        _skip(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False
    return True


def _counts(labels: bytes, length: int) -> bool:
    """Tell whether the text of an index is a list of 0, 1, and so on."""
    if labels[:1] != b"[":
        return False
    at, row = 1, 0
    while at < len(labels):
        comma = labels.find(b",", at + PIECE)
        until = comma if comma >= 0 else len(labels) - 1
        try:
            values = _integers(b"[%b]" % labels[at:until])
        except (msgspec.MsgspecError, ValueError):
            return False
        if values != list(range(row, row + len(values))):
            return False
        at, row = until + 1, row + len(values)
    return row == length


def _spaces(text: bytes) -> int:
    return len(text) - len(text.lstrip(_SPACE))
