"""How long to go on trying: as long as bytes arrive, and no longer than the timeout after the last new
one.
"""

import logging
import threading
import time
from collections.abc import Callable

from sluicegate_scorer.errors import TransientError

log = logging.getLogger("sluicegate_scorer.fetch")

UNREACHABLE_PATIENCE = 15.0
"""Seconds to try a server that never answered: the kubelet starts the container again anyway, and
until we exit nobody sees why the pod does not start."""
AGAIN_TIMEOUT = 300.0
"""Seconds without progress that a run waits which follows a failed one: why is seen by then, and who waits here goes on
seconds after the server is back, where the kubelet's back-off would be up to five minutes."""
_REPORT_EVERY = 5.0


class Progress:
    """Counts bytes for all download threads, and decides whether another attempt is worth it.

    Args:
        timeout: seconds without a new byte (or a listing) after which to give up.
        hasty: whether to give up sooner on a server that never answered, so that people see why.
        clock: a monotonic clock.
    """

    def __init__(self, timeout: float, hasty: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout
        self._hasty = hasty
        self._clock = clock
        self._lock = threading.Lock()
        self._began = self._last = self._reported = clock()
        self._answered = False
        self._bytes = 0
        self._total: int | None = None

    def expect(self, total: int | None) -> None:
        """Tells how many bytes there will be, where the listing knows."""
        self._total = total

    def advance(self, count: int = 0) -> None:
        """Notes an answer, and `count` bytes that were not here before."""
        with self._lock:
            now = self._clock()
            self._last = now
            self._answered = True
            self._bytes += count
            if now - self._reported < _REPORT_EVERY:
                return
            self._reported = now
            rate = self._bytes / max(now - self._began, 0.001)
            of = f" of {size(self._total)}" if self._total else ""
            log.info("fetched %s%s, %s/s", size(self._bytes), of, size(int(rate)))

    def delay(self, error: TransientError, attempt: int) -> float | None:
        """Seconds to wait before the next attempt, or None where waiting is over."""
        patience = self.timeout
        if self._hasty and error.unreachable and not self._answered:
            patience = min(patience, UNREACHABLE_PATIENCE)
        wait = max(min(0.25 * 2.0**attempt, 5.0), min(error.retry_after or 0.0, 20.0))
        left = self._last + patience - self._clock()
        return wait if wait < left else None

    def since(self) -> float:
        """Seconds since the last new byte."""
        return self._clock() - self._last


def size(count: int | None) -> str:
    """A number of bytes for people."""
    value = float(count or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
