"""The directory that a model is fetched into.

A small manifest in the directory makes a second run cheap and safe. A run with the same URI continues, or finds that
all is complete. A directory with any other content is refused. Nothing in it is mixed or deleted.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sluicegate_scorer.errors import ScorerError, redact
from sluicegate_scorer.progress import size

MANIFEST = ".sluicegate-fetch.json"
TEMPORARY = ".sluicegate-part-"
_IGNORED = {"lost+found", MANIFEST}
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Result:
    """The result of a fetch.

    It is written to the termination log, where the operator reads it.
    """

    digest: str
    files: int
    bytes: int
    signature: str | None = None
    """See `signature.described`."""

    def as_json(self) -> str:
        """Return the JSON that the operator reads."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None})


def summarize(hashes: Mapping[str, tuple[int, str]]) -> Result:
    """Return the result for the hashes of all files.

    The digest is over sorted `path sha256` lines. It therefore differs between pods of one revision if their files
    differ.

    Args:
        hashes: size and hexadecimal sha256 of each file, by its path relative to the folder.
    """
    lines = "".join(f"{path} {sha}\n" for path, (_, sha) in sorted(hashes.items()))
    return Result(
        digest="sha256:" + hashlib.sha256(lines.encode()).hexdigest(),
        files=len(hashes),
        bytes=sum(count for count, _ in hashes.values()),
    )


def hash_file(path: Path) -> tuple[int, str]:
    """Return the size and sha256 of a file, in constant memory."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


class Folder:
    """The target directory of one fetch."""

    def __init__(self, path: Path, uri: str) -> None:
        self.path = path
        self._uri = redact(uri)
        self.continues = False

    def open(self) -> Result | None:
        """Prepare the directory.

        Returns:
            The result of an earlier run that is complete and whose files still have their hashes, else None.

        Raises:
            ScorerError: if the directory holds something else, or cannot be written.
        """
        with self.disk_errors():
            self.path.mkdir(parents=True, exist_ok=True)
            manifest = self._manifest()
            if manifest is None:
                strangers = sorted(child.name for child in self.path.iterdir() if child.name not in _IGNORED)
                if strangers:
                    raise ScorerError(
                        f"{self.path} is not empty: it has {strangers[0]}, and no manifest of sluicegate-scorer. "
                        "Fetch into an empty directory"
                    )
                self._write({"uri": self._uri, "complete": False})
                return None
            if manifest.get("uri") != self._uri:
                raise ScorerError(
                    f"{self.path} already holds {manifest.get('uri')}, not {self._uri}. Fetch into an empty directory"
                )
            self.continues = True
            for leftover in self.path.rglob(f"{TEMPORARY}*"):
                leftover.unlink()
            return self._complete(manifest)

    def check_space(self, total: int) -> None:
        """Refuse at once a model that cannot fit on the volume.

        Without this check the same failure comes minutes later and without numbers. It needs the sizes of the listing.
        """
        usage = shutil.disk_usage(self.path)
        if total > usage.free:
            raise self._full(f"the model has {size(total)}, and {size(usage.free)} is free")

    def finish(self, hashes: Mapping[str, tuple[int, str]]) -> Result:
        """Mark the directory complete."""
        with self.disk_errors():
            self._write({"uri": self._uri, "complete": True, "files": dict(hashes)})
        return summarize(hashes)

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Turn an error of the file system into a `ScorerError`."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise self._full("no space left on the device") from error
            raise ScorerError(
                f"cannot write the model to {self.path}: {error.strerror or error}. "
                f"Use a volume that user {os.getuid()} may write to (fsGroup)"
            ) from error

    def _full(self, detail: str) -> ScorerError:
        total = size(shutil.disk_usage(self.path).total)
        return ScorerError(
            f"the model does not fit on the volume at {self.path} ({detail}, the volume has {total}). "
            "Raise the size limit of the pod's model volume, or add disk space to the node"
        )

    def _manifest(self) -> dict[str, object] | None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            manifest = json.loads((self.path / MANIFEST).read_text())
            return manifest if isinstance(manifest, dict) else None
        return None

    def _write(self, manifest: Mapping[str, object]) -> None:
        temporary = self.path / (MANIFEST + ".new")
        temporary.write_text(json.dumps(manifest))
        temporary.replace(self.path / MANIFEST)

    def _complete(self, manifest: Mapping[str, object]) -> Result | None:
        files = manifest.get("files")
        if not manifest.get("complete") or not isinstance(files, dict):
            return None
        hashes = {str(path): (int(count), str(sha)) for path, (count, sha) in files.items()}
        for path, expected in hashes.items():
            file = self.path / path
            if not file.is_file() or hash_file(file) != expected:
                return None
        return summarize(hashes)
