"""One resource, server or pod that raises any exception.

It must not end the work for the others, in any loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from sluicegate.adapters.notifications import Receiver, Reply
from sluicegate.adapters.pods.http import PodHttp
from sluicegate.adapters.pods.metrics import PodScraper
from sluicegate.config.settings import build
from sluicegate.core.analysis.measurement_data import Pairs
from sluicegate.core.analysis.run import AnalysisRun
from sluicegate.kube.client import KubeClient
from sluicegate.kube.events import EventRecorder
from sluicegate.runtime.analysis.analyst import Analyst, Sources
from sluicegate.runtime.analysis.prometheus_resolver import PrometheusResolver
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.notifications import Notifier
from sluicegate.runtime.registry.follower import Follower
from sluicegate.runtime.registry.served_tags import ServedTagWriter
from sluicegate.runtime.resources import Resources
from sluicegate.runtime.supervise import contained, keep

from tests.support import virtual_clock
from tests.support.any_exception import EXAMPLES, RAISED
from tests.support.counted_pods import ERRORS, Here, Pod
from tests.support.failing_registry import INTERVAL, SETTINGS, Pool, context_of, raws, resources_of
from tests.unit.core.status.test_notifications import resource_of, status
from tests.unit.runtime.test_notifications import NOW, Secrets


@EXAMPLES
@given(RAISED)
def test_notifications_of_the_other_destination_go_out(error: BaseException) -> None:
    sent: Counter[str] = Counter()

    async def send(receiver: Receiver, content: bytes, delivery: str) -> Reply:
        sent[receiver.url] += 1
        if "bad" in receiver.url:
            raise error
        return Reply(True, False, "")

    async def main() -> None:
        chosen = build([("test", {"notifications": {n: {"url": f"http://{n}"} for n in ("bad", "good")}})])
        notifier = Notifier(cast(Any, Secrets()), chosen, lambda *_: None, send)
        task = asyncio.ensure_future(notifier.run())
        for number in range(3):
            before = msgspec.structs.replace(resource_of(f"r{number}"), status=status(phase="Holding"))
            notifier.watch(before, status(phase="RolledBack", message="Too slow."), NOW)
            await asyncio.sleep(100)
        assert sent == {"http://good": 3, "http://bad": 3}
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual_clock.run(main())


@EXAMPLES
@given(RAISED, st.sampled_from(["pods", "prometheus", "pairs"]))
def test_the_analysis_of_the_other_resource_goes_on(error: BaseException, where: str) -> None:
    """Check that the other resource is analyzed.

    The pods, the queries or the pairs of the resource "bad" raise.
    """

    class Raising:
        async def begin(self) -> None:
            raise error

        async def read(self) -> Pairs | str:
            raise error

    async def main() -> None:
        here = Here(pods={"new-1": Pod("new"), "old-1": Pod("old"), "old-2": Pod("old")})

        async def fetch(url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
            if where == "pods" and ".bad" in url:
                raise error
            return await here._pod(url, headers)

        class Failing:
            async def query(self, endpoint: object, promql: str, seconds: float) -> Any:
                raise error

            number = query

        servers = PrometheusResolver(cast(KubeClient, None), here.settings, cast(Any, Failing()))
        http = PodHttp(fetch)

        def pairs(run: AnalysisRun) -> Any:
            if where == "pairs" and run.key[1] == "bad":
                raise error
            return Raising()

        sources = Sources(here.facts, PodScraper(http), servers, pairs)
        analyst = Analyst(here.resources, sources, lambda _: None, here.analyst._now)
        task = asyncio.ensure_future(analyst.run())
        same = {"name": "same", "type": "Disagreement", "limit": 0.01}
        query = {"name": "q", "type": "Query", "query": "up", "limit": 1}
        here.add("bad", metrics=[ERRORS, same, query])
        here.add("good", metrics=[ERRORS])
        await asyncio.sleep(60)
        reading = analyst.reading(("ns", "good"))
        assert reading is not None and reading.outcome.value == "Passed"
        bad = analyst.reading(("ns", "bad"))
        assert bad is None or bad.outcome.value == "Inconclusive"
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await here.stop()

    virtual_clock.run(main())


def test_a_resource_that_raises_is_left_out_of_every_index(monkeypatch: pytest.MonkeyPatch) -> None:
    from sluicegate.runtime.analysis import analyst
    from sluicegate.runtime.registry import registries as module

    usual = module.registry_of

    def registry_of(model: Any, default: str) -> str:
        if model.registry == "bad":
            raise KeyError(model)
        return usual(model, default)

    def analysis_run(resource: Any) -> None:
        raise KeyError(resource)

    monkeypatch.setattr(module, "registry_of", registry_of)
    monkeypatch.setattr(analyst, "analysis_run", analysis_run)

    async def main() -> None:
        pool, resources = Pool(ValueError()), resources_of("bad", "good")
        context = context_of(resources, pool)
        tasks = [
            asyncio.ensure_future(Follower(context).run(INTERVAL)),
            asyncio.ensure_future(ServedTagWriter(context, SETTINGS).run()),
            asyncio.ensure_future(analyst.Analyst(resources, cast(Any, None), print, lambda: NOW).run()),
        ]
        await asyncio.sleep(300)
        assert pool.calls["view good"] >= 5 and pool.calls["tag good"] >= 3
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    virtual_clock.run(main())


async def test_an_order_to_stop_is_obeyed_at_once() -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(keep("work", work))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(SystemExit), contained("work"):
        raise SystemExit


def test_a_fault_that_repeats_is_logged_once_and_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    def fail(text: str) -> None:
        raise LookupError(text)

    for number in range(5):
        with contained("this test"):
            fail(f"hunter{number}")
    (record,) = [each for each in caplog.records if "this test" in each.getMessage()]
    assert "LookupError" in record.getMessage() and "in fail" in record.getMessage()
    assert "hunter" not in record.getMessage().replace('fail(f"hunter{number}")', "")


def test_a_time_that_cannot_be_read_costs_no_other_resource_its_metrics() -> None:
    resources = Resources(lambda _: None)
    for name, registered in (("bad", "2026-01-01T00:00:00"), ("worse", "soon"), ("good", "2026-01-01T00:00:00Z")):
        for raw in raws("good", name=name):
            raw["status"]["revisions"][0]["registeredAt"] = registered
            resources.streamed(raw, deleted=False)
    metrics = Metrics()
    metrics.watch_resources(resources.items)
    text = generate_latest(metrics.registry).decode()
    assert 'sluicegate_served_version_age_seconds{name="good",namespace="ns"}' in text
    assert 'name="bad"' not in text


async def test_an_event_that_cannot_be_written_stops_no_other() -> None:
    created: list[str] = []
    written = asyncio.Event()

    class Client:
        async def create(self, kind: object, body: dict[str, Any]) -> None:
            created.append(body["involvedObject"]["name"])
            if body["involvedObject"]["name"] == "bad":
                raise RecursionError
            written.set()

    recorder = EventRecorder(cast(KubeClient, Client()), ("c", "i"), asyncio.get_running_loop().time)
    for name in ("bad", "good"):
        recorder.record({"name": name, "namespace": "ns", "uid": name}, "Normal", "R", "m \ud800", "A")
    task = asyncio.create_task(recorder.run())
    await asyncio.wait_for(written.wait(), 10)
    assert created == ["bad", "good"] and recorder.dropped == 1 and not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
