"""The work queue: which resource to reconcile next.

As client-go's, in one event loop: a key waits at most once, is worked on by at most one worker, and an add
while it is worked on brings it back afterwards. Nothing added is lost until shutdown.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BACKOFF_BASE = 0.5
"""Seconds before the first retry, jitter aside."""
BACKOFF_MAX = 60.0


class Closed(Exception):
    """The queue has been shut down."""


class WorkQueue(Generic[K]):
    """A deduplicating, fair, per-key serial queue with delays, for use in one event loop's thread."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        """Start empty.

        Args:
            clock: Monotonic seconds, running as fast as the event loop's.
            jitter: Returns numbers in [0, 1).
        """
        self._clock = clock
        self._jitter = jitter
        self._ready: asyncio.Queue[K | None] = asyncio.Queue()
        self._since: dict[K, float] = {}
        """When each waiting key was added: those in `_ready`, and those to come back after processing."""
        self._processing: set[K] = set()
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        """A heap of due times; an entry that `_due` disagrees with is void."""
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[K, int] = {}
        self._closed = False

    @property
    def depth(self) -> int:
        """Keys waiting for a worker, or to come back after the one that has them; delayed keys aside."""
        return len(self._since)

    @property
    def oldest_age(self) -> float:
        """Seconds the longest-waiting key has waited; 0 when none does."""
        return self._clock() - min(self._since.values()) if self._since else 0.0

    def add(self, key: K) -> None:
        """Ask for the key to be worked on soon. A delay of the key that is still running keeps running."""
        if self._closed or key in self._since:
            return
        self._since[key] = self._clock()
        if key not in self._processing:
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Ask for the key in a while; of several delays of one key the one that ends first wins."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._sequence += 1
        heapq.heappush(self._timers, (due, self._sequence, key))
        self._arm()

    def retry(self, key: K) -> float:
        """Ask for the key again after a failure, each time in a row later, up to a minute.

        Returns:
            The delay in seconds.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        ceiling = min(BACKOFF_MAX, BACKOFF_BASE * 2.0 ** min(failures, 16))
        # Half of it fixed, so that jitter never turns a long backoff into a hot loop.
        delay = ceiling * (0.5 + self._jitter() / 2)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Forget the key's failures: it succeeded, or no longer exists."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for a key to work on; `done` must be called with it afterwards.

        Raises:
            Closed: The queue has been shut down.
        """
        key = await self._ready.get()
        if key is None:
            # Pass the news on to the next waiting worker.
            self._ready.put_nowait(None)
            raise Closed
        del self._since[key]
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """Give the key back; if it was added meanwhile it queues up again, behind the others."""
        self._processing.remove(key)
        if key in self._since and not self._closed:
            self._ready.put_nowait(key)

    def shut_down(self) -> None:
        """Drop what waits and send every worker home.

        The next process starts from a full list, so finishing the rest would only delay the handover.
        """
        self._closed = True
        self._since.clear()
        self._due.clear()
        self._timers.clear()
        if self._timer is not None:
            self._timer.cancel()
        while not self._ready.empty():
            self._ready.get_nowait()
        self._ready.put_nowait(None)

    def _arm(self) -> None:
        """Set the event loop's timer to the first delay that ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._timers and self._due.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        if self._timers:
            delay = max(0.0, self._timers[0][0] - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        """Add every key whose delay has ended."""
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        self._arm()
