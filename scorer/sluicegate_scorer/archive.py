"""A model's folder as one file: .zip, .tar, .tar.gz or .tgz."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from sluicegate_scorer.errors import ScorerError
from sluicegate_scorer.folder import Folder, hash_file
from sluicegate_scorer.sources.base import MAX_FILES, safe_path

_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
_UNPACKED = ".sluicegate-unpacked"
_UNREADABLE = (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError)
"""What the libraries raise for an archive that they cannot read. RuntimeError includes an unknown compression."""


_ENCRYPTED = 1
"""The bit of a zip member's flags that means that a password is needed."""


def is_archive(uri: str) -> bool:
    """Tell whether the URL of a web server names an archive."""
    return uri.startswith(("http://", "https://")) and urlsplit(uri).path.lower().endswith(_ENDINGS)


def unpack(folder: Folder, name: str) -> dict[str, tuple[int, str]]:
    """Unpack the archive `name` of the folder in its place.

    If the archive has a single top folder, that folder is left out.

    Returns:
        Size and sha256 of each file, by its path.

    Raises:
        ScorerError: if the file is not an archive, or could write outside the folder.
    """
    archive, scratch = folder.path / name, folder.path / _UNPACKED
    shutil.rmtree(scratch, ignore_errors=True)
    with folder.disk_errors():
        try:
            if zipfile.is_zipfile(archive):
                _unzip(folder, archive, scratch)
            else:
                _untar(folder, archive, scratch)
        except _UNREADABLE as error:
            archive.unlink()
            raise ScorerError(f"cannot read the archive {name}: {error}. Create it again") from error
        archive.unlink()
        top = scratch
        while not (top / "MLmodel").exists() and len(below := list(top.iterdir())) == 1 and below[0].is_dir():
            top = below[0]
        hashes = {}
        for path in sorted(path for path in top.rglob("*") if path.is_file()):
            relative = path.relative_to(top)
            hashes[str(PurePosixPath(relative))] = hash_file(path)
            (folder.path / relative).parent.mkdir(parents=True, exist_ok=True)
            path.replace(folder.path / relative)
        shutil.rmtree(scratch)
    return hashes


def _unzip(folder: Folder, archive: Path, scratch: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        if encrypted := next((member for member in members if member.flag_bits & _ENCRYPTED), None):
            raise ScorerError(
                f"cannot read the archive {archive.name}: {encrypted.filename!r} is encrypted. "
                "Create it again without a password"
            )
        _check(folder, ((member.filename, member.file_size) for member in members))
        opened.extractall(scratch, members)


def _untar(folder: Folder, archive: Path, scratch: Path) -> None:
    with tarfile.open(archive) as opened:
        members = [member for member in opened.getmembers() if not member.isdir()]
        if wrong := next((member for member in members if not member.isreg()), None):
            raise ScorerError(
                f"refused the archive: {wrong.name!r} is a link or a device. Create it again with files only"
            )
        _check(folder, ((member.name.removeprefix("./"), member.size) for member in members))
        opened.extractall(scratch, members, filter="data")


def _check(folder: Folder, members: Iterator[tuple[str, int]]) -> None:
    total = count = 0
    for name, size in members:
        safe_path(name)
        total, count = total + size, count + 1
        if count > MAX_FILES:
            raise ScorerError(
                f"refused the archive: it has more than {MAX_FILES} files. Create it from the model's folder only"
            )
    if not count:
        raise ScorerError("the archive has no files. Create it again from the model's folder")
    folder.check_space(total)
