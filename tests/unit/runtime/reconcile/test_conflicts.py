"""Conflicts of writes: the first one is retried soon, and one that lasts is retried ever more rarely."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from sluicegate.api.resource import Key
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.reconcile.apply import Applied
from sluicegate.runtime.reconcile.gather import Gathered
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.reconcile.reconciler import Parts, Reconciler

from tests.support import virtual_clock
from tests.support.fake_cluster import NAME, NAMESPACE, START, World


def times_of_writes(conflicts: int, seconds: float) -> list[float]:
    """Return when a resource is written if its first writes conflict, in seconds since the first one."""

    async def main() -> list[float]:
        clock = asyncio.get_running_loop().time
        world, times = World(), list[float]()

        async def gather(*_: Any) -> Gathered:
            return Gathered(world.snapshot(), {})

        async def apply(*_: Any) -> Applied:
            times.append(clock())
            return Applied(conflicts=len(times) <= conflicts)

        async def write(*_: Any) -> None:
            pass

        parts = Parts(
            resources=cast(Any, SimpleNamespace(get=lambda _: world.resource)),
            gatherer=cast(Any, SimpleNamespace(gather=gather)),
            applier=cast(Any, SimpleNamespace(apply=apply)),
            status_writer=cast(Any, SimpleNamespace(write=write)),
            metrics=Metrics(),
        )
        queue = WorkQueue[Key](clock)
        worker = asyncio.create_task(Reconciler(parts, queue, lambda: START).work())
        queue.add((NAMESPACE, NAME))
        await asyncio.sleep(seconds)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        return [time - times[0] for time in times]

    return virtual_clock.run(main())


def test_single_conflict_is_retried_within_a_second() -> None:
    assert times_of_writes(1, 1)[1] <= 0.5


def test_lasting_conflict_is_retried_with_backoff() -> None:
    """It lasts until the next list if etcd was restored from a snapshot."""
    times = times_of_writes(10_000, 600)
    assert len(times) < 30
    assert times[-1] - times[-2] >= 30
