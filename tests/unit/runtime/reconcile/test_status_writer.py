"""When and how the status of a resource is written."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import msgspec
import pytest
from sluicegate.api.resource import Key, ModelDeployment, decode
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict, NotFound, ServerError, Undecodable
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.reconcile.status_writer import STATUS_INTERVAL, StatusWriter
from sluicegate.runtime.resources import Resources

from tests.support import virtual_clock

KEY = ("ns", "demo")
RAW: dict[str, Any] = {
    "metadata": {"name": "demo", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1},
    "spec": {"model": {"uri": "s3://b/m"}},
}


class FakeServer:
    """Stores status writes, or fails."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []
        self.error: Exception | None = None

    async def apply(self, kind: object, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        assert options == {"manager": "sluicegate-status", "subresource": "status"}
        self.written.append(manifest["status"])
        version = str(1 + len(self.written))
        metadata = {**RAW["metadata"], "resourceVersion": version}
        return {**RAW, "metadata": metadata, "status": manifest["status"]}


class Setup:
    """A writer with a fake server, a real queue and a real store."""

    def __init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.server = FakeServer()
        self.queue: WorkQueue[Key] = WorkQueue(clock)
        self.resources = Resources(lambda _: None)
        self.resources.streamed(dict(RAW), deleted=False)
        self.seen: list[tuple[ModelDeploymentStatus, ModelDeploymentStatus]] = []
        self.writer = StatusWriter(
            cast(KubeClient, self.server),
            self.resources,
            self.queue,
            [lambda resource, after: self.seen.append((resource.status, after))],
            clock,
        )

    @property
    def resource(self) -> ModelDeployment:
        return self.resources.get(KEY) or decode(RAW)

    async def write(self, **fields: Any) -> None:
        await self.writer.write(self.resource, msgspec.structs.replace(self.resource.status, **fields))

    async def seconds_until_enqueued(self) -> float:
        clock = asyncio.get_running_loop().time
        started = clock()
        assert await self.queue.get() == KEY
        self.queue.done(KEY)
        return clock() - started


def run(test: Callable[[Setup], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        await test(Setup())

    virtual_clock.run(main())


def test_writes_nothing_that_is_written() -> None:
    async def test(setup: Setup) -> None:
        await setup.writer.write(setup.resource, setup.resource.status)
        assert setup.server.written == [] and setup.seen == []

    run(test)


def test_a_write_reaches_the_store_and_the_observers() -> None:
    async def test(setup: Setup) -> None:
        before = setup.resource.status
        await setup.write(observed_generation=1)
        assert setup.resource.status.observed_generation == 1
        assert setup.seen == [(before, setup.resource.status)]

    run(test)


def test_a_second_write_waits_and_is_enqueued() -> None:
    async def test(setup: Setup) -> None:
        await setup.write(observed_generation=1)
        await setup.write(observed_generation=2)
        assert len(setup.server.written) == 1
        assert await setup.seconds_until_enqueued() == pytest.approx(STATUS_INTERVAL)
        await setup.write(observed_generation=3)
        assert len(setup.server.written) == 2 and setup.resource.status.observed_generation == 3

    run(test)


def test_counts_wait_for_the_rest_of_their_burst() -> None:
    async def test(setup: Setup) -> None:
        await setup.write(replicas=1)
        await asyncio.sleep(0.4)
        await setup.write(replicas=2)
        assert setup.server.written == []
        assert await setup.seconds_until_enqueued() == pytest.approx(STATUS_INTERVAL - 0.4)
        await setup.write(replicas=3)
        assert [status["replicas"] for status in setup.server.written] == [3]

    run(test)


def test_a_deleted_resource_is_forgotten() -> None:
    async def test(setup: Setup) -> None:
        await setup.write(observed_generation=1)
        setup.writer.forget(KEY)
        await setup.write(observed_generation=2)
        assert len(setup.server.written) == 2

    run(test)


@pytest.mark.parametrize("error", [NotFound(404, "NotFound", "gone"), Conflict(409, "Conflict", "recreated")])
def test_a_deleted_resource_is_not_observed(error: Exception) -> None:
    async def test(setup: Setup) -> None:
        setup.server.error = error
        await setup.write(observed_generation=1)
        assert setup.seen == []

    run(test)


def test_an_undecodable_response_skips_the_resource() -> None:
    async def test(setup: Setup) -> None:
        setup.server.error = Undecodable("ModelDeployment", "it is too large", KEY, "u", 2)
        await setup.write(observed_generation=1)
        assert setup.seen == [] and setup.resources.get(KEY) is None and len(setup.resources.skipped) == 1

    run(test)


def test_a_failed_write_is_raised_and_does_not_delay_the_next() -> None:
    async def test(setup: Setup) -> None:
        setup.server.error = ServerError(500, "InternalError", "no")
        with pytest.raises(ServerError):
            await setup.write(observed_generation=1)
        setup.server.error = None
        await setup.write(observed_generation=1)
        assert len(setup.server.written) == 1

    run(test)
