"""Decoding of objects, pages of lists and lines of watches.

Each object is decoded on its own, within limits. An `Undecodable` takes the place of an object that cannot be decoded.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from sluicegate.kube import outline
from sluicegate.kube.errors import Undecodable, Unreachable, from_status
from sluicegate.kube.kinds import MODEL_DEPLOYMENT, Kind

Object = dict[str, Any]
"""A Kubernetes object as decoded from JSON."""
Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""

Decoded = TypeVar("Decoded")

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Exceptions that msgspec raises for JSON that it does not decode."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an object that is decoded.

    Decoding, copying, merging and encoding recurse, in Python and in C, at up to five frames for each level. Python
    allows 1,000 frames, so an object with a few hundred levels fails at a point that depends on the caller.
    """

    depth: int
    """Levels of nested objects and lists, the object itself included."""
    size: int
    """Bytes of JSON. A decoded object takes up to 20 times as much memory."""


CHILD = Limits(depth=128, size=4 << 20)
"""Limits of every kind but ModelDeployment.

etcd accepts objects of up to 1.5 MiB unless configured otherwise. Revisions nest the values of their ModelDeployment a
few levels deeper, so the depth leaves room for that.
"""
USER = Limits(depth=64, size=512 << 10)
"""Limits of ModelDeployments, whose content users choose. A pod template has about ten levels and a few kilobytes."""


def limits_of(kind: Kind) -> Limits:
    """Return the limits of the objects of a kind."""
    return USER if kind == MODEL_DEPLOYMENT else CHILD


_NUMBER = r"\A[0-9]{0,20}\Z"


