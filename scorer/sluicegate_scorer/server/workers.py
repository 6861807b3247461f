"""Threads that run the model, with limits on the requests that wait for them.

The limits are their number and their time.
"""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

from sluicegate_scorer.server.settings import Limits
from sluicegate_scorer.server.slots import WINDOW, Slots
from sluicegate_scorer.server.threads import Threads

log = logging.getLogger("sluicegate_scorer.serve")

P = ParamSpec("P")
T = TypeVar("T")


class Overloaded(Exception):
    """The queue has no room for another request."""


class Stuck(Overloaded):
    """Every thread is held by a request over its time limit."""


class TimedOut(Exception):
    """A request took longer than the limit."""


@dataclass(eq=False)
class _Job:
    """Work, and the future of its result."""

    work: Callable[[], Any]
    result: "asyncio.Future[Any]"
    started: bool = False


class Workers:
    """A thread pool with a bounded queue.

    Python cannot stop a thread. A request over its time limit gets a response, but its call keeps the thread. The pool
    therefore counts such calls. If they hold every thread, it refuses new requests at once. Otherwise they would wait
    for their own time limit.

    Everything runs in a copy of the context variables that are current when the pool is made. Make it in the context in
    which the model was loaded: MLflow's server predicts in a copy of that context too, and a model may set variables
    there, such as the precision of `decimal` or numpy's handling of errors.

    Args:
        limits: threads, CPUs, waiting requests and seconds.
        slots: how many of the threads may run the model at once. By default the number depends on whether the model
            waits for other services.
    """

    def __init__(self, limits: Limits, slots: Slots | None = None) -> None:
        self._limits = limits
        self._pool = Threads(limits.workers, "model")
        self._slots = slots or Slots(limits.cpus, limits.workers)
        self._context = contextvars.copy_context()
        self._queue: deque[_Job] = deque()
        self._adapting = False
        self.running = 0
        self.overrun = 0

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a thread."""
        return len(self._queue)

    async def run(self, work: Callable[[], T]) -> T:
        """Run a blocking function in a thread.

        Raises:
            Stuck: if every thread is held by a request over its time limit.
            Overloaded: if too many requests already wait.
            TimedOut: if the time limit passed first.
        """
        job = self.enqueue(work)
        timer = job.result.get_loop().call_later(self._limits.seconds, self.expire, job)
        try:
            result: T = await job.result
            return result
        finally:
            timer.cancel()

    def enqueue(self, work: Callable[[], Any]) -> _Job:
        """Queue a blocking function whose caller enforces the time limit with `expire`.

        Raises:
            Stuck: if every thread is held by a request over its time limit.
            Overloaded: if too many requests already wait.
        """
        if self.overrun >= self._limits.workers:
            raise Stuck
        while self._queue and self._queue[0].result.done():  # these are over their time limit
            self._queue.popleft()
        if len(self._queue) >= self._limits.queue:
            raise Overloaded
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future())
        self._queue.append(job)
        self._start(loop)
        return job

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run a function whose caller enforces the limits."""
        return self._pool.submit(partial(self.in_context, work))

    def in_context(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in this thread, in a copy of the model's context variables."""
        return self._context.copy().run(work, *args, **kwargs)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start work in the free slots.

        Work whose request is over its time limit no longer counts against the number of slots.
        """
        while self._queue and self.running < min(self._slots.number + self.overrun, self._limits.workers):
            job = self._queue.popleft()
            if job.result.done():
                continue
            job.started = True
            self.running += 1
            done = self.submit(job.work)
            done.add_done_callback(lambda done, job=job: loop.call_soon_threadsafe(self._finish, done, job))
        if self._queue and not self._adapting:
            self._adapting = True
            self._slots.begin(loop.time())
            loop.call_later(WINDOW, self._adapt, loop)

    def _adapt(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._queue:
            self._slots.adapt(loop.time())
            self._start(loop)
        self._adapting = bool(self._queue)
        if self._adapting:
            loop.call_later(WINDOW, self._adapt, loop)

    def expire(self, job: _Job) -> None:
        """Give up a request over its time limit. Its call may still run."""
        if job.result.done():
            return
        if job.started:  # the call runs, and continues
            self.overrun += 1
            log.warning("a request still runs after the time limit of %gs", self._limits.seconds)
        job.result.set_exception(TimedOut())

    def _finish(self, done: "Future[Any]", job: _Job) -> None:
        self.running -= 1
        self._deliver(done, job.result)
        self._start(job.result.get_loop())

    def _deliver(self, done: "Future[Any]", result: "asyncio.Future[Any]") -> None:
        if result.done():
            if not result.cancelled() and isinstance(result.exception(), TimedOut):
                self.overrun -= 1
            return
        error = done.exception()
        if error is not None:
            # An event loop does not survive exceptions that are meant to end a process.
            result.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        else:
            result.set_result(done.result())
