"""Micro-batches: one prediction for requests that arrive while the model is busy.

No request waits for a batch to fill. On the event loop, a batch holds the requests that the loop has read in the same
turn. If the model is slow enough to run in a thread, a batch holds the requests that arrived while all threads were
busy. A single request therefore has no added latency, and under load the requests share the fixed cost of a prediction.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

from sluicegate_scorer.server import large, trace
from sluicegate_scorer.server.asgi import Header
from sluicegate_scorer.server.fast.frame_path import FramePath
from sluicegate_scorer.server.fast.path import FastPath
from sluicegate_scorer.server.fast.shape import Rows
from sluicegate_scorer.server.metrics import Metrics
from sluicegate_scorer.server.settings import Limits
from sluicegate_scorer.server.workers import Overloaded, TimedOut, Workers

log = logging.getLogger("sluicegate_scorer.serve")

ON_LOOP = 0.002
"""Seconds that a batch may take on the event loop. Every other request, including those for /health, may have to wait
this long.
"""
BACK_ON_LOOP = 0.001
_WEIGHT = 0.1


class Waiting(NamedTuple):
    """A request, and the future that receives the body of its response, or None if the fast path failed on it."""

    rows: Rows
    body: "asyncio.Future[bytes | None]"
    headers: tuple[Header, ...] = ()
    """The headers that the response repeats, which have the request's trace."""


