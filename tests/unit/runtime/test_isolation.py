"""One registry, server or pod that raises any exception.

It must not end the work for the others, in any loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import idna
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.notifications import Receiver, Reply
from sluicegate.adapters.pods.http import PodHttp
from sluicegate.adapters.pods.metrics import PodScraper
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import Key
from sluicegate.config.settings import build
from sluicegate.core.analysis.evidence import Pairs
from sluicegate.core.analysis.run import Subject
from sluicegate.core.models.following import ModelView
from sluicegate.core.models.reference import RegistryVersion
from sluicegate.core.models.resolution import ResolutionError, ResolutionFailure, ResolvedModel
from sluicegate.kube.client import KubeClient
from sluicegate.kube.events import EventRecorder
from sluicegate.runtime.analysis.analyst import Analyst, Sources
from sluicegate.runtime.analysis.prometheus_resolver import PrometheusResolver
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.notifications import Notifier
from sluicegate.runtime.registry import served_tags
from sluicegate.runtime.registry.context import PollContext
from sluicegate.runtime.registry.follower import Follower
from sluicegate.runtime.registry.resolver import Registries, Resolver
from sluicegate.runtime.registry.served_tags import ServedTagWriter
from sluicegate.runtime.registry.webhook_subscription import WebhookSubscriptions
from sluicegate.runtime.resources import Resources
from sluicegate.runtime.supervise import contained, keep

from tests.support import virtual_clock
from tests.support.counted_pods import ERRORS, Here, Pod
from tests.unit.core.status.test_notifications import resource_of, status
from tests.unit.runtime.test_notifications import NOW, Secrets

INTERVAL = 30.0


class Custom(Exception):
    """An exception that no code handles specifically."""

    def __str__(self) -> str:
        raise RuntimeError("even its text fails")


BUILTINS = [
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    OverflowError,
    RecursionError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    StopAsyncIteration,
    EOFError,
    OSError,
    TimeoutError,
    ConnectionResetError,
    asyncio.CancelledError,
    asyncio.IncompleteReadError,
    idna.IDNAError,
    Custom,
]


def made(kind: type[BaseException]) -> BaseException:
    return kind(b"", 1) if kind is asyncio.IncompleteReadError else kind("secret-1234")


SINGLE = st.sampled_from(BUILTINS).map(made)
RAISED = SINGLE | st.lists(
    st.sampled_from([each for each in BUILTINS if issubclass(each, Exception)]).map(made), min_size=1, max_size=3
).map(lambda errors: ExceptionGroup("several", cast(list[Exception], errors)))
EXAMPLES = settings(max_examples=15, deadline=None)


class Pool:
    """A registry that raises, and another that works."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls: Counter[str] = Counter()
        self.deleted = False

    def _answer(self, endpoint: RegistryEndpoint, what: str) -> None:
        self.calls[f"{what} {'bad' if 'bad' in endpoint.tracking_uri else 'good'}"] += 1
        if "bad" in endpoint.tracking_uri:
            raise self.error

    async def view(self, endpoint: RegistryEndpoint, model: str) -> ModelView:
        self._answer(endpoint, "view")
        return ModelView({"a": "1"})

    async def has(self, endpoint: RegistryEndpoint, ref: RegistryVersion) -> bool:
        self._answer(endpoint, "has")
        return not self.deleted

    async def resolve(self, endpoint: RegistryEndpoint, ref: object) -> ResolvedModel:
        self._answer(endpoint, "resolve")
        return ResolvedModel("models:/m@a", "s3://b/m", "m", "1")

    @asynccontextmanager
    async def lease(self, endpoint: RegistryEndpoint) -> AsyncIterator[Pool.Client]:
        yield Pool.Client(self, endpoint)

    class Client:
        """The client of one of the registries."""

        def __init__(self, pool: Pool, endpoint: RegistryEndpoint) -> None:
            self.pool, self.endpoint = pool, endpoint

        async def tagged(self, key: str) -> dict[tuple[str, str], str]:
            self.pool._answer(self.endpoint, "tagged")
            return {}

        async def tag(self, *about: object) -> None:
            self.pool._answer(self.endpoint, "tag")

        async def ask(self, *about: object, **content: object) -> Any:
            self.pool._answer(self.endpoint, "ask")
            raise AssertionError("it was counted, which is enough")


BOTH = {
    "registries": {
        name: {
            "trackingUri": f"http://{name}",
            "writeBack": True,
            "webhookSecret": "s",
            "registerWebhook": {"url": "http://me/webhooks/x"},
        }
        for name in ("bad", "good")
    }
}
SETTINGS = build([("test", BOTH)])


class Keys:
    """A cluster in which every Secret exists."""

    async def get(self, kind: object, namespace: str, name: str) -> dict[str, Any]:
        return {"data": {"secret": "c2VjcmV0"}}


def raws(
    *registries: str, uri: str = "models:/m@a", model: str = "m", name: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield a resource for each registry, which serves version 1.

    The resource has the name of its registry.
    """
    for registry in registries:
        called = name or registry
        serving = {"name": "n-r", "revision": "r", "role": "Stable", "weight": 100, "replicas": 1, "readyReplicas": 1}
        yield {
            "metadata": {"name": called, "namespace": "ns", "uid": called, "resourceVersion": "1", "generation": 1},
            "spec": {"model": {"uri": uri, "registry": registry}},
            "status": {
                "model": {"uri": uri, "registry": registry, "source": "s3://a", "version": "1"},
                "revisions": [{**serving, "model": f"{model}/1", "version": "1"}],
            },
        }


def resources_of(*registries: str, uri: str = "models:/m@a") -> Resources:
    resources = Resources(lambda _: None)
    for raw in raws(*registries, uri=uri):
        resources.streamed(raw, deleted=False)
    return resources


def registries() -> Registries:
    return Registries(cast(KubeClient, Keys()), SETTINGS)


def context_of(resources: Resources, pool: Pool, wake: Callable[[Key], None] = lambda _: None) -> PollContext:
    return PollContext(resources, registries(), cast(RegistryPool, pool), wake)


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

        def pairs(subject: Subject) -> Any:
            if where == "pairs" and subject.key[1] == "bad":
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
    from sluicegate.runtime.registry import resolver as module

    usual = module.registry_of

    def registry_of(model: Any, default: str) -> str:
        if model.registry == "bad":
            raise KeyError(model)
        return usual(model, default)

    def subject_of(resource: Any) -> None:
        raise KeyError(resource)

    monkeypatch.setattr(module, "registry_of", registry_of)
    monkeypatch.setattr(analyst, "subject_of", subject_of)

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
        async def has(self, endpoint: RegistryEndpoint, ref: RegistryVersion) -> bool:
            if "bad" in endpoint.tracking_uri:
                await asyncio.sleep(10_000)
            return await super().has(endpoint, ref)

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


def test_one_models_refusal_keeps_no_other_tag_or_version_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_tags, "MOST", 3)
    refused = {f"m{number}" for number in range(4)}
    forbidden = ResolutionError(ResolutionFailure(Reason.REGISTRY_FORBIDDEN, "no"))
    tagged: list[str] = []
    looked: list[str] = []

    class Picky(Pool):
        async def has(self, endpoint: RegistryEndpoint, ref: RegistryVersion) -> bool:
            looked.append(ref.name)
            if ref.name in refused:
                raise forbidden
            return True

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
            created.append(body["regarding"]["name"])
            if body["regarding"]["name"] == "bad":
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
