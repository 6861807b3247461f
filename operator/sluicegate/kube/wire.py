"""Reading what the API server sends: objects, list pages and watch lines."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from sluicegate.kube.errors import Unreachable, from_status

Object = dict[str, Any]
"""A Kubernetes object as decoded from JSON."""

Decoded = TypeVar("Decoded")


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: Object


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, or a whole one."""

    raws: tuple[msgspec.Raw, ...]
    """Its objects, not decoded yet: of thousands of pods that takes ten times the memory."""
    resource_version: str
    """The moment the list describes, the same on every page; a watch starts here."""
    continue_: str = ""
    """The token that asks for the next page; empty on the last."""

    def __iter__(self) -> Iterator[Object]:
        """Its objects, each decoded as it is reached; errors as in `decode`."""
        return (decode(each, Object) for each in self.raws)

    @property
    def items(self) -> list[Object]:
        """All of its objects."""
        return list(self)


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _Metadata
    items: list[msgspec.Raw] | None = None


def decode(body: bytes | msgspec.Raw, shape: type[Decoded]) -> Decoded:
    """Decode a whole answer.

    Raises:
        Unreachable: The body is not what the API server sends: something in between answered in its place.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        start = bytes(body)[:80].decode("utf-8", "replace")
        raise Unreachable(f"the answer is not the API server's ({error}); it begins {start!r}") from error


def decode_page(body: bytes) -> Page:
    """Decode one page of a list; errors as in `decode`."""
    parsed = decode(body, _List)
    return Page(tuple(parsed.items or ()), parsed.metadata.resource_version, parsed.metadata.continue_)


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut a stream into lines of any length.

    The standard readers give up on lines beyond their buffer, and one object may be megabytes.

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


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[WatchEvent, None]:
    """Decode a watch.

    Raises:
        Gone: An ERROR event with code 410.
        ApiError: Any other ERROR event.
        Unreachable: The stream is torn, or is not a watch.
    """
    async for line in lines(chunks):
        event = decode(line, WatchEvent)
        if event.type == "ERROR":
            raise from_status(event.object)
        yield event