class Batcher:
    """The fast path in batches.

    It runs on the event loop while it is quick, and in threads otherwise.

    Args:
        path: the verified fast path.
        workers: the threads.
        limits: time and queue limits.
        metrics: the counters that record each batch.
    """

    def __init__(self, path: FastPath | FramePath, workers: Workers, limits: Limits, metrics: Metrics) -> None:
        self.path = path
        self.on_loop = path.seconds < ON_LOOP and not path.threads
        self.otherwise: Batcher | None = None
        """Takes requests that this path cannot read."""
        self.on_prediction: Callable[[Rows, bytes], None] | None = None
        self._workers = workers
        self._limits = limits
        self._metrics = metrics
        self._waiting: deque[Waiting] = deque()
        self._scheduled = False
        self._running = 0
        self._parallel = max(1, min(limits.workers, limits.cpus))
        self._batch_seconds = path.seconds
        self._may_return = self.on_loop
        self._rows_on_loop = max(path.batch, 64)

    @property
    def depth(self) -> int:
        """Number of requests that wait."""
        return len(self._waiting) + (self.otherwise.depth if self.otherwise is not None else 0)

    def choose(self, body: bytes) -> "tuple[Batcher, Rows | None]":
        """Return the batcher that takes a request, and the result of its `decode`."""
        rows = self.decode(body)
        if rows is None and self.otherwise is not None:
            return self.otherwise.choose(body)
        return self, rows

    def decode(self, body: bytes) -> Rows | None:
        """Return the rows of a request body, or None if MLflow's own code has to respond."""
        rows = None
        if len(body) > large.LARGE:
            if not isinstance(self.path, FastPath):
                return None  # `General` makes a DataFrame in pieces
            rows = large.matrix(self.path.parse, self.path.matrix, body)
        if rows is None:
            rows = self.path.parse(body)
        return rows if rows is not None and (len(rows) == 1 or self.path.several) else None

    async def respond(self, rows: Rows, headers: tuple[Header, ...] = ()) -> bytes | None:
        """Return the body of the response.

        The result is None if the fast path failed on this request, and MLflow's own code has to respond.

        Args:
            rows: the result of `decode`.
            headers: the request's trace headers.

        Raises:
            Overloaded: if too many requests wait.
            TimedOut: if the time limit passed.
        """
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= self._limits.queue:
            while self._waiting and self._waiting[0].body.done():  # these are over their time limit
                self._waiting.popleft()
            if len(self._waiting) >= self._limits.queue:
                raise Overloaded
        request = Waiting(rows, loop.create_future(), headers)
        self._waiting.append(request)
        if self.on_loop and len(rows) <= self._rows_on_loop:
            if not self._scheduled:
                self._scheduled = True
                # Two turns: in the first one the loop reads the sockets that are readable now.
                loop.call_soon(loop.call_soon, self._flush)
            return await request.body
        self._start()
        timer = loop.call_later(self._limits.seconds, self._expire, request)
        try:
            return await request.body
        finally:
            timer.cancel()

    def _flush(self) -> None:
        self._scheduled = False
        if not self._waiting:
            return
        if not self.on_loop or any(len(request.rows) > self._rows_on_loop for request in self._waiting):
            self._start()
            return
        batch = self._take()
        began = time.perf_counter()
        self._deliver(batch, self._workers.in_context(self._predict, batch))
        took = time.perf_counter() - began
        self._adapt(took)
        if self._waiting and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _take(self) -> list[Waiting]:
        """Take the next batch from the queue.

        Requests of one row are taken together. A request of several rows is a batch of its own.
        """
        batch = [self._waiting.popleft()]
        if len(batch[0].rows) != 1:
            return batch
        while len(batch) < self.path.batch and self._waiting and len(self._waiting[0].rows) == 1:
            batch.append(self._waiting.popleft())
        return batch

    def _start(self) -> None:
        """Submit batches to the threads that are free."""
        loop = asyncio.get_running_loop()
        while self._waiting and self._running < self._parallel:
            batch = [request for request in self._take() if not request.body.done()]
            if not batch:
                continue
            self._running += 1
            job = self._workers.submit(partial(self._timed, batch))
            job.add_done_callback(partial(self._done, loop, batch))

    def _done(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[Waiting],
        job: "Future[tuple[list[bytes | None], float]]",
    ) -> None:
        loop.call_soon_threadsafe(self._finish, batch, job)

    def _timed(self, batch: list[Waiting]) -> tuple[list[bytes | None], float]:
        began = time.perf_counter()
        return self._predict(batch), time.perf_counter() - began

    def _finish(self, batch: list[Waiting], job: "Future[tuple[list[bytes | None], float]]") -> None:
        self._running -= 1
        bodies: list[bytes | None] = [None] * len(batch)
        if job.exception() is None:
            bodies, took = job.result()
            self._adapt(took)
        self._deliver(batch, bodies)
        self._start()

    def _predict(self, batch: list[Waiting]) -> list[bytes | None]:
        """Return the response body of each request, or None if the fast path fails on it.

        If a batch fails, its halves are predicted, so that one request does not cost the others their batch.
        """
        if len(batch) == 1:
            return [self._one(batch[0])]
        rows = [request.rows[0] for request in batch]
        try:
            bodies = self.path.singles(rows)
            if len(bodies) == len(batch):
                self._metrics.batch(len(batch))
                return list(bodies)
        except Exception:
            log.debug("a batch failed, so its halves are predicted", exc_info=True)
        middle = len(batch) // 2
        return self._predict(batch[:middle]) + self._predict(batch[middle:])

    def _one(self, request: Waiting) -> bytes | None:
        self._metrics.batch(len(request.rows))
        try:
            if not self.path.threads:
                return self.path.request(request.rows)
            with trace.current(request.headers):  # the author's code may call other services
                return self.path.request(request.rows)
        except Exception:
            return None

    def _adapt(self, took: float) -> None:
        """Move the work off the event loop when it becomes slow, and back."""
        self._batch_seconds += _WEIGHT * (took - self._batch_seconds)
        if self.on_loop and (self._batch_seconds > ON_LOOP or took > 10 * ON_LOOP):
            self.on_loop = False
            log.info("a prediction took %.1f ms: predictions now run in threads", took * 1000)
            self._batch_seconds = max(self._batch_seconds, ON_LOOP)
        elif not self.on_loop and self._batch_seconds < BACK_ON_LOOP and self._may_return:
            self.on_loop = True

    def _expire(self, request: Waiting) -> None:
        if not request.body.done():
            request.body.set_exception(TimedOut())

    def _deliver(self, batch: list[Waiting], bodies: list[bytes | None]) -> None:
        for request, body in zip(batch, bodies, strict=True):
            if request.body.done():
                continue
            request.body.set_result(body)
            if body is not None and self.on_prediction is not None:
                self.on_prediction(request.rows, body)
