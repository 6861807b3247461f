"""How many threads may run the model at once: one a CPU, and more only while the model waits for something.

More threads than CPUs gain nothing for a model that computes: they share the same CPUs (and, in Python, one
interpreter), so that each prediction takes longer and the event loop, with /health on it, waits for all of them. A
model that asks a feature store or another server leaves the CPUs idle meanwhile, and only more threads use them.
Which of the two a model is shows in the processor time that the process wants while requests wait.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

WINDOW = 0.2
"""Seconds of one look."""
_IDLE = 0.7
_BUSY = 0.9
_INTERPRETER = (0.8, 1.15)
"""CPUs that a process uses whose threads all want the interpreter, however many there are."""
_DELAYED = 0.2
"""Part of the wanted time from which on the machine, not the model, is what threads wait for."""
_TASKS = Path("/proc/self/task")


class Used(NamedTuple):
    """Processor seconds of all threads of a process so far."""

    had: float
    delayed: float
    """For so long they were ready to go on, but had no CPU: the node is busy, or the container is at its limit."""

    def since(self, before: "Used") -> "Used":
        """The difference; a thread that has ended takes its time with it, so nothing is below zero."""
        return Used(max(0.0, self.had - before.had), max(0.0, self.delayed - before.delayed))


def used() -> Used:
    """What Linux counts for each thread (Documentation/scheduler/sched-stats, `/proc/PID/schedstat`); elsewhere nothing is delayed."""
    had = delayed = 0
    for each in _TASKS.glob("*/schedstat"):
        try:
            fields = each.read_text().split()
            had, delayed = had + int(fields[0]), delayed + int(fields[1])
        except (OSError, ValueError, IndexError):
            continue
    return Used(had / 1e9, delayed / 1e9) if had else Used(time.process_time(), 0.0)


class Slots:
    """The number, adapted by looking at the processor time while all are taken and requests wait.

    Args:
        cpus: CPUs of this container; the number is never below, so that a model that computes outside of the
            interpreter uses all of them.
        most: threads there are; the number is never above.
        count: what this process has used so far.
    """

    def __init__(self, cpus: int, most: int, count: Callable[[], Used] = used) -> None:
        self._cpus = cpus
        self._least = min(cpus, most)
        self._most = most
        self._count = count
        self._began, self._before = 0.0, Used(0.0, 0.0)
        self.number = self._least

    def begin(self, now: float) -> None:
        """A look begins: from `now`, in seconds, all slots are taken and requests wait."""
        self._began, self._before = now, self._count()

    def adapt(self, now: float) -> None:
        """A look ends at `now`, and the next begins."""
        seconds, had, delayed = now - self._began, *self._count().since(self._before)
        self.begin(now)
        if seconds <= 0:
            return
        busy = (had + delayed) / seconds
        held = _INTERPRETER[0] <= had / seconds <= _INTERPRETER[1] or delayed > (had + delayed) * _DELAYED
        if busy < _IDLE or (busy < self._cpus * _IDLE and not held):
            self.number = min(self._most, self.number * 2)
        elif busy > self._cpus * _BUSY or held:
            self.number = max(self._least, self.number - 1)
