"""CPU limits, thread limits and batches, without a model."""

import asyncio
import itertools
import threading
import time

import pytest
from sluicegate_scorer.server import cpus
from sluicegate_scorer.server.settings import Limits
from sluicegate_scorer.server.slots import WINDOW, Slots, Used, since, used
from sluicegate_scorer.server.threads import Threads
from sluicegate_scorer.server.workers import Overloaded, Stuck, TimedOut, Workers


def cgroup(tmp_path, version, text):
    root = tmp_path / "cgroup"
    inner = root / ("pod/inner" if version == 2 else "cpu/pod/inner")
    inner.mkdir(parents=True)
    (tmp_path / "self").write_text("0::/pod/inner\n" if version == 2 else "4:cpu,cpuacct:/x\n3:cpu:/pod/inner\n")
    if version == 2:
        (inner.parent / "cpu.max").write_text(text)
    else:
        quota, period = text.split()
        (inner / "cpu.cfs_quota_us").write_text(quota)
        (inner / "cpu.cfs_period_us").write_text(period)
    return root, tmp_path / "self"


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("text, expected", [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)])
def test_counts_cpus_by_the_cgroup_quota(tmp_path, many, version, text, expected):
    assert cpus.available(*cgroup(tmp_path, version, text)) == expected


def test_counts_cpus_by_the_affinity_without_a_quota(tmp_path, many):
    assert cpus.available(*cgroup(tmp_path, 2, "max 100000")) == 64
    assert cpus.available(tmp_path / "none", tmp_path / "none") == 64


def test_keeps_thread_counts_of_the_user(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.environ", {"OMP_NUM_THREADS": "7"})
    cpus.limit_threads(3)
    import os

    assert (os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"]) == ("7", "3")


async def test_overrun_work_holds_its_thread():
    workers = Workers(Limits(workers=1, seconds=0.05, queue=5))
    free = threading.Event()
    with pytest.raises(TimedOut):
        await workers.run(free.wait)
    assert workers.overrun == 1
    with pytest.raises(Stuck):
        await workers.run(lambda: 1)
    free.set()
    while workers.overrun:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert await workers.run(lambda: 2) == 2
    assert workers.running == workers.waiting == 0


async def test_work_over_its_limit_never_runs():
    workers = Workers(Limits(workers=1, seconds=0.2, queue=5))
    ran = []
    first = asyncio.create_task(workers.run(lambda: time.sleep(0.5)))
    await asyncio.sleep(0.01)
    with pytest.raises(TimedOut):
        await workers.run(lambda: ran.append(1))
    with pytest.raises(TimedOut):
        await first
    while workers.running:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert not ran


async def test_survives_an_exception_that_ends_processes():
    def leave():
        raise SystemExit(3)

    with pytest.raises(RuntimeError, match="SystemExit"):
        await Workers(Limits(workers=1)).run(leave)


async def test_refuses_work_above_the_queue_limit():
    workers = Workers(Limits(workers=1, seconds=20, queue=1))
    free = threading.Event()
    held = [asyncio.create_task(workers.run(free.wait)) for _ in range(2)]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded) as overloaded:
        await workers.run(lambda: 1)
    assert not isinstance(overloaded.value, Stuck)
    free.set()
    assert await asyncio.gather(*held) == [True, True]


@pytest.mark.parametrize(("cpus_used", "most"), [(0.0, 8), (1.0, 2)], ids=["waits", "computes"])
async def test_waiting_model_gets_all_threads_computing_model_the_cpus(cpus_used, most):
    clock = asyncio.get_running_loop().time
    slots = Slots(2, 8, lambda: {"model": Used(cpus_used * clock(), 0.0)})
    workers, seen = Workers(Limits(workers=8, cpus=2), slots), []

    async def one():
        await workers.run(lambda: time.sleep(0.1))
        seen.append(workers.running)

    await asyncio.gather(*(one() for _ in range(60)))
    assert max(seen) == most


def compute():
    """Keep the interpreter busy for 50 ms."""
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass


def test_slots_follow_the_processor_time():
    total = Used(0.0, 0.0)
    slots = Slots(4, 12, lambda: {"1": total})
    looks = itertools.count(1)
    slots.begin(0.0)

    def look(had, delayed=0.0):
        nonlocal total
        total = Used(total.had + had * WINDOW, total.delayed + delayed * WINDOW)
        slots.adapt(next(looks) * WINDOW)
        return slots.number

    assert [look(0.1) for _ in range(3)] == [8, 12, 12], "it waits"
    assert [look(2.0) for _ in range(2)] == [12, 12], "CPUs are idle"
    assert [look(3.2) for _ in range(2)] == [12, 12], "well used"
    assert [look(3.9) for _ in range(3)] == [11, 10, 9], "more than there is room for"
    assert [look(1.0) for _ in range(9)][-2:] == [4, 4], "all of them want the interpreter"
    assert look(0.6, 1.0) == 4, "they want more than the node gives"
    assert look(0.1, 0.3) == 8, "the node is busy, but they hardly want it"
    assert Slots(4, 2).number == 2, "never more than there are threads"


def test_counts_processor_time_while_threads_end():
    held = threading.Event()
    other = threading.Thread(target=lambda: (compute(), held.wait()))
    other.start()
    time.sleep(0.3)
    before = used()
    held.set()
    other.join()
    compute()
    assert 0.04 <= since(before, used()).had < 5
    one, two = Used(1.0, 1.0), Used(3.0, 1.5)
    assert since({"1": one, "2": two}, {"1": two, "3": one}) == Used(3.0, 1.5), "2 has ended, 3 is new"
    assert since({"1": two}, {"1": one}) == Used(0.0, 0.0), "another thread of the same number"


def test_work_that_does_not_overlap_runs_in_the_first_thread():
    threads = Threads(3, "test")
    together = threading.Barrier(3)
    name = lambda: threading.current_thread().name  # noqa: E731
    assert {threads.submit(name).result(5) for _ in range(200)} == {"test_0"}
    jobs = [threads.submit(lambda: (together.wait(5), name())[1]) for _ in range(3)]
    assert {job.result(5) for job in jobs} == {"test_0", "test_1", "test_2"}
    assert {threads.submit(name).result(5) for _ in range(200)} == {"test_0"}


def test_work_waits_for_a_thread_and_keeps_its_exception():
    threads = Threads(1, "test")
    free = threading.Event()
    held = threads.submit(lambda: free.wait(5))
    failing = threads.submit(lambda: [][0])
    last = threads.submit(lambda: 3)
    assert not failing.done()
    free.set()
    assert held.result(5)
    with pytest.raises(IndexError):
        failing.result(5)
    assert last.result(5) == 3


def test_threads_end_with_their_pool():
    threads = Threads(2, "ending")
    assert threads.submit(lambda: 1).result(5) == 1
    thread = next(thread for thread in threading.enumerate() if thread.name == "ending_0")
    del threads
    thread.join(5)
    assert not thread.is_alive()
