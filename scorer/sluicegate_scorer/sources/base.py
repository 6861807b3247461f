"""What the downloader asks of a source, and the check that keeps a listing inside its folder."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

from sluicegate_scorer.errors import ScorerError, redact

MAX_FILES = 100_000
MAX_DEPTH = 64


@dataclass(frozen=True)
class Entry:
    """One file of an artifact folder.

    Attributes:
        path: relative to the folder.
        size: in bytes, where the listing tells.
        md5: of the content, in base64, where the listing tells.
        version: the store's own mark of the content, for `Source.read`.
    """

    path: str
    size: int | None
    md5: str | None = None
    version: str | None = None


@dataclass(frozen=True)
class Body:
    """A file being read, from `offset` on (0 where the far side would not continue a broken download)."""

    offset: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """A place that holds one artifact folder.

    Both methods raise TransientError for what is worth trying again, and ScorerError for what is not.
    """

    def list_folder(self, folder: str) -> tuple[list[Entry], list[str]]:
        """The files and sub-folders of a folder given relative to the root, "" being the root itself."""
        ...

    def read(self, entry: Entry, offset: int) -> AbstractContextManager[Body]:
        """Opens a file for reading from `offset`."""
        ...

    def missing(self) -> ScorerError:
        """The error for a root that holds nothing."""
        ...


def bucket(uri: str, form: str) -> tuple[str, str]:
    """The bucket and the prefix of SCHEME://BUCKET/PREFIX."""
    parts = urlsplit(uri)
    found = parts.netloc.rpartition("@")[2]
    if not found:
        raise ScorerError(f"cannot fetch {redact(uri)}: it names no bucket; write {form}")
    return found, unquote(parts.path).strip("/")


def safe_path(path: str) -> str:
    """Refuses what could leave the target directory: the listing is another machine's word.

    Args:
        path: a path from a listing, relative to the artifact root, with forward slashes.

    Returns:
        The same path.

    Raises:
        ScorerError: where it is absolute, has `..` or an empty part, a backslash or a control character.
    """
    parts = path.split("/")
    bad = any(part in {"", ".", ".."} for part in parts) or "\\" in path or any(ord(c) < 32 for c in path)
    if bad or len(parts) > MAX_DEPTH:
        raise ScorerError(
            f"refused the artifact listing: it names {path!r}, which could be written outside the "
            "model's directory; "
            "check the artifact store"
        )
    return path
