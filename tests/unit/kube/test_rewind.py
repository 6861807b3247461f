"""etcd restored from a snapshot: resource versions go back, and a list replaces what the store has."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.kube.client import KubeClient
from sluicegate.kube.store import Store

from tests.unit.kube.conftest import FakeServer
from tests.unit.kube.test_informer import QUICK, listing, make, refusing, running, thing, until, watching
from tests.unit.kube.test_store import raw

GONE = watching(("ERROR", {"code": 410, "reason": "Expired", "message": "too old"}), linger=0)


async def test_list_replaces_objects_that_are_newer_than_it(fake: FakeServer, client: KubeClient) -> None:
    """After the restore, an edit raises the version of one object, but not to what the store has."""
    before = [thing("edited", 90, value=1), thing("vanished", 95), thing("unchanged", 5)]
    after = [thing("edited", 52, value=2), thing("reappeared", 40), thing("unchanged", 5)]
    fake.lists = [listing(100, *before), listing(52, *after)]
    fake.watches = [GONE, watching(("MODIFIED", thing("edited", 53, value=3)), linger=0), watching()]
    informer = make(client)
    woken: list[Any] = []
    informer.on_change(woken.append)
    async with running(informer):
        await until(lambda: len(fake.queries(True)) == 3)
        assert {key[1]: value.get("value") for key, value in informer.items()} == {
            "edited": 3,
            "reappeared": None,
            "unchanged": None,
        }
    assert woken
    assert [query["resourceVersion"] for query in fake.queries(True)] == ["100", "52", "53"]


async def test_list_of_a_counter_that_has_caught_up_replaces_too(fake: FakeServer, client: KubeClient) -> None:
    """Objects show what the list's version does not: it is past the position again.

    An object may also have the version of another state of it, so a second list replaces every object.
    """
    after = listing(200, thing("edited", 60, value=2), thing("same-version", 70, value=2))
    fake.lists = [listing(100, thing("edited", 90, value=1), thing("same-version", 70, value=1)), after]
    fake.watches = [GONE, watching()]
    informer = make(client)
    async with running(informer):
        await until(lambda: len(fake.queries(True)) == 2)
        assert [value.get("value") for _, value in informer.items()] == [2, 2]
    assert len(fake.queries(False)) == 3


@pytest.mark.parametrize("kind", ["MODIFIED", "BOOKMARK"])
async def test_older_event_of_a_watch_leads_to_a_list(fake: FakeServer, client: KubeClient, kind: str) -> None:
    fake.lists = [listing(100, thing("a", 90, value=1)), listing(53, thing("a", 52, value=2))]
    fake.watches = [watching((kind, thing("b", 51))), watching()]
    informer = make(client)
    async with running(informer):
        await until(lambda: len(fake.queries(True)) == 2)
        assert [value.get("value") for _, value in informer.items()] == [2]


async def test_failed_list_of_a_rewound_server_is_repeated(fake: FakeServer, client: KubeClient) -> None:
    fake.lists = [listing(100, thing("a", 90, value=1)), refusing(500), listing(53, thing("a", 52, value=2))]
    fake.watches = [GONE, watching()]
    informer = make(client, timings=QUICK)
    async with running(informer):
        await until(lambda: len(fake.queries(True)) == 2)
        assert [value.get("value") for _, value in informer.items()] == [2]


def store() -> Store[Any]:
    return Store(lambda value: value["value"], lambda _: None, lambda _: None)


def test_own_write_during_a_list_is_no_rewind() -> None:
    kept = store()
    kept.observe(raw("a", 5))
    kept.advance(8)
    kept.begin_list()
    kept.put(raw("a", 12, value=2))
    kept.listed(raw("a", 5), 10)
    assert not kept.rewound
    kept.end_list({("n", "a")}, 10)
    assert kept.get(("n", "a")) == 2
    assert kept.position == 10


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 100)),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 60)),
    st.integers(60, 99),
)
def test_store_has_what_the_list_of_a_rewound_server_has(
    before: dict[str, int], after: dict[str, int], version: int
) -> None:
    kept = store()
    for name, number in before.items():
        kept.observe(raw(name, number, value=("old", number)))
    kept.advance(100)
    kept.begin_list()
    kept.replace()
    for name, number in after.items():
        kept.listed(raw(name, number, value=("new", number)), version)
    kept.end_list({("n", name) for name in after}, version)
    assert {key[1]: value for key, value in kept.items()} == {name: ("new", number) for name, number in after.items()}
    kept.put(raw("d", version + 1))
    assert kept.get(("n", "d")) is not None, "the position is the list's"
