"""Two operators see the same resources: one stands back, and without that neither writes in a loop."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import Key, ModelDeployment
from sluicegate.api.status import ConditionType, ModelDeploymentStatus
from sluicegate.kube import kinds
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.reconcile.reconciler import REPORT_SECONDS, Parts, Reconciler

from tests.support import virtual_clock
from tests.support.fake_cluster import NAME, NAMESPACE, SETTINGS, START, World
from tests.unit.runtime.reconcile.test_apply import served
from tests.unit.runtime.reconcile.test_refusals import Operator


async def test_two_operators_with_other_settings_do_not_write_in_a_loop() -> None:
    """They have the same field manager, and each wakes the other. See also C15."""
    first = await served(World().gateway().rest())
    second = Operator(World().gateway().rest())
    gateway = {"parentRefs": [{"name": "gate"}], "hostnames": ["b.example.com"]}
    second.world.edit(traffic={"gateway": gateway})
    second.server.objects, writes = first.server.objects, 0
    for _ in range(200):
        for operator in (first, second):
            for (kind, _), stored in operator.server.objects.items():
                operator.caches.children[kind].put(stored)
            operator.server._version = 1000 + writes
            await operator.reconcile()
            writes += f"HTTPRoute {NAME}" in operator.server.log
            operator.world.later(0.05)
    assert (kinds.HTTP_ROUTE, NAME) in first.server.objects
    assert writes <= 10


def test_status_names_the_operator_that_acts() -> None:
    assert World().rest().status.operator == "sluicegate-system/sluicegate-operator"
    mine = replace(SETTINGS, operator_namespace="ml", namespace=NAMESPACE)
    assert World(settings=mine).rest().status.operator == f"ml/sluicegate-operator-{NAMESPACE}"


class Standby:
    """A reconciler of a resource that another operator acts on, and what it writes."""

    def __init__(self, resource: ModelDeployment) -> None:
        self.resource = resource
        self.acting: str | None = "first/sluicegate-operator"
        self.applies = 0
        self.statuses: list[ModelDeploymentStatus] = []

    def run(self, seconds: float) -> None:
        async def main() -> None:
            clock = asyncio.get_running_loop().time
            started = clock()
            queue = WorkQueue[Key](clock)

            async def gather(*_: Any) -> Any:
                self.applies += 1
                raise asyncio.CancelledError

            async def write(resource: ModelDeployment, status: ModelDeploymentStatus) -> None:
                self.statuses.append(status)

            parts = Parts(
                resources=cast(Any, SimpleNamespace(get=lambda _: self.resource)),
                gatherer=cast(Any, SimpleNamespace(gather=gather)),
                applier=cast(Any, SimpleNamespace(forget=lambda _: None)),
                status_writer=cast(Any, SimpleNamespace(write=write)),
                metrics=Metrics(),
                other_operator=lambda resource: self.acting if resource.key == (NAMESPACE, NAME) else None,
            )
            now = lambda: START + (clock() - started) * SECOND  # noqa: E731
            worker = asyncio.create_task(Reconciler(parts, queue, now).work())
            queue.add((NAMESPACE, NAME))
            await asyncio.sleep(seconds)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)

        virtual_clock.run(main())


SECOND = (START.replace(second=1) - START.replace(second=0)) / 1


def test_writes_nothing_while_the_other_operator_reports() -> None:
    standby = Standby(World().rest().resource)
    standby.run(10 * REPORT_SECONDS)
    assert (standby.applies, standby.statuses) == (0, [])


def test_status_says_so_if_the_other_operator_does_not_report() -> None:
    world = World().rest()
    world.serve(2)
    standby = Standby(world.resource)
    standby.run(REPORT_SECONDS - 1)
    assert standby.statuses == []
    standby.run(10 * REPORT_SECONDS)
    (status,) = standby.statuses
    ready = next(condition for condition in status.conditions if condition.type == ConditionType.READY)
    assert (ready.status, ready.reason) == ("False", Reason.OTHER_OPERATOR)
    assert "first/sluicegate-operator" in ready.message
    assert replace(status, conditions=()) == replace(world.status, conditions=())
    assert standby.applies == 0
