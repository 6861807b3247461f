"""The interface of an artifact store, and the check of the paths in its listings."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

from sluicegate_scorer.errors import ScorerError, redact

MAX_FILES = 100_000
MAX_DEPTH = 64
MAX_LISTING = 32 << 20
"""Bytes of one response with a listing. A listing of `MAX_FILES` files has about 20 MB."""
CHUNK = 1 << 18
"""Bytes that are read at once. With 1 MiB, which no processor cache holds, a download takes almost twice as long."""
RANGE = 32 << 20
"""Bytes of one range of a file. A request costs about 50 ms, in which one connection to Amazon S3 transfers 5 MB."""
MIN_SIZE = 2 * RANGE
"""Bytes of the smallest file that is downloaded in ranges."""


@dataclass(frozen=True)
class Entry:
    """One file of an artifact folder.

    Attributes:
        path: relative to the folder.
        size: in bytes, or None if the listing does not have it.
        md5: of the content, in base64, or None if the listing does not have it.
        version: the store's own identifier of the content, for `Source.read`. Without one, the file is read by one
            request.
    """

    path: str
    size: int | None
    md5: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class Body:
    """A file that is read from `offset` on.

    The offset is 0 if the store does not continue an interrupted download.
    """

    offset: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """An artifact store with one artifact folder.

    `list_folder` and `read` raise TransientError for failures that are worth another attempt, and ScorerError for all
    others.

    Attributes:
        ranges: whether `read` returns any range of a file, of the version that was listed.
    """

    ranges: bool

    def list_folder(self, folder: str) -> tuple[list[Entry], list[str]]:
        """Return the files and sub-folders of a folder.

        Args:
            folder: the path relative to the root; "" is the root itself.
        """
        ...

    def read(self, entry: Entry, offset: int, end: int | None = None) -> AbstractContextManager[Body]:
        """Open a file for reading from `offset` to its end, or to the byte before `end`."""
        ...

    def missing(self) -> ScorerError:
        """Return the error for a root that is empty."""
        ...


def range_header(offset: int, end: int | None) -> dict[str, str]:
    """Return the header that requests a part of a file, if it is not the whole file."""
    return {} if not offset and end is None else {"Range": f"bytes={offset}-{'' if end is None else end - 1}"}


def bucket(uri: str, form: str) -> tuple[str, str]:
    """Return the bucket and the prefix of SCHEME://BUCKET/PREFIX."""
    parts = urlsplit(uri)
    name = parts.netloc.rpartition("@")[2]
    if not name:
        raise ScorerError(f"cannot fetch {redact(uri)}: it has no bucket. Use {form}")
    return name, unquote(parts.path).strip("/")


def safe_path(path: str) -> str:
    """Refuse a path that could lead outside the target directory.

    The listing comes from another machine and is not trusted.

    Args:
        path: a path from a listing, relative to the artifact root, with forward slashes.

    Returns:
        The same path.

    Raises:
        ScorerError: if it is absolute, too deep, or has `..`, an empty part, a backslash or a control character.
    """
    parts = path.split("/")
    bad = any(part in {"", ".", ".."} for part in parts) or "\\" in path or any(ord(c) < 32 for c in path)
    if bad or len(parts) > MAX_DEPTH:
        raise ScorerError(
            f"refused the artifact listing: the path {path!r} is not valid below the model's directory. "
            "Check the artifact store"
        )
    return path
