"""Download of an artifact folder, in parallel and over unreliable networks.

A file that is not complete never has its final name.
"""

import base64
import hashlib
import logging
import os
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sluicegate_scorer import archive, signature
from sluicegate_scorer.errors import ScorerError, TransientError, redact
from sluicegate_scorer.folder import TEMPORARY, Folder, Result, hash_file
from sluicegate_scorer.progress import AGAIN_TIMEOUT, Progress, size
from sluicegate_scorer.ranges import RangedFile, RangesIgnored, Stopped
from sluicegate_scorer.sources import Entry, Source
from sluicegate_scorer.sources.base import MAX_DEPTH, MAX_FILES

log = logging.getLogger("sluicegate_scorer.fetch")

PARALLEL = 8


class Download:
    """One fetch of one folder.

    Args:
        source: the artifact store that holds the files.
        folder: the target folder.
        timeout: seconds without progress after which to give up. After an earlier run that failed, it is at least
            `AGAIN_TIMEOUT`.
        packed: whether the source is one file, an archive of the folder.
    """

    def __init__(self, source: Source, folder: Folder, timeout: float, *, packed: bool = False) -> None:
        self._packed = packed
        self._source = source
        self._folder = folder
        again = folder.continues
        self._progress = Progress(max(timeout, AGAIN_TIMEOUT) if again else timeout, hasty=not again)
        self._stop = threading.Event()

    def run(self) -> Result:
        """List and download the files, check them, and mark the folder complete."""
        began = time.monotonic()
        entries = self._list()
        if not entries:
            raise self._source.missing()
        if not self._packed and not any(entry.path == "MLmodel" for entry in entries):
            log.warning("the artifact folder has no MLmodel file. Check that the URI is that of an MLflow model")
        self._check_collisions(entries)
        self._expect(entries)
        hashes = self._download(entries)
        if self._packed:
            hashes = archive.unpack(self._folder, entries[0].path)
        result = self._folder.finish(hashes)
        log.info("fetched %d files, %s in %.1fs", result.files, size(result.bytes), time.monotonic() - began)
        return result

    def _list(self) -> list[Entry]:
        entries: list[Entry] = []
        folders = [""]
        while folders:
            folder = folders.pop()
            files, deeper = self._list_folder(folder)
            self._progress.advance()
            entries.extend(files)
            folders.extend(deeper)
            if len(entries) > MAX_FILES or any(path.count("/") >= MAX_DEPTH for path in deeper):
                raise ScorerError(
                    f"refused the artifact listing: it has more than {MAX_FILES} files or {MAX_DEPTH} levels of "
                    "folders. Check that the URI is that of one model"
                )
        return sorted(entries, key=lambda entry: entry.path)

    def _list_folder(self, folder: str) -> tuple[list[Entry], list[str]]:
        attempt = 0
        while True:
            try:
                return self._source.list_folder(folder)
            except TransientError as error:
                self._pause(error, attempt, "listing")
            attempt += 1

    def _check_collisions(self, entries: list[Entry]) -> None:
        paths = {entry.path for entry in entries}
        parents = {str(parent) for entry in entries for parent in Path(entry.path).parents}
        if len(paths) != len(entries) or paths & parents:
            raise ScorerError(
                "refused the artifact listing: it has a path twice, or a file that is also a folder. "
                "Check the artifact store"
            )

    def _expect(self, entries: list[Entry]) -> None:
        if any(entry.size is None for entry in entries):
            return
        missing = [entry for entry in entries if not self._present(entry)]
        total = sum(entry.size or 0 for entry in missing)
        self._progress.expect(total)
        self._folder.check_space(total)
        log.info("downloading %d files, %s", len(missing), size(total))

    def _present(self, entry: Entry) -> bool:
        """Tell whether an earlier run of the same URI has fetched a file.

        That run renamed the file into place, so it was complete then.
        """
        path = self._folder.path / entry.path
        return self._folder.continues and path.is_file() and path.stat().st_size == entry.size

    def _download(self, entries: list[Entry]) -> dict[str, tuple[int, str]]:
        with (
            ThreadPoolExecutor(PARALLEL, thread_name_prefix="range") as self._range_pool,
            ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch") as pool,
        ):
            jobs = {pool.submit(self._file, entry): entry for entry in entries}
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            failed = [job for job in done if job.exception()]
            if failed:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                error = next((job.exception() for job in failed if not isinstance(job.exception(), Stopped)), None)
                raise error or ScorerError("the download was stopped")
            return {entry.path: job.result() for job, entry in jobs.items()}

    def _file(self, entry: Entry) -> tuple[int, str]:
        target = self._folder.path / entry.path
        with self._folder.disk_errors():
            if self._present(entry):
                return hash_file(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            # The name has a fixed length, because the target's own name may already be as long as the file system
            # allows.
            mark = hashlib.sha256(entry.path.encode()).hexdigest()[:16]
            temporary = target.parent / f"{TEMPORARY}{mark}"
            try:
                part = _Part(temporary, entry)
                if not (RangedFile.suits(self._source, entry) and self._fill_in_ranges(part)):
                    self._fill(part)
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        return part.written, part.hash.hexdigest()

    def _fill(self, part: "_Part") -> None:
        attempt = 0
        while True:
            before = part.written
            try:
                self._attempt(part)
                return
            except TransientError as error:
                attempt = 0 if part.written > before else attempt
                self._pause(error, attempt, part.entry.path)
            attempt += 1

    def _fill_in_ranges(self, part: "_Part") -> bool:
        """Download a large file over several connections, or return False if the store does not return ranges."""
        file = RangedFile(self._source, part.entry, part.path, self._range_pool, self._stop)
        attempt = 0
        while True:
            try:
                with closing(file.chunks(self._progress.advance, self._pause)) as chunks:
                    for chunk in chunks:
                        part.add(chunk)
                part.check()
                return True
            except RangesIgnored:
                log.warning("%s: the store does not return ranges. Downloading it as a whole", part.entry.path)
                part.restart()
                return False
            except TransientError as error:
                self._pause(error, attempt, part.entry.path)
            attempt += 1

    def _attempt(self, part: "_Part") -> None:
        with (
            self._source.read(part.entry, part.written) as body,
            part.path.open("r+b" if part.written else "wb") as file,
        ):
            if body.offset != part.written:
                part.restart()
            file.seek(part.written)
            file.truncate()
            for chunk in body.chunks:
                if self._stop.is_set():
                    raise Stopped
                file.write(chunk)
                new = part.add(chunk)
                if new:
                    self._progress.advance(new)
        part.check()

    def _pause(self, error: TransientError, attempt: int, what: str) -> None:
        delay = self._progress.delay(error, attempt)
        if delay is None:
            raise ScorerError(f"gave up after {self._progress.since():.0f}s without progress: {error}") from error
        log.warning("%s: %s. Retrying in %.1fs", what, redact(str(error)), delay)
        if self._stop.wait(delay):
            raise Stopped from error


class _Part:
    """A file that is being downloaded: its bytes so far, and their hash."""

    def __init__(self, path: Path, entry: Entry) -> None:
        self.path = path
        self.entry = entry
        self._farthest = 0
        self.restart()

    def restart(self) -> None:
        """Start over, because the store began at the first byte again."""
        self.written = 0
        self.hash = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)

    def add(self, chunk: bytes | memoryview) -> int:
        """Record written bytes.

        Returns:
            How many of them no earlier attempt had reached.
        """
        self.hash.update(chunk)
        if self.entry.md5:
            self._md5.update(chunk)
        self.written += len(chunk)
        if self.entry.size is not None and self.written > self.entry.size:
            raise ScorerError(
                f"{self.entry.path} is longer than the {self.entry.size} bytes in its listing. "
                "Check that the artifact did not change during the download"
            )
        new = max(self.written - self._farthest, 0)
        self._farthest = max(self._farthest, self.written)
        return new

    def check(self) -> None:
        """Check the length and the checksum of a complete body.

        A body that ended early means a broken connection, whatever its headers said. A different checksum means damaged
        content.

        Raises:
            TransientError: if the length or the checksum differs.
        """
        if self.entry.size is not None and self.written < self.entry.size:
            raise TransientError(
                f"{self.entry.path} ended after {self.written} of {self.entry.size} bytes. "
                "Check the connection, and the artifact in the store"
            )
        if self.entry.md5 and base64.b64encode(self._md5.digest()).decode() != self.entry.md5:
            self.restart()
            raise TransientError(
                f"{self.entry.path} does not match the checksum in its listing. "
                "Check the connection, and the artifact in the store"
            )


def fetch(uri: str, directory: Path, timeout: float) -> Result:
    """Fetch the artifact folder at a URI, or find that it is already complete.

    Args:
        uri: the URI, in one of the forms of `sources.FORMS`.
        directory: an empty directory, or one that an earlier run for the same URI filled.
        timeout: seconds without progress after which to give up.

    Raises:
        ScorerError: if the fetch fails. The text is the message for the user.
    """
    from sluicegate_scorer.sources import open_source

    folder = Folder(directory, uri)
    done = folder.open()
    if done:
        log.info("already fetched: %d files, %s", done.files, size(done.bytes))
    else:
        log.info("fetching %s to %s", redact(uri), directory)
        done = Download(open_source(uri), folder, timeout, packed=archive.is_archive(uri)).run()
    return replace(done, signature=signature.described(directory))
