"""How many threads may run the model at once: one a CPU, and more only while the model waits for something.

More threads than CPUs gain nothing for a model that computes: they share the same CPUs (and, in Python, one
interpreter), so that each prediction takes longer and the event loop, with /health on it, waits for all of them. A
model that asks a feature store or another server leaves the CPUs idle meanwhile, and only more threads use them.
Which of the two a model is shows in the processor time that the process wants while requests wait.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

WINDOW = 0.2
"""Seconds of one look."""
_IDLE = 0.7
_BUSY = 0.9
_INTERPRETER = (0.8, 1.3)
"""CPUs that a process uses whose threads all want the interpreter, however many there are: one, and what waking up costs."""
_DELAYED = 0.2
"""Part of the wanted time from which on the machine, not the model, is what threads wait for."""
_TASKS = Path("/proc/self/task")


class Used(NamedTuple):
    """Processor seconds."""

    had: float
    delayed: float
    """For so long threads were ready to go on, but had no CPU: the node is busy, or the container is at its limit."""


Counts = Mapping[str, Used]
"""What each thread of a process has used so far."""


def used() -> Counts:
    """What Linux counts for each thread (Documentation/scheduler/sched-stats, `/proc/PID/schedstat`); elsewhere nothing is delayed."""
    found = {}
    for each in _TASKS.glob("*/schedstat"):
        try:
            had, delayed, _ = each.read_text().split()
        except (OSError, ValueError):
            continue  # it has just ended
        found[each.parent.name] = Used(int(had) / 1e9, int(delayed) / 1e9)
    return found or {"": Used(time.process_time(), 0.0)}


def since(before: Counts, now: Counts) -> Used:
    """What was used between two counts by the threads that are there: one that has ended takes its count with it."""
    none = Used(0.0, 0.0)
    pairs = [(count, before.get(thread, none)) for thread, count in now.items()]
    return Used(
        sum(max(0.0, count.had - known.had) for count, known in pairs),
        sum(max(0.0, count.delayed - known.delayed) for count, known in pairs),
    )


class Slots:
    """The number, adapted by looking at the processor time while all are taken and requests wait.

    Args:
        cpus: CPUs of this container; the number is never below, so that a model that computes outside of the
            interpreter uses all of them.
        most: threads there are; the number is never above.
        count: what the threads of this process have used so far.
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
        """A look begins: from `now`, in seconds, all slots are taken and requests wait."""
        self._began, self._before = now, self._count()

    def adapt(self, now: float) -> None:
        """A look ends at `now`, and the next begins."""
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
