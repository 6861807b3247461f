import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import pytest
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict, Unreachable
from sluicegate.kube.lease import Elector, LeaseTimings
from sluicegate.kube.wire import Object

Run = Callable[[Any], Any]


class FakeLeases:
    """The Lease endpoint of an API server that can stop, hang, or lose responses."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 1
        self.fault = ""
        self.calls: list[str] = []

    async def _pass(self, verb: str) -> None:
        self.calls.append(verb)
        await asyncio.sleep(0.01)
        if self.fault == "down":
            raise Unreachable("down")
        if self.fault == "hang":
            await asyncio.sleep(1000)

    def _answer(self) -> Object:
        if self.fault == "lost":
            raise Unreachable("lost")
        assert self.lease is not None
        return {"metadata": {"resourceVersion": str(self.version)}, "spec": dict(self.lease)}

    async def get(self, *_: object) -> Object | None:
        await self._pass("get")
        return self._answer() if self.lease is not None else None

    async def create(self, _: object, manifest: Object) -> Object:
        await self._pass("create")
        if self.lease is not None:
            raise Conflict(409, "AlreadyExists", "exists")
        self.lease = dict(manifest["spec"])
        return self._answer()

    async def merge_patch(self, _kind: object, _ns: str, _name: str, patch: Object) -> Object:
        await self._pass("patch")
        if self.lease is None or patch["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict(409, "Conflict", "changed")
        self.version += 1
        self.lease = {**self.lease, **patch["spec"]}
        return self._answer()


def candidate(server: FakeLeases, name: str) -> Elector:
    clock = asyncio.get_running_loop().time
    return Elector(cast(KubeClient, server), ("ns", "lock"), name, clock)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_first_come_then_wait_for_expiry(virtual: Run) -> None:
    async def main() -> None:
        server = FakeLeases()
        a, b = candidate(server, "a"), candidate(server, "b")
        await a.acquire()
        assert a.leading
        waiting = asyncio.create_task(b.acquire())
        holding = asyncio.create_task(a.hold())
        await asyncio.sleep(60)
        assert not waiting.done()
        assert not b.leading
        holding.cancel()
        died = now()
        await waiting
        # This counts from the last renewal that the others saw: a whole lease, and at most two retries.
        assert 12.5 < now() - died < 20
        assert server.lease is not None
        assert server.lease["leaseTransitions"] == 1
        assert not a.leading

    virtual(main())


def test_one_request_a_renewal(virtual: Run) -> None:
    async def main() -> None:
        server = FakeLeases()
        a = candidate(server, "a")
        await a.acquire()
        server.calls.clear()
        holding = asyncio.create_task(a.hold())
        await asyncio.sleep(20)
        holding.cancel()
        assert set(server.calls) == {"patch"}
        assert 8 <= len(server.calls) <= 11

    virtual(main())


def test_release_hands_over_at_once(virtual: Run) -> None:
    async def main() -> None:
        server = FakeLeases()
        a, b = candidate(server, "a"), candidate(server, "b")
        await a.acquire()
        waiting = asyncio.create_task(b.acquire())
        await asyncio.sleep(5)
        await a.release()
        released = now()
        assert not a.leading
        await waiting
        assert now() - released < 3
        assert server.lease is not None
        assert server.lease["leaseDurationSeconds"] == 15
        await a.release()
        assert server.lease["holderIdentity"] == "b"

    virtual(main())


@pytest.mark.parametrize("fault", ["down", "hang", "lost"])
def test_a_short_outage_costs_no_leadership(virtual: Run, fault: str) -> None:
    async def main() -> None:
        server = FakeLeases()
        a, b = candidate(server, "a"), candidate(server, "b")
        await a.acquire()
        holding, waiting = asyncio.create_task(a.hold()), asyncio.create_task(b.acquire())
        for _ in range(5):
            await asyncio.sleep(20)
            server.fault = fault
            await asyncio.sleep(6 if fault == "hang" else 9.4)
            server.fault = ""
        await asyncio.sleep(20)
        assert a.leading
        assert not holding.done()
        assert not waiting.done()
        for task in (holding, waiting):
            task.cancel()

    virtual(main())


@pytest.mark.parametrize("fault", ["down", "hang"])
def test_a_long_outage_ends_it_at_the_deadline(virtual: Run, fault: str) -> None:
    async def main() -> None:
        server = FakeLeases()
        a = candidate(server, "a")
        await a.acquire()
        holding = asyncio.create_task(a.hold())
        await asyncio.sleep(9)
        server.fault = fault
        broken = now()
        await holding
        assert 10 < now() - broken <= 12.1
        assert not a.leading
        server.fault = ""
        await a.acquire()
        assert a.leading

    virtual(main())


def test_a_stolen_lease_is_noticed(virtual: Run) -> None:
    async def main() -> None:
        server = FakeLeases()
        a = candidate(server, "a")
        await a.acquire()
        holding = asyncio.create_task(a.hold())
        await asyncio.sleep(5)
        assert server.lease is not None
        server.lease["holderIdentity"] = "thief"
        server.version += 1
        stolen = now()
        await holding
        assert now() - stolen < 5
        assert a.holder == "thief"

    virtual(main())


def test_never_two_leaders(virtual: Run) -> None:
    """Check that there are never two leaders at the same time.

    The outages are random, and every elector tries to become leader.
    """

    async def live(elector: Elector) -> None:
        while True:
            await elector.acquire()
            await elector.hold()

    async def main() -> None:
        servers = FakeLeases()
        electors = [candidate(servers, name) for name in "abc"]
        tasks = [asyncio.create_task(live(elector)) for elector in electors]
        led = set()
        for step in range(3000):
            servers.fault = ["", "", "", "down", "lost", "hang"][step // 37 % 6]
            await asyncio.sleep(0.5)
            leading = [index for index, elector in enumerate(electors) if elector.leading]
            assert len(leading) <= 1
            led |= set(leading)
        assert led
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    virtual(main())


def test_bad_timings() -> None:
    with pytest.raises(ValueError, match="retry"):
        LeaseTimings(lease=10, renew=10)
