"""One registry that raises any exception, is slow or refuses a request.

It must not end the work for the other registries, in any loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from hypothesis import given
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.api.reasons import Reason
from sluicegate.core.models.following import ModelView, Registration
from sluicegate.core.models.reference import RegistryVersion
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure
from sluicegate.runtime.registry import served_tags
from sluicegate.runtime.registry.follower import Follower
from sluicegate.runtime.registry.resolver import Resolver
from sluicegate.runtime.registry.served_tags import ServedTagWriter
from sluicegate.runtime.registry.webhook_subscription import WebhookSubscriptions
from sluicegate.runtime.resources import Resources

from tests.support import virtual_clock
from tests.support.any_exception import EXAMPLES, RAISED
from tests.support.failing_registry import INTERVAL, SETTINGS, Pool, context_of, raws, registries, resources_of


@EXAMPLES
@given(RAISED)
def test_the_follower_goes_on(error: BaseException) -> None:
    async def main() -> None:
        pool = Pool(error)
        woken: Counter[str] = Counter()
        known = registries()
        follower = Follower(context_of(resources_of("bad", "good"), pool, lambda key: woken.update([key[1]])))
        task = asyncio.ensure_future(follower.run(INTERVAL))
        await asyncio.sleep(3 * INTERVAL)
        before = pool.calls.copy()
        for _ in range(3):  # The follower sends each of these requests at once, in a task of its own.
            assert follower.poll_soon(known.configured("bad"), "m")
            assert follower.poll_soon(known.configured("good"), "m")
            await asyncio.sleep(3)
        assert pool.calls["view good"] - before["view good"] >= 3
        assert pool.calls["view bad"] - before["view bad"] >= 3
        await asyncio.sleep(20 * INTERVAL)
        assert pool.calls["view good"] >= 20
        assert not task.done()
        failure = follower.last_result(known.configured("bad"), "m")
        assert failure is not None and not isinstance(failure, ModelView)
        assert failure.reason is Reason.INTERNAL_ERROR
        assert "secret-1234" not in failure.message and type(error).__name__ in failure.message
        assert woken["bad"] >= 1 and woken["good"] == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual_clock.run(main())


@EXAMPLES
@given(RAISED)
def test_the_watch_of_fixed_versions_goes_on(error: BaseException) -> None:
    async def main() -> None:
        pool = Pool(error)
        woken: Counter[str] = Counter()
        resources = resources_of("bad", "good", uri="models:/m/1")
        follower = Follower(context_of(resources, pool, lambda key: woken.update([key[1]])))
        task = asyncio.ensure_future(follower.run(INTERVAL))
        await asyncio.sleep(25 * INTERVAL)
        assert pool.calls["has good"] >= 2 and pool.calls["has bad"] >= 2
        pool.deleted = True
        await asyncio.sleep(25 * INTERVAL)
        assert woken == {"good": 1}
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual_clock.run(main())


@EXAMPLES
@given(RAISED)
def test_write_back_and_subscriptions_go_on(error: BaseException) -> None:
    async def main() -> None:
        pool = Pool(error)
        reported: list[tuple[str, bool]] = []
        context = context_of(resources_of("bad", "good"), pool)
        write_back = ServedTagWriter(context, SETTINGS)
        registration = WebhookSubscriptions(context, SETTINGS, lambda *told: reported.append(told))
        tasks = [asyncio.ensure_future(write_back.run()), asyncio.ensure_future(registration.run())]
        await asyncio.sleep(600)
        assert pool.calls["tag good"] >= 8 and pool.calls["tagged bad"] >= 8
        assert pool.calls["ask good"] >= 8 and pool.calls["ask bad"] >= 8
        assert Counter(reported)["bad", False] >= 8
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual_clock.run(main())


@EXAMPLES
@given(RAISED)
def test_resolution_fails_with_a_reason(error: BaseException) -> None:
    async def main() -> None:
        pool, known = Pool(error), registries()
        resources = resources_of("bad", "good", uri="models:/other@a")
        resolver = Resolver(known, SETTINGS, cast(RegistryPool, pool), Follower(context_of(resources, pool)))
        for resource in resources_of("bad", "good", uri="models:/other/1").items():
            raw = {
                "metadata": {"name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "1"},
                "spec": {"model": {"uri": resource.spec.model.uri, "registry": resource.spec.model.registry}},
            }
            fresh = Resources(lambda _: None)
            fresh.streamed(raw, deleted=False)
            (new,) = fresh.items()
            if resource.spec.model.registry == "good":
                assert (await resolver.resolve(new)).model.version == "1"
                continue
            with pytest.raises(ResolutionError) as caught:
                await resolver.resolve(new)
            assert caught.value.failure.reason is Reason.INTERNAL_ERROR
            assert "secret-1234" not in str(caught.value)

    virtual_clock.run(main())


@pytest.mark.parametrize("unexpected", [False, True])
def test_the_follower_stops_when_it_is_told_to_whatever_fails_meanwhile(unexpected: bool) -> None:
    """Check that cancellation ends the follower.

    A TaskGroup whose child fails in the same turn forgets that it was cancelled itself.
    """
    expected = ResolutionError(ResolutionFailure(Reason.REGISTRY_UNREACHABLE, "down", transient=True))

    async def main(turns: int) -> None:
        pool = Pool(KeyError() if unexpected else expected)
        resources = resources_of("bad", "good")
        for number in range(3):
            for raw in raws("bad", uri=f"models:/m{number}@a", name=f"r{number}"):
                resources.streamed(raw, deleted=False)
        task = asyncio.ensure_future(Follower(context_of(resources, pool)).run(INTERVAL))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=600)
        assert done, f"cancelled after {turns} turns, and not obeyed"

    for turns in range(25):
        virtual_clock.run(main(turns))


def test_a_slow_registry_delays_no_other() -> None:
    class Slow(Pool):
        async def registration(self, endpoint: RegistryEndpoint, ref: RegistryVersion) -> Registration | None:
            if "bad" in endpoint.tracking_uri:
                await asyncio.sleep(10_000)
            return await super().registration(endpoint, ref)

        @asynccontextmanager
        async def lease(self, endpoint: RegistryEndpoint) -> AsyncIterator[Pool.Client]:
            if "bad" in endpoint.tracking_uri:
                await asyncio.sleep(10_000)
            yield Pool.Client(self, endpoint)

    async def main() -> None:
        pool = Slow(ValueError())
        resources = resources_of("bad", "good", uri="models:/m/1")
        context = context_of(resources, pool)
        tasks = [
            asyncio.ensure_future(Follower(context).run(INTERVAL)),
            asyncio.ensure_future(ServedTagWriter(context, SETTINGS).run()),
            asyncio.ensure_future(WebhookSubscriptions(context, SETTINGS, lambda *_: None).run()),
        ]
        await asyncio.sleep(30 * INTERVAL)
        assert pool.calls["has good"] >= 2 and pool.calls["tag good"] >= 10 and pool.calls["ask good"] >= 10
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual_clock.run(main())


def test_one_models_refusal_keeps_no_other_tag_or_version_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_tags, "MOST", 3)
    refused = {f"m{number}" for number in range(4)}
    forbidden = ResolutionError(ResolutionFailure(Reason.REGISTRY_FORBIDDEN, "no"))
    tagged: list[str] = []
    looked: list[str] = []

    class Picky(Pool):
        async def registration(self, endpoint: RegistryEndpoint, ref: RegistryVersion) -> Registration | None:
            looked.append(ref.name)
            if ref.name in refused:
                raise forbidden
            return Registration()

        @asynccontextmanager
        async def lease(self, endpoint: RegistryEndpoint) -> AsyncIterator[Any]:
            class Client(Pool.Client):
                async def tag(self, *about: object) -> None:
                    if about[0] in refused:
                        raise forbidden
                    tagged.append(str(about[0]))

                async def tagged(self, key: str) -> dict[tuple[str, str], str]:
                    return {(each, "1"): f"ns/r{each[1:]}" for each in tagged}

            yield Client(self, endpoint)

    async def main() -> None:
        pool, resources = Picky(ValueError()), Resources(lambda _: None)
        for number in range(8):
            for raw in raws("good", uri=f"models:/m{number}/1", model=f"m{number}", name=f"r{number}"):
                resources.streamed(raw, deleted=False)
        context = context_of(resources, pool)
        tasks = [
            asyncio.ensure_future(Follower(context).run(INTERVAL)),
            asyncio.ensure_future(ServedTagWriter(context, SETTINGS).run()),
        ]
        await asyncio.sleep(15 * INTERVAL)
        assert set(looked) == {f"m{number}" for number in range(8)}
        assert set(tagged) == set(looked) - refused
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual_clock.run(main())
