"""The work queue, which decides what resource to reconcile next.

It has the guarantees of client-go's work queue, for one event loop. A key waits at most once, and at most one worker
processes it. A key that is added during its processing is processed again afterwards. No added key is lost until
shutdown.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BACKOFF_BASE = 0.5
"""Seconds before the first retry, before jitter."""
BACKOFF_MAX = 60.0


class Closed(Exception):
    """The queue has been shut down."""


class WorkQueue(Generic[K]):
    """A fair, deduplicating queue with delays that processes each key serially.

    It may be used only in the event loop's thread.
    """

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        """Create an empty queue.

        Args:
            clock: Returns monotonic seconds, at the same rate as the event loop's clock.
            jitter: Returns numbers in [0, 1).
        """
        self._clock = clock
        self._jitter = jitter
        self._ready: asyncio.Queue[K | None] = asyncio.Queue()
        self._since: dict[K, float] = {}
        """Time at which each waiting key was added: keys in `_ready`, and keys to process again."""
        self._processing: set[K] = set()
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        """A heap of due times. An entry that differs from `_due` is obsolete."""
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[K, int] = {}
        self._closed = False

    @property
    def depth(self) -> int:
        """Number of keys that wait for a worker.

        The number includes keys to process again, and excludes delayed keys.
        """
        return len(self._since)

    @property
    def oldest_age(self) -> float:
        """Seconds that the oldest waiting key has waited, or 0 if no key waits."""
        return self._clock() - min(self._since.values()) if self._since else 0.0

    def add(self, key: K) -> None:
        """Enqueue the key for processing as soon as possible.

        A pending delay of the key stays in effect.
        """
        if self._closed or key in self._since:
            return
        self._since[key] = self._clock()
        if key not in self._processing:
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Enqueue the key after a delay.

        Of several delays of one key, the one that ends first takes effect.
        """
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
        """Enqueue the key after a failure, with exponential backoff up to a minute.

        Returns:
            The delay in seconds.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        ceiling = min(BACKOFF_MAX, BACKOFF_BASE * 2.0 ** min(failures, 16))
        # Half of the delay is fixed, so that jitter never turns a long backoff into a hot loop.
        delay = ceiling * (0.5 + self._jitter() / 2)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Reset the backoff of a key that succeeded or no longer exists."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Wait for a key to process. The caller must call `done` with it afterwards.

        Raises:
            Closed: The queue has been shut down.
        """
        key = await self._ready.get()
        if key is None:
            # Pass the shutdown on to the next waiting worker.
            self._ready.put_nowait(None)
            raise Closed
        del self._since[key]
        self._processing.add(key)
        return key

    def done(self, key: K) -> None:
        """Mark the processing of a key as done.

        A key that was added meanwhile is enqueued again, behind the others.
        """
        self._processing.remove(key)
        if key in self._since and not self._closed:
            self._ready.put_nowait(key)

    def shut_down(self) -> None:
        """Drop the waiting keys and stop every worker.

        The next process starts from a full list, so processing the rest would only delay the handover.
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
        """Set the event loop's timer to the end of the first delay."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._timers and self._due.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        if self._timers:
            delay = max(0.0, self._timers[0][0] - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        """Enqueue every key whose delay has ended."""
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            due, _, key = heapq.heappop(self._timers)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
        self._arm()
