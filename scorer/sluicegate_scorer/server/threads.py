"""Threads that reuse the first idle one.

Models may depend on their thread: a connection to SQLite works in the thread that opened it. Requests that do not
overlap therefore all run in the first thread, in which the smoke test ran. Python's own pool starts another thread if a
request arrives before the thread of the previous response is idle again.
"""

import heapq
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class _Job(NamedTuple):
    work: Callable[[], Any]
    result: "Future[Any]"


class _State:
    """What the threads of a pool share. They do not keep the pool itself."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.jobs: list[SimpleQueue[_Job | None]] = []
        """The next job of each thread. None ends the thread."""
        self.idle: list[int] = []
        """A heap of the numbers of the idle threads."""
        self.waiting: deque[_Job] = deque()


class Threads:
    """A pool of threads, which are started when they are needed, and end with the pool.

    The threads do not keep the process alive.

    Args:
        number: the most threads.
        name: what the names of the threads begin with.
    """

    def __init__(self, number: int, name: str) -> None:
        self._most = number
        self._name = name
        self._state = _State()
        weakref.finalize(self, _end, self._state)

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Run a function in the first idle thread, or once a thread is idle."""
        job = _Job(work, Future())
        state = self._state
        with state.lock:
            if state.idle:
                state.jobs[heapq.heappop(state.idle)].put(job)
            elif (number := len(state.jobs)) < self._most:
                state.jobs.append(SimpleQueue())
                state.jobs[number].put(job)
                name = f"{self._name}_{number}"
                threading.Thread(target=_run, args=(state, number), name=name, daemon=True).start()
            else:
                state.waiting.append(job)
        return job.result


def _end(state: _State) -> None:
    for jobs in state.jobs:
        jobs.put(None)


def _run(state: _State, number: int) -> None:
    jobs = state.jobs[number]
    while (job := jobs.get()) is not None:
        _do(job, state, number)
        del job  # an idle thread keeps no result


def _do(job: _Job, state: _State, number: int) -> None:
    """Do a job. The thread is idle, or has its next job, before the result is set."""
    result = error = None
    try:
        result = job.work()
    except BaseException as raised:
        error = raised
    with state.lock:
        if state.waiting:
            state.jobs[number].put(state.waiting.popleft())
        else:
            heapq.heappush(state.idle, number)
    if error is None:
        job.result.set_result(result)
    else:
        job.result.set_exception(error)
    del job, error  # the exception has this frame, which would keep it
