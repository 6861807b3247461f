"""Request bodies with a `Content-Encoding`.

gzip is the only coding. The size limit of bodies applies to the expanded body. A small body may expand to a thousand
times its size, so the expansion stops at the limit.
"""

import zlib

from sluicegate_scorer.server.asgi import Header, TooLarge

SUPPORTED = "gzip"
ACCEPTED: Header = (b"accept-encoding", SUPPORTED.encode())
"""The header that tells the client of a refused coding which one the server supports (RFC 9110, 15.5.16)."""
_GZIP = frozenset({b"gzip", b"x-gzip"})
_PIECE = 64 << 10
"""Compressed bytes that are expanded at a time. zlib copies what it has not consumed, so a piece is small."""
_PART = 1 << 20
"""Maximum bytes of one expanded part."""
_STEP = 4 << 10
"""Expanded bytes that take as long as one call of zlib."""
_MEMBERS = 10_000
"""Maximum gzip streams in a body. Tools that compress in blocks write one for each 64 KiB."""


class Unsupported(Exception):
    """The coding is not supported. The text is the message for the client."""


class Corrupt(Exception):
    """The body is not what its coding says. The text is the message for the client."""


def is_plain(coding: bytes) -> bool:
    """Tell whether a `Content-Encoding` leaves the body as it is.

    Raises:
        Unsupported: if it is neither that nor gzip.
    """
    name = coding.strip().lower()
    if name in _GZIP:
        return False
    if name in (b"", b"identity"):
        return True
    text = name.decode("latin-1")[:60]
    raise Unsupported(
        f"The Content-Encoding {text!r} is not supported. Use {SUPPORTED}, or send the body uncompressed."
    )


class Expansion:
    """The expansion of one gzip body.

    Args:
        body: the compressed body.
        limit: maximum bytes of the expanded body.
    """

    def __init__(self, body: bytes, limit: int) -> None:
        self._rest = memoryview(body)
        self._limit = limit
        self._piece: bytes | memoryview = b""
        self._parts: list[bytes] = []
        self._size = 0
        self._members = 0
        self._stream: zlib._Decompress | None = None

    def expand(self, budget: int | None = None) -> bytes | None:
        """Expand the rest of the body, or a part of it.

        Args:
            budget: bytes after which to stop. None means to expand all of it.

        Returns:
            The expanded body; None if the budget was not enough. The next call continues.

        Raises:
            TooLarge: if the expanded body is over the limit.
            Corrupt: if the body is not valid gzip.
        """
        done = 0
        while budget is None or done < budget:
            if not self._piece:
                if not self._rest:
                    return self._whole()
                self._piece, self._rest = self._rest[:_PIECE], self._rest[_PIECE:]
            done += max(_STEP, self._next_part())
        return None

    def _next_part(self) -> int:
        if self._stream is None:
            self._members += 1
            if self._members > _MEMBERS:
                raise Corrupt(f"The body has more than {_MEMBERS:,} gzip streams. Compress it as one stream.")
            self._stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        stream = self._stream
        try:
            part = stream.decompress(self._piece, _PART)
        except zlib.error as error:
            raise Corrupt(f"The body is not valid gzip: {error}. Its Content-Encoding is gzip.") from None
        self._size += len(part)
        if self._size > self._limit:
            self._parts.clear()
            raise TooLarge
        if part:
            self._parts.append(part)
        if stream.eof:
            self._stream = None
            self._piece = stream.unused_data
        else:
            self._piece = stream.unconsumed_tail
        return len(part)

    def _whole(self) -> bytes:
        if self._stream is not None:
            raise Corrupt("The gzip body ends too early. Send all of it.")
        return b"".join(self._parts)
