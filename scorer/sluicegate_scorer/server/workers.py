"""Threads that run the model, with a bound on how many requests wait for them and for how long."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sluicegate_scorer.server.settings import Limits

log = logging.getLogger("sluicegate_scorer.serve")

T = TypeVar("T")


class Refused(Exception):
    """There is no room for another request."""


class Stuck(Refused):
    """There is no room because every thread is held by a request over its time limit."""


class Overdue(Exception):
    """A request took longer than the limit."""


class Workers:
    """A thread pool that refuses rather than queues without end.

    Python cannot stop a thread: a request over its time limit is answered, but keeps its thread. So what still
    runs counts, and where every thread is held by such requests, new ones are refused at once instead of
    waiting for their own time limit.

    Args:
        limits: threads, waiting requests and seconds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="model")
        self.outstanding = 0
        self.overrun = 0

    @property
    def waiting(self) -> int:
        """Requests that wait for a thread."""
        return max(0, self.outstanding - self._limits.workers)

    async def run(self, work: Callable[[], T]) -> T:
        """Runs a blocking function in a thread.

        Raises:
            Stuck: where every thread is held by a request over its time limit.
            Refused: where too many wait already.
            Overdue: where the time limit passed first.
        """
        if self.overrun >= self._limits.workers:
            raise Stuck
        if self.waiting >= self._limits.queue:
            raise Refused
        loop = asyncio.get_running_loop()
        self.outstanding += 1
        job: Future[T] = self._pool.submit(work)
        result: asyncio.Future[T] = loop.create_future()
        timer = loop.call_later(self._limits.seconds, self._expire, job, result)

        def finished(done: Future[T]) -> None:
            loop.call_soon_threadsafe(self._finish, done, result)

        job.add_done_callback(finished)
        try:
            return await result
        finally:
            timer.cancel()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Runs a function whose caller minds limits itself."""
        return self._pool.submit(work)

    def _expire(self, job: Future[T], result: "asyncio.Future[T]") -> None:
        if result.done():
            return
        if not job.cancel():  # it runs, and goes on
            self.overrun += 1
            log.warning("a request is still running after the time limit of %g s", self._limits.seconds)
        result.set_exception(Overdue())

    def _finish(self, job: Future[T], result: "asyncio.Future[T]") -> None:
        self.outstanding -= 1
        if result.done():
            if not job.cancelled() and not result.cancelled() and isinstance(result.exception(), Overdue):
                self.overrun -= 1
            return
        error = job.exception()
        if error is not None:
            # An event loop does not survive the exceptions that are meant to end a process.
            result.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        else:
            result.set_result(job.result())
