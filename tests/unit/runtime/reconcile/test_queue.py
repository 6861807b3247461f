import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sluicegate.runtime.reconcile.queue import Closed, WorkQueue

from tests.support.virtual_clock import run


def now() -> float:
    return asyncio.get_running_loop().time()


def make() -> WorkQueue[str]:
    return WorkQueue(now, lambda: 1.0)


def test_a_key_waits_once_and_keeps_its_place() -> None:
    async def main() -> None:
        queue = make()
        for key in "abab":
            queue.add(key)
        assert queue.depth == 2
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert queue.depth == 0

    run(main())


def test_a_key_added_while_processed_comes_back_after() -> None:
    async def main() -> None:
        queue = make()
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("a")
        queue.add("b")
        assert queue.depth == 2
        assert await queue.get() == "b"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await queue.get()
        assert queue.oldest_age == pytest.approx(100)
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert queue.depth == 0

    run(main())


def test_the_earliest_delay_wins_and_an_add_cancels_none() -> None:
    async def main() -> None:
        queue, start = make(), now()
        queue.add_after("a", 60)
        queue.add_after("a", 10)
        queue.add_after("a", 30)
        queue.add("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert await queue.get() == "a"
        assert now() - start == pytest.approx(10)
        queue.done("a")
        queue.add_after("b", 100)
        assert await queue.get() == "b"
        assert now() - start == pytest.approx(110)

    run(main())


def test_no_delay_is_an_add() -> None:
    async def main() -> None:
        queue = make()
        queue.add_after("a", 0)
        queue.add_after("b", -1)
        assert queue.depth == 2

    run(main())


def test_retries_back_off_until_forgotten() -> None:
    async def main() -> None:
        queue = make()
        delays = [queue.retry("a") for _ in range(10)]
        assert delays == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
        queue.forget("a")
        assert queue.retry("a") == 0.5
        lazy: WorkQueue[str] = WorkQueue(now, lambda: 0.0)
        assert lazy.retry("a") == 0.25

    run(main())


def test_oldest_age() -> None:
    async def main() -> None:
        queue = make()
        assert queue.oldest_age == 0
        queue.add("a")
        await asyncio.sleep(7)
        queue.add("b")
        assert queue.oldest_age == pytest.approx(7)
        await queue.get()
        assert queue.oldest_age == pytest.approx(0)

    run(main())


def test_shut_down_sends_every_worker_home() -> None:
    async def main() -> None:
        queue = make()
        workers = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.shut_down()
        results = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(result, Closed) for result in results)
        queue.add("a")
        queue.add_after("a", 1)
        assert queue.depth == 0
        with pytest.raises(Closed):
            await queue.get()

    run(main())


def test_shut_down_drops_what_waits() -> None:
    async def main() -> None:
        queue = make()
        queue.add("a")
        queue.add_after("b", 1)
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("c")
        queue.shut_down()
        queue.done("a")
        with pytest.raises(Closed):
            await queue.get()
        await asyncio.sleep(5)

    run(main())


def test_a_cancelled_worker_takes_nothing_along() -> None:
    async def main() -> None:
        queue = make()
        worker = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        assert worker.cancelled()
        assert await queue.get() == "a"

    run(main())


ACTIONS = st.tuples(
    st.sampled_from(["add", "after", "retry", "forget", "wait"]), st.sampled_from("abcd"), st.integers(0, 50)
)


@settings(max_examples=150)
@given(st.lists(ACTIONS, max_size=40), st.integers(1, 4), st.integers(0, 20))
def test_invariants(actions: list[tuple[str, str, int]], workers: int, work: int) -> None:
    """Check the invariants of the queue under random actions.

    No two workers ever have the same key. After every request the key starts again, at most once.
    """

    async def main() -> None:
        queue = make()
        busy: set[str] = set()
        begun: dict[str, list[float]] = {}
        wanted: list[tuple[str, float]] = []

        async def worker() -> None:
            while True:
                key = await queue.get()
                assert key not in busy
                busy.add(key)
                begun.setdefault(key, []).append(now())
                await asyncio.sleep(work)
                busy.remove(key)
                queue.done(key)

        tasks = [asyncio.create_task(worker()) for _ in range(workers)]
        for what, key, seconds in actions:
            if what == "add":
                queue.add(key)
                wanted.append((key, now()))
            elif what == "after":
                queue.add_after(key, seconds)
                wanted.append((key, now()))
            elif what == "retry":
                queue.retry(key)
                wanted.append((key, now()))
            elif what == "forget":
                queue.forget(key)
            else:
                await asyncio.sleep(seconds)
            assert queue.depth <= 4
        await asyncio.sleep(1000)
        assert not busy
        assert queue.depth == 0
        for key, at in wanted:
            assert any(start >= at for start in begun.get(key, [])), (key, at, begun)
        assert all(len(starts) <= sum(key == k for k, _ in wanted) for key, starts in begun.items())
        queue.shut_down()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, Closed) for result in results)

    run(main())
