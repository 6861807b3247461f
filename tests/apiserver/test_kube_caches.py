"""Informer, leader election and Events against a real API server."""

import asyncio
import time
from collections.abc import Callable

from sluicegate.kube.client import KubeClient
from sluicegate.kube.events import EventRecorder, reference
from sluicegate.kube.informer import Informer, InformerOptions, without_managed_fields
from sluicegate.kube.kinds import CONFIG_MAP, EVENT, LEASE
from sluicegate.kube.lease import Elector, LeaseTimings
from sluicegate.kube.store import Key
from sluicegate.kube.wire import Object

TIMINGS = LeaseTimings(lease=3.0, renew=2.0, retry=0.2)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def config_map(namespace: str, name: str, owner: str, **data: str) -> Object:
    labels = {"t": "informer", "owner": owner}
    return {"metadata": {"namespace": namespace, "name": name, "labels": labels}, "data": data}


async def test_an_informer_follows(client: KubeClient, namespace: str) -> None:
    def owner_of(value: Object) -> Key | None:
        return value["metadata"]["namespace"], value["metadata"]["labels"]["owner"]

    await client.create(CONFIG_MAP, config_map(namespace, "old", "o"))
    await client.create(CONFIG_MAP, {"metadata": {"namespace": namespace, "name": "foreign"}})
    options = InformerOptions(
        without_managed_fields, owner_of, time.monotonic, namespace=namespace, selector="t=informer"
    )
    informer = Informer(client, CONFIG_MAP, options)
    woken: list[Key] = []
    informer.on_change(woken.append)
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(5):
        await informer.synced.wait()
    await until(lambda: informer.get(namespace, "old"))
    assert [key for key, _ in informer.items()] == [(namespace, "old")]

    made = await client.create(CONFIG_MAP, config_map(namespace, "new", "o", a="1"))
    informer.put(made)
    assert len(informer.owned((namespace, "o"))) == 2
    await client.merge_patch(CONFIG_MAP, namespace, "new", {"data": {"a": "2"}})
    await until(lambda: (informer.get(namespace, "new") or {}).get("data") == {"a": "2"})
    informer.put(made)
    assert (informer.get(namespace, "new") or {})["data"] == {"a": "2"}

    await client.delete(CONFIG_MAP, namespace, "old")
    await until(lambda: informer.get(namespace, "old") is None)
    await client.delete(CONFIG_MAP, namespace, "new")
    informer.forget(namespace, "new", made["metadata"]["uid"])
    assert informer.owned((namespace, "o")) == []
    woken.clear()
    await asyncio.sleep(0.5)
    assert woken == []
    assert informer.heartbeat_age() < 5
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_leadership_passes_on(client: KubeClient, namespace: str) -> None:
    a, b = (Elector(client, (namespace, "lock"), name, time.monotonic, TIMINGS) for name in "ab")
    async with asyncio.timeout(5):
        await a.acquire()
    holding, waiting = asyncio.create_task(a.hold()), asyncio.create_task(b.acquire())
    await asyncio.sleep(4)
    assert a.leading
    assert not waiting.done()
    assert b.holder == "a"
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    await a.release()
    released = time.monotonic()
    await waiting
    assert time.monotonic() - released < 1
    lease = await client.get(LEASE, namespace, "lock")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "b"
    assert lease["spec"]["leaseTransitions"] == 1
    assert lease["spec"]["acquireTime"].endswith("Z")


async def test_two_rush_for_a_new_lease(client: KubeClient, namespace: str) -> None:
    electors = [Elector(client, (namespace, "rush"), f"e{i}", time.monotonic, TIMINGS) for i in range(6)]
    tasks = [asyncio.create_task(elector.acquire()) for elector in electors]
    await asyncio.sleep(1)
    assert sum(elector.leading for elector in electors) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_events_and_their_series(client: KubeClient, namespace: str) -> None:
    about = await client.create(CONFIG_MAP, config_map(namespace, "c", "o"))
    recorder = EventRecorder(client, ("sluicegate.dev/operator", "pod-1"), time.monotonic)
    task = asyncio.create_task(recorder.run())
    for _ in range(3):
        recorder.record(reference(about), "Warning", "Broken", "It broke.", "Reconcile")
        await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await recorder.flush()
    assert recorder.dropped == 0
    events = (await client.list(EVENT, namespace)).items
    assert len(events) == 1
    assert events[0]["count"] == 3
    assert events[0]["involvedObject"]["uid"] == about["metadata"]["uid"]
    assert events[0]["message"] == "It broke."