class _Identity(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Checked(_Identity, kw_only=True):
    """The metadata that code reads without checking its types."""

    name: str
    resource_version: Annotated[str, msgspec.Meta(pattern=_NUMBER)] = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[dict[str, Any]] | None = None
    creation_timestamp: str | None = None


class _Named(msgspec.Struct):
    metadata: _Identity


_NO_IDENTITY = _Identity()
_IDENTIFYING = {f'"{field.encode_name}"'.encode() for field in msgspec.structs.fields(_Identity)}


def read_object(raw: bytes | msgspec.Raw, kind: Kind) -> Object | Undecodable:
    """Decode one object of a list or a watch.

    No other code decides whether the bytes of an object may be decoded.

    Args:
        raw: The JSON of the object.
        kind: Kind of the object, which decides the limits.
    """
    text, limits = bytes(raw), limits_of(kind)
    if len(text) > limits.size:
        return _undecodable(text, kind, f"it has {len(text):,} bytes, more than the limit of {limits.size:,}")
    if outline.deeper_than(text, limits.depth):
        return _undecodable(text, kind, f"it is nested more than {limits.depth} levels deep")
    try:
        decoded = msgspec.json.decode(text, type=Object)
        if kind.stored:
            msgspec.convert(decoded.get("metadata"), _Checked)
    except UNREADABLE as error:
        return _undecodable(text, kind, f"it is not a valid object: {_brief(error)}")
    return decoded


def unusable(raw: Object, kind: Kind, error: Exception) -> Undecodable:
    """Describe a decoded object whose content does not match its kind."""
    metadata = raw.get("metadata")
    try:
        identity = msgspec.convert(metadata, _Identity)
    except msgspec.ValidationError:
        identity = _NO_IDENTITY
    return _described(identity, kind, f"its content is not what the operator expects: {_brief(error)}")


def _undecodable(text: bytes, kind: Kind, problem: str) -> Undecodable:
    return _described(_identity(text), kind, problem)


def _described(identity: _Identity, kind: Kind, problem: str) -> Undecodable:
    key = (identity.namespace, identity.name) if identity.name else None
    version = identity.resource_version if re.match(_NUMBER, identity.resource_version) else ""
    return Undecodable(kind.kind, problem, key, identity.uid, int(version or 0))


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _identity(text: bytes) -> _Identity:
    """Return the identity of an object that must not be decoded.

    Parts that cannot be read are empty.
    """
    try:
        return msgspec.json.decode(text, type=_Named).metadata
    except UNREADABLE:
        return _outlined_identity(text)


def _outlined_identity(text: bytes) -> _Identity:
    """Return the identity of an object that is nested too deep for the decoder."""
    fields: dict[str, Any] = {}
    try:
        span = outline.member(text, "metadata")
        for name, (start, end) in outline.members(text, span[0]) if span is not None else ():
            if name in _IDENTIFYING and end - start < 1024:
                fields[name.decode().strip('"')] = _text(text[start:end])
        return msgspec.convert(fields, _Identity)
    except (ValueError, msgspec.ValidationError):
        return _NO_IDENTITY


def _text(value: bytes) -> str:
    try:
        return msgspec.json.decode(value, type=str)
    except UNREADABLE:
        return ""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: Object | Undecodable


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list, or a whole list."""

    raws: tuple[msgspec.Raw, ...]
    """The objects, not decoded yet. Thousands of decoded pods take ten times the memory."""
    resource_version: str
    """The resource version of the list, the same on every page. A watch starts after it."""
    continue_: str = ""
    """The token that requests the next page. It is empty on the last page."""
    kind: Kind = MODEL_DEPLOYMENT

    def read(self) -> Iterator[Object | Undecodable]:
        """Iterate over the objects, and decode each one when it is reached."""
        return (read_object(raw, self.kind) for raw in self.raws)

    def __iter__(self) -> Iterator[Object]:
        """Iterate over the objects without the undecodable ones.

        Each object is decoded when it is reached.
        """
        return (decoded for decoded in self.read() if not isinstance(decoded, Undecodable))

    @property
    def items(self) -> list[Object]:
        """Return all objects without the undecodable ones."""
        return list(self)


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _Metadata
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw = msgspec.Raw()


_OF_THE_SERVER = ("ERROR", "BOOKMARK")
"""Types of events whose object does not come from a user."""


def decode(body: bytes | msgspec.Raw, shape: type[Decoded]) -> Decoded:
    """Decode a whole response that has no user content.

    Raises:
        Unreachable: The body is not from the API server. Another server, such as a proxy, responded in its place.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except UNREADABLE as error:
        start = bytes(body)[:80].decode("utf-8", "replace")
        raise Unreachable(f"the response is not from the API server ({error}): it begins with {start!r}") from error


def decode_page(body: bytes, kind: Kind) -> Page:
    """Split one page of a list into its objects, whatever they contain.

    Raises:
        Unreachable: As in `decode`.
    """
    try:
        shell = msgspec.json.decode(body, type=_List)
        raws = shell.items or []
    except UNREADABLE:
        shell, raws = _cut_page(body)
    return Page(tuple(raws), shell.metadata.resource_version, shell.metadata.continue_, kind)


def _cut_page(body: bytes) -> tuple[_List, list[msgspec.Raw]]:
    """Split a page that the decoder rejects because of one of its objects."""
    start = outline.start_of(body, "items")
    if start is None or body[start : start + 1] != b"[":
        return decode(body, _List), []
    try:
        spans = list(outline.parts(body, start))
        end = body.index(b"]", spans[-1][1] if spans else start)
    except ValueError as error:
        raise Unreachable(f"the list ends too early: {error}") from error
    shell = decode(body[:start] + b"[" + body[end:], _List)
    return shell, [msgspec.Raw(body[begin:end].strip()) for begin, end in spans]


def _without(text: bytes, name: str) -> tuple[bytes, outline.Span | None]:
    """Replace the value of a member by null.

    Returns:
        The new text, and the span that the value had. The span is None if there is no such member.
    """
    try:
        span = outline.member(text, name)
    except ValueError:
        span = None
    return (text, None) if span is None else (text[: span[0]] + b"null" + text[span[1] :], span)


def read_event(line: bytes, kind: Kind) -> WatchEvent:
    """Decode one line of a watch, whatever its object contains.

    Raises:
        Unreachable: The line is not an event.
    """
    try:
        event = msgspec.json.decode(line, type=_Line)
        raw = bytes(event.object)
    except UNREADABLE:
        rest, span = _without(line, "object")
        event = decode(rest, _Line)
        raw = line[slice(*span)].strip() if span is not None else b""
    if event.type in _OF_THE_SERVER:
        return WatchEvent(event.type, decode(raw, Object))
    return WatchEvent(event.type, read_object(raw, kind))


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split a stream into lines of any length.

    The standard readers fail on lines longer than their buffer, and one object may have several megabytes.

    Raises:
        Unreachable: The stream ended inside a line.
    """
    pending: list[bytes] = []
    async for chunk in chunks:
        head, newline, rest = chunk.partition(b"\n")
        while newline:
            pending.append(head)
            line = b"".join(pending)
            pending.clear()
            if line.strip():
                yield line
            head, newline, rest = rest.partition(b"\n")
        if head:
            pending.append(head)
    if b"".join(pending).strip():
        raise Unreachable("the watch ended inside a line")


async def events(chunks: AsyncIterator[bytes], kind: Kind) -> AsyncGenerator[WatchEvent, None]:
    """Decode the events of a watch.

    Raises:
        Gone: An ERROR event with code 410.
        ApiError: Any other ERROR event.
        Unreachable: The stream broke, or is not a watch.
    """
    async for line in lines(chunks):
        event = read_event(line, kind)
        if event.type == "ERROR":
            assert not isinstance(event.object, Undecodable)
            raise from_status(event.object)
        yield event
