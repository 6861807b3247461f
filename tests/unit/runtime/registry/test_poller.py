"""The schedule of polls, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

import pytest
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure
from sluicegate.runtime.registry.poller import WORKERS, Followers, Poller, order_after
from sluicegate.runtime.registry.registry_health import RegistryHealth

from tests.support import virtual_clock

INTERVAL = 30.0
DOWN = ResolutionFailure(Reason.REGISTRY_UNREACHABLE, "down", transient=True)


class FakePolls:
    """Polls of a registry whose state the test sets."""

    def __init__(self, health: RegistryHealth, models: int) -> None:
        self.health = health
        self.followed: dict[str, Followers] = {f"m{number}": [] for number in range(models)}
        self.is_down = False
        self.seconds = 0.0
        self.polled: list[tuple[float, str]] = []
        self.running = 0
        self.most = 0

    def models(self) -> Mapping[str, Followers]:
        return self.followed

    def retain(self, models: Mapping[str, Followers]) -> None:
        pass

    async def endpoint(self) -> RegistryEndpoint:
        return cast(RegistryEndpoint, None)

    async def poll(self, endpoint: RegistryEndpoint, model: str, followers: Followers) -> None:
        self.polled.append((asyncio.get_running_loop().time(), model))
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.seconds)
        self.running -= 1
        if self.is_down:
            raise ResolutionError(DOWN)
        self.health.responded(model)

    def failed(self, error: Exception) -> None:
        assert isinstance(error, ResolutionError)
        self.health.registry_failed(error.failure)

    def since(self, start: float) -> list[str]:
        return [model for at, model in self.polled if at >= start]


def run(models: int, test: Callable[[FakePolls, Poller], Awaitable[None]]) -> None:
    async def main() -> None:
        health = RegistryHealth()
        polls = FakePolls(health, models)
        poller = Poller("default", polls, health)
        task = asyncio.ensure_future(poller.run(INTERVAL))
        await test(polls, poller)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual_clock.run(main())


@pytest.mark.parametrize(
    ("last", "expected"),
    [("", ["a", "b", "c"]), ("a", ["b", "c", "a"]), ("c", ["a", "b", "c"]), ("bb", ["c", "a", "b"])],
)
def test_a_sweep_goes_on_after_the_last_model(last: str, expected: list[str]) -> None:
    assert order_after(last, {"c", "a", "b"}) == expected


def test_polls_every_model_once_an_interval() -> None:
    async def test(polls: FakePolls, poller: Poller) -> None:
        await asyncio.sleep(10.5 * INTERVAL)
        for model in polls.followed:
            assert 9 <= [name for _, name in polls.polled].count(model) <= 12

    run(20, test)


def test_never_sends_more_requests_at_once_than_it_has_workers() -> None:
    async def test(polls: FakePolls, poller: Poller) -> None:
        polls.seconds = 2 * INTERVAL
        await asyncio.sleep(20 * INTERVAL)
        assert polls.most == WORKERS

    run(20, test)


def test_probes_a_registry_that_is_down_one_model_at_a_time() -> None:
    async def test(polls: FakePolls, poller: Poller) -> None:
        await asyncio.sleep(2 * INTERVAL)
        polls.is_down = True
        await asyncio.sleep(INTERVAL)
        start = asyncio.get_running_loop().time()
        await asyncio.sleep(10 * INTERVAL)
        probed = polls.since(start)
        assert 8 <= len(probed) <= 12
        assert len(set(probed)) == len(probed), "the next probe asks for another model"

    run(20, test)


def test_catches_up_after_an_outage() -> None:
    async def test(polls: FakePolls, poller: Poller) -> None:
        polls.is_down = True
        await asyncio.sleep(10 * INTERVAL)
        polls.is_down = False
        start = asyncio.get_running_loop().time()
        await asyncio.sleep(2.5 * INTERVAL)
        assert set(polls.since(start)) == set(polls.followed)

    run(20, test)


def test_an_urgent_model_is_polled_at_once_and_calls_are_merged() -> None:
    async def test(polls: FakePolls, poller: Poller) -> None:
        await asyncio.sleep(2.2 * INTERVAL)
        polls.seconds = 0.5
        start = asyncio.get_running_loop().time()
        for _ in range(50):
            poller.poll_soon("m7")
        await asyncio.sleep(0.1)
        for _ in range(50):
            poller.poll_soon("m7")
        await asyncio.sleep(1.2)
        assert 2 <= polls.since(start).count("m7") <= 3, "one, one for the later calls, and perhaps its turn"

    run(20, test)


def test_ends_when_no_resource_follows_a_model() -> None:
    async def main() -> None:
        health = RegistryHealth()
        polls = FakePolls(health, 2)
        task = asyncio.ensure_future(Poller("default", polls, health).run(INTERVAL))
        await asyncio.sleep(INTERVAL)
        polls.followed.clear()
        await asyncio.sleep(2 * INTERVAL)
        assert task.done() and task.exception() is None

    virtual_clock.run(main())
