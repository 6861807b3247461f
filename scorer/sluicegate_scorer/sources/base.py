"""What the downloader asks of a source, and the check that keeps a listing inside its folder."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from sluicegate_scorer.errors import ScorerError

MAX_FILES = 100_000
MAX_DEPTH = 64


@dataclass(frozen=True)
class Entry:
    """One file of an artifact folder: its path relative to the folder, and its size where the listing
    tells.
    """

    path: str
    size: int | None


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
