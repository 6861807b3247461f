"""The number of threads that may run the model at once.

It is one a CPU, and more only while the model waits for something. More threads than CPUs do not speed up a model that
computes. They share the same CPUs and, in Python code, one interpreter. Each prediction then takes longer, and the
event loop, which also serves /health, waits for all of them. A model that calls a feature store or another server
leaves the CPUs idle meanwhile, and only more threads use them. The processor time that the process uses while requests
wait shows which of the two a model is.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

WINDOW = 0.2
"""Seconds of one measurement."""
_IDLE = 0.7
_BUSY = 0.9
_INTERPRETER = (0.8, 1.3)
"""CPUs that a process uses if all its threads wait for the interpreter, however many there are: one, plus the cost of
switching threads.
"""
_DELAYED = 0.2
"""If threads waited for a CPU for more than this fraction of the processor time they wanted, the machine is the limit
and not the model.
"""
_TASKS = Path("/proc/self/task")


class Used(NamedTuple):
    """Processor time in seconds."""

    had: float
    delayed: float
    """Seconds for which threads were ready to run but had no CPU. The node is busy, or the container is at its limit.
    """


Counts = Mapping[str, Used]
"""What each thread of a process has used so far."""


def used() -> Counts:
    """Return the processor time that Linux counts for each thread.

    The source is `/proc/PID/schedstat` (Documentation/scheduler/sched-stats). On other systems the result has one entry
    for the process, and `delayed` is 0.
    """
    counts = {}
    for path in _TASKS.glob("*/schedstat"):
        try:
            had, delayed, _ = path.read_text().split()
        except (OSError, ValueError):
            continue  # the thread has just ended
        counts[path.parent.name] = Used(int(had) / 1e9, int(delayed) / 1e9)
    return counts or {"": Used(time.process_time(), 0.0)}


def since(before: Counts, now: Counts) -> Used:
    """Return the time that the running threads used between two counts.

    A thread that has ended is in neither sum, because its count ended with it.
    """
    none = Used(0.0, 0.0)
    pairs = [(count, before.get(thread, none)) for thread, count in now.items()]
    return Used(
        sum(max(0.0, count.had - earlier.had) for count, earlier in pairs),
        sum(max(0.0, count.delayed - earlier.delayed) for count, earlier in pairs),
    )


class Slots:
    """The number of slots, adapted while all of them are taken and requests wait.

    Args:
        cpus: CPUs of this container. The number is never below, so that a model that computes outside the interpreter
            uses all of them.
        most: threads in the pool. The number is never above.
        count: returns what the threads of this process have used so far.
    """

    def __init__(self, cpus: int, most: int, count: Callable[[], Counts] = used) -> None:
        self._cpus = cpus
        self._least = min(cpus, most)
        self._most = most
        self._count = count
        self._began: float = 0.0
        self._before: Counts = {}
        self.number = self._least

    def begin(self, now: float) -> None:
        """Begin a measurement at `now`, in seconds.

        From this time on, all slots are taken and requests wait.
        """
        self._began, self._before = now, self._count()

    def adapt(self, now: float) -> None:
        """End the measurement at `now`, adapt the number, and begin the next measurement."""
        seconds, before = now - self._began, self._before
        self.begin(now)
        had, delayed = since(before, self._before)
        if seconds <= 0:
            return
        busy = (had + delayed) / seconds
        held = _INTERPRETER[0] <= had / seconds <= _INTERPRETER[1] or delayed > (had + delayed) * _DELAYED
        if busy < _IDLE or (busy < self._cpus * _IDLE and not held):
            self.number = min(self._most, self.number * 2)
        elif busy > self._cpus * _BUSY or held:
            self.number = max(self._least, self.number - 1)
