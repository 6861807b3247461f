"""The download of one large file over several connections.

One connection to an object store carries less than the network of a node does. A file of an object store is therefore
read in ranges, in parallel. The ranges are hashed in their order while later ones still arrive.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from sluicegate_scorer.errors import TransientError
from sluicegate_scorer.sources import Entry, Source, base


class Stopped(Exception):
    """Another file or range failed, so the result of this one no longer matters."""


class RangesIgnored(Exception):
    """The store responded with other bytes than those of the range."""


@dataclass
class Range:
    """A part of a file.

    Attributes:
        start: its first byte.
        end: the byte after its last one.
        written: how many of its bytes are on the disk.
        farthest: how many of its bytes any attempt has reached.
    """

    start: int
    end: int
    written: int = 0
    farthest: int = 0

    def add(self, count: int) -> int:
        """Record written bytes, and return how many of them no earlier attempt had reached."""
        self.written += count
        new = max(self.written - self.farthest, 0)
        self.farthest += new
        return new


class RangedFile:
    """A file of an object store that is downloaded in ranges.

    Args:
        source: the artifact store.
        entry: the file, with its size and version.
        path: where to write it.
        pool: the threads that download ranges. Files share it.
        stop: set when another file failed.
    """

    def __init__(self, source: Source, entry: Entry, path: Path, pool: ThreadPoolExecutor, stop: threading.Event):
        self._source = source
        self._entry = entry
        self._path = path
        self._pool = pool
        self._stops = (stop, threading.Event())
        size = entry.size or 0
        self._ranges = [Range(start, min(start + base.RANGE, size)) for start in range(0, size, base.RANGE)]

    @staticmethod
    def suits(source: Source, entry: Entry) -> bool:
        """Tell whether a file is large enough, and whether all its ranges will be of one version."""
        return source.ranges and entry.version is not None and (entry.size or 0) >= base.MIN_SIZE

    def chunks(
        self, advance: Callable[[int], None], pause: Callable[[TransientError, int, str], None]
    ) -> Iterator[memoryview]:
        """Download the file, and yield its content in order. Each chunk is valid until the next one.

        Args:
            advance: called with the number of bytes that no earlier attempt had reached.
            pause: called with a failure that is worth another attempt, the number of attempts and the file's path. It
                waits, or raises if there is no time left.

        Raises:
            RangesIgnored: if the store does not return ranges.
            ScorerError: if the download fails.
        """
        self._path.write_bytes(b"")
        buffer = memoryview(bytearray(base.CHUNK))
        for part in self._ranges:
            part.written = 0
        jobs = [self._pool.submit(self._download, part, advance, pause) for part in self._ranges]
        try:
            with self._path.open("rb") as file:
                for part, job in zip(self._ranges, jobs, strict=True):
                    _result(job, jobs)
                    for start in range(part.start, part.end, base.CHUNK):
                        count = os.preadv(file.fileno(), [buffer[: part.end - start]], start)
                        yield buffer[:count]
        finally:
            self._stops[1].set()
            for job in jobs:
                job.cancel()
            wait(jobs)
            self._stops[1].clear()

    def _download(
        self, part: Range, advance: Callable[[int], None], pause: Callable[[TransientError, int, str], None]
    ) -> None:
        attempt = 0
        try:
            while True:
                before = part.written
                try:
                    return self._attempt(part, advance)
                except TransientError as error:
                    attempt = 0 if part.written > before else attempt
                    pause(error, attempt, self._entry.path)
                attempt += 1
        except BaseException:
            self._stops[1].set()
            raise

    def _attempt(self, part: Range, advance: Callable[[int], None]) -> None:
        self._check_stopped()
        offset = part.start + part.written
        with self._source.read(self._entry, offset, part.end) as body, self._path.open("r+b") as file:
            if body.offset != offset:
                raise RangesIgnored
            file.seek(offset)
            for chunk in body.chunks:
                self._check_stopped()
                if len(chunk) > part.end - part.start - part.written:
                    raise RangesIgnored
                file.write(chunk)
                if new := part.add(len(chunk)):
                    advance(new)
        if part.written < part.end - part.start:
            raise TransientError(
                f"{self._entry.path} ended after {part.start + part.written} of {self._entry.size} bytes. "
                "Check the connection, and the artifact in the store"
            )

    def _check_stopped(self) -> None:
        if any(stop.is_set() for stop in self._stops):
            raise Stopped


def _result(job: Future[None], jobs: list[Future[None]]) -> None:
    """Wait for a range, or raise the failure that stopped it, which may be that of another range."""
    try:
        job.result()
    except Stopped as error:
        failures = (each.exception() for each in jobs if each.done() and not each.cancelled())
        raise next((failure for failure in failures if failure and not isinstance(failure, Stopped)), error) from error
