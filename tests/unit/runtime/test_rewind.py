"""etcd restored from a snapshot: the store of ModelDeployments follows a list, and the stream's health fails."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest
from sluicegate.app.stream_watchdog import Watchdog
from sluicegate.kube.errors import Undecodable
from sluicegate.kube.wire import Page
from sluicegate.runtime.resources import Key, Resources

from tests.unit.runtime.test_resources import SHOP, raw


def uris(store: Resources) -> dict[str, str]:
    return {resource.metadata.name: resource.spec.model.uri for resource in store.items()}


def filled(woken: list[Key]) -> Resources:
    store = Resources(woken.append)
    store.streamed(raw("90", uri="models:/shop/9"), deleted=False)
    store.streamed(raw("95", name="vanished"), deleted=False)
    woken.clear()
    return store


@pytest.mark.parametrize("version", [52, 200])
def test_list_replaces_resources_that_are_newer(version: int) -> None:
    """The version of the list may have passed the old position again. The object shows it then."""
    woken: list[Key] = []
    store = filled(woken)
    assert store.relisted([raw("52", uri="models:/shop/2")], version, store.position)
    assert uris(store) == {"shop": "models:/shop/2"}
    assert set(woken) == {SHOP, ("ns", "vanished")}
    assert not store.relisted([raw("53", uri="models:/shop/3")], version + 1, store.position)
    assert uris(store) == {"shop": "models:/shop/3"}


def test_resource_that_differs_only_in_status_is_reconciled() -> None:
    woken: list[Key] = []
    store = filled(woken)
    store.relisted([raw("52", uri="models:/shop/9")], 52, store.position)
    assert SHOP in woken


def test_undecodable_resource_of_a_rewound_list_is_not_kept() -> None:
    store = filled([])
    store.relisted([Undecodable("ModelDeployment", "it is too deep", SHOP, "u1", 40)], 52, store.position)
    assert len(store) == 0
    assert len(store.skipped) == 1


def test_write_and_event_during_a_list_are_no_rewind() -> None:
    store = filled([])
    position = store.position
    store.streamed(raw("97", uri="models:/shop/10"), deleted=False)
    store.offer(raw("98", uri="models:/shop/10"))
    listed = [raw("90", uri="models:/shop/9"), raw("95", name="vanished")]
    assert not store.relisted(listed, 96, position)
    assert uris(store)["shop"] == "models:/shop/10"


class Listing:
    """An API server whose list is the same each time."""

    def __init__(self, version: int, *items: Any) -> None:
        self.page = Page(tuple(msgspec.Raw(msgspec.json.encode(item)) for item in items), str(version))

    async def pages(self, *_: Any) -> AsyncIterator[Page]:
        yield self.page


def test_health_fails_because_the_stream_cannot_go_back() -> None:
    """No resource was edited, so only the version of the list shows the restore."""
    store = Resources(lambda _: None)
    store.streamed(raw("40"), deleted=False)
    store.streamed(raw("95", name="other"), deleted=True)
    watchdog = Watchdog(cast(Any, Listing(96, raw("40"))), store, None, 600)
    asyncio.run(watchdog.compare())
    assert watchdog.check() is None
    watchdog = Watchdog(cast(Any, Listing(52, raw("40"))), store, None, 600)
    asyncio.run(watchdog.compare())
    asyncio.run(watchdog.compare())
    assert "went back to 52" in (watchdog.check() or ""), "only a restart ends it"
