import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from sluicegate.kube.client import KubeClient
from sluicegate.kube.informer import Informer, InformerOptions, InformerTimings, without_managed_fields
from sluicegate.kube.kinds import CONFIG_MAP, HTTP_ROUTE
from sluicegate.kube.store import Key
from sluicegate.kube.wire import Object

from tests.unit.kube.conftest import FakeServer, Handler

QUICK = InformerTimings(watch=20.0, relist=60.0, retry_missing=0.05, backoff_base=0.02, backoff_max=0.05)


def thing(name: str, version: int, **rest: Any) -> Object:
    metadata = {"namespace": "n", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": {**metadata, "managedFields": ["long"]}, **rest}


def listing(version: int, *items: Object) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response({"metadata": {"resourceVersion": str(version)}, "items": items})

    return handle


def watching(*events: tuple[str, Object] | bytes, linger: float = 30.0) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            line = event
            if isinstance(event, tuple):
                line = json.dumps({"type": event[0], "object": event[1]}).encode() + b"\n"
            await response.write(line)  # type: ignore[arg-type]
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(linger)
        return response

    return handle


def refusing(status: int) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response({"code": status, "message": "no"}, status=status)

    return handle


def make(client: KubeClient, kind: Any = CONFIG_MAP, timings: InformerTimings = QUICK) -> Informer[Object]:
    def owner_of(value: Object) -> Key | None:
        return value["metadata"]["namespace"], value.get("owner", "none")

    options = InformerOptions(without_managed_fields, owner_of, time.monotonic, selector="a=b", timings=timings)
    return Informer(client, kind, options)


@asynccontextmanager
async def running(informer: Informer[Object]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        yield
    finally:
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_list_then_watch(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [listing(10, thing("a", 3))]
    bookmark = ("BOOKMARK", {"metadata": {"resourceVersion": "30"}})
    gone = ("DELETED", thing("a", 21))
    fake.watches = [watching(("ADDED", thing("b", 20)), gone, bookmark, linger=0), watching()]
    informer = make(client)
    async with running(informer):
        await informer.synced.wait()
        await until(lambda: len(fake.queries(True)) == 2)
        assert [key for key, _ in informer.items()] == [("n", "b")]
        assert "managedFields" not in (informer.get("n", "b") or {})["metadata"]
    assert fake.queries(False) == [{"limit": "500", "labelSelector": "a=b", "resourceVersion": "0"}]
    assert [query["resourceVersion"] for query in fake.queries(True)] == ["10", "30"]
    assert fake.queries(True)[0]["allowWatchBookmarks"] == "true"


async def test_410_relists_and_finds_the_deletions(fake: FakeServer, client: KubeClient) -> None:
    for expired in (
        refusing(410),
        watching(("ERROR", {"code": 410, "reason": "Expired", "message": "too old"}), linger=0),
    ):
        fake.requests.clear()
        fake.lists = [
            listing(10, thing("a", 3, owner="o"), thing("b", 4, owner="p")),
            listing(50, thing("b", 4)),
        ]
        fake.watches = [expired, watching()]
        informer = make(client)
        woken: list[Key] = []
        informer.on_change(woken.append)
        async with running(informer):
            await until(lambda: len(fake.queries(True)) == 2)
            assert informer.get("n", "a") is None
            assert informer.get("n", "b") is not None
            assert woken == [("n", "o"), ("n", "p"), ("n", "o")]
        assert fake.queries(False)[1] == {"limit": "500", "labelSelector": "a=b"}
        assert fake.queries(True)[1]["resourceVersion"] == "50"


async def test_another_error_in_the_stream_does_not_end_the_informer(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [listing(10), listing(20, thing("late", 15))]
    fake.watches = [watching(("ERROR", {"code": 500, "message": "etcd lost it"}), linger=0), watching()]
    informer = make(client)
    async with running(informer):
        await until(lambda: informer.get("n", "late"))


async def test_a_torn_stream_goes_on_where_it_was(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [listing(10)]
    fake.watches = [
        watching(("ADDED", thing("a", 12)), b'{"type":"ADDED","obj', linger=0),
        refusing(429),
        watching(("ADDED", thing("b", 13))),
    ]
    informer = make(client)
    async with running(informer):
        await until(lambda: informer.get("n", "b"))
    assert len(fake.queries(False)) == 1
    assert [query["resourceVersion"] for query in fake.queries(True)] == ["10", "12", "12"]


async def test_a_silent_stream_is_replaced(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [listing(10)]
    fake.watches = [watching(), watching(("ADDED", thing("a", 12)))]
    timings = InformerTimings(watch=0.2, relist=60.0, backoff_base=0.01)
    informer = make(client, timings=timings)
    async with running(informer):
        await informer.synced.wait()
        await until(lambda: informer.get("n", "a"))
    assert len(fake.queries(False)) == 1


async def test_the_heartbeat_stops_when_nothing_answers(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [listing(10)]
    fake.watches = [watching(linger=0), refusing(500)]
    informer = make(client)
    async with running(informer):
        await informer.synced.wait()
        fake.lists = [refusing(500)]
        await until(lambda: informer.heartbeat_age() > 0.3)
        assert informer.synced.is_set()
        fake.lists, fake.watches = [listing(11)], [watching()]
        await until(lambda: informer.heartbeat_age() < 0.1)


async def test_a_missing_kind_is_empty_and_comes_later(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [refusing(404), refusing(404), listing(10, thing("a", 3))]
    fake.watches = [watching(), watching()]
    informer = make(client, HTTP_ROUTE)
    async with running(informer):
        await informer.synced.wait()
        assert not informer.available
        assert list(informer.items()) == []
        await until(lambda: informer.available)
        assert informer.get("n", "a") is not None


async def test_a_kind_that_goes_away_takes_its_objects_along(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [listing(10, thing("a", 3, owner="o"))]
    fake.watches = [refusing(404)]
    informer = make(client, HTTP_ROUTE, InformerTimings(retry_missing=60.0))
    woken: list[Key] = []
    informer.on_change(woken.append)
    async with running(informer):
        await until(lambda: not informer.available)
        assert list(informer.items()) == []
        assert woken == [("n", "o")] * 2


async def test_the_first_list_is_retried(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [refusing(403), refusing(503), listing(10)]
    fake.watches = [watching()]
    informer = make(client)
    async with running(informer):
        async with asyncio.timeout(5):
            await informer.synced.wait()
        assert informer.available


async def test_periodic_relist(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [listing(10, thing("lost", 3)), listing(12)]
    fake.watches = [watching()]
    informer = make(client, timings=InformerTimings(watch=0.1, relist=0.2, backoff_base=0.01))
    async with running(informer):
        await informer.synced.wait()
        await until(lambda: informer.get("n", "lost") is None)


async def test_an_object_the_transform_cannot_read_stops_no_other(fake: FakeServer, client: KubeClient) -> None:
    def picky(raw: Object) -> str:
        return str(raw["spec"])

    fake.lists = [listing(10, thing("bad", 3), thing("good", 4, spec=1))]
    fake.watches = [watching(("MODIFIED", thing("bad", 12)), ("MODIFIED", thing("bad", 13, spec=2)))]
    options = InformerOptions[str](picky, lambda _: None, time.monotonic, timings=QUICK)
    informer = Informer(client, CONFIG_MAP, options)
    task = asyncio.create_task(informer.run())
    await until(lambda: informer.get("n", "bad") == "2")
    assert informer.get("n", "good") == "1"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_write_through(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [listing(10, thing("a", 3))]
    fake.watches = [watching()]
    informer = make(client)
    async with running(informer):
        await until(lambda: fake.queries(True))
        informer.put(thing("mine", 11))
        informer.put(thing("ancient", 9))
        informer.forget("n", "a", "uid-a")
        assert [key for key, _ in informer.items()] == [("n", "mine")]
