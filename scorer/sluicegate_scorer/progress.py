"""How long a fetch keeps trying.

It tries as long as bytes arrive, and no longer than the timeout after the last new byte.
"""

import logging
import threading
import time
from collections.abc import Callable

from sluicegate_scorer.errors import TransientError

log = logging.getLogger("sluicegate_scorer.fetch")

UNREACHABLE_PATIENCE = 15.0
"""Seconds to try a server that never responded.

The kubelet starts the container again anyway, and until this process exits the user cannot see why the pod does not
start.
"""
AGAIN_TIMEOUT = 300.0
"""Seconds without progress that a run waits if an earlier run failed.

The user can see the reason by then. A run that waits continues seconds after the server is back. The kubelet's back-off
would be up to five minutes.
"""
_REPORT_EVERY = 5.0


class Progress:
    """The progress of a fetch, and the decision on another attempt.

    It counts the bytes of all download threads.

    Args:
        timeout: seconds without a new byte (or a listing) after which to give up.
        hasty: whether to give up sooner on a server that never responded, so that the user sees the reason.
        clock: a monotonic clock.
    """

    def __init__(self, timeout: float, hasty: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout
        self._hasty = hasty
        self._clock = clock
        self._lock = threading.Lock()
        self._began = self._last = self._reported = clock()
        self._responded = False
        self._bytes = 0
        self._total: int | None = None

    def expect(self, total: int | None) -> None:
        """Set how many bytes there will be, or None if the listing does not say."""
        self._total = total

    def advance(self, count: int = 0) -> None:
        """Record a response, and `count` bytes that were not here before."""
        with self._lock:
            now = self._clock()
            self._last = now
            self._responded = True
            self._bytes += count
            if now - self._reported < _REPORT_EVERY:
                return
            self._reported = now
            rate = self._bytes / max(now - self._began, 0.001)
            of = f" of {size(self._total)}" if self._total else ""
            log.info("fetched %s%s, %s/s", size(self._bytes), of, size(int(rate)))

    def delay(self, error: TransientError, attempt: int) -> float | None:
        """Return the seconds before the next attempt, or None to give up."""
        patience = self.timeout
        if self._hasty and error.unreachable and not self._responded:
            patience = min(patience, UNREACHABLE_PATIENCE)
        wait = max(min(0.25 * 2.0**attempt, 5.0), min(error.retry_after or 0.0, 20.0))
        remaining = self._last + patience - self._clock()
        return wait if wait < remaining else None

    def since(self) -> float:
        """Return the seconds since the last progress: a listing or a new byte."""
        return self._clock() - self._last


def size(count: int | None) -> str:
    """Format a number of bytes."""
    value = float(count or 0)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
