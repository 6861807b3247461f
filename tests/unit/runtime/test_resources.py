"""The store of ModelDeployments.

The tests cover which resources it wakes, which resource version wins, and what the stream has lost.
"""

from typing import Any, cast

import pytest
from sluicegate.kube.errors import Undecodable
from sluicegate.kube.events import EventRecorder
from sluicegate.runtime.resources import Key, Resources, record_undecodable

SHOP = ("ns", "shop")


def raw(version: str | None, *, name: str = "shop", uid: str = "u1", **other: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ns", "uid": uid, "generation": 1, **other.pop("metadata", {})}
    if version is not None:
        metadata["resourceVersion"] = version
    return {"metadata": metadata, "spec": {"model": {"uri": other.pop("uri", "models:/shop/1")}}, **other}


@pytest.fixture
def woken() -> list[Key]:
    return []


@pytest.fixture
def store(woken: list[Key]) -> Resources:
    return Resources(woken.append)


def test_what_matters_wakes_and_a_status_does_not(store: Resources, woken: list[Key]) -> None:
    store.streamed(raw("1"), deleted=False)
    store.streamed(raw("2", status={"replicas": 1}), deleted=False)
    assert woken == [SHOP]
    store.streamed(raw("3", uri="models:/shop/2"), deleted=False)
    store.streamed(raw("4", uri="models:/shop/2", metadata={"annotations": {"a": "b"}}), deleted=False)
    assert woken == [SHOP] * 3
    store.streamed(raw("5", uri="models:/shop/2", metadata={"annotations": {"a": "b"}, "labels": {"c": "d"}}), False)
    assert woken == [SHOP] * 4
    found = store.get(SHOP)
    assert found is not None
    assert found.metadata.resource_version == "5"


def test_an_older_version_from_anywhere_is_dropped(store: Resources) -> None:
    store.offer(raw("5", uri="models:/shop/5"))
    store.streamed(raw("4", uri="models:/shop/4"), deleted=False)
    found = store.get(SHOP)
    assert found is not None
    assert found.spec.model.uri == "models:/shop/5"


def test_another_object_of_the_name_replaces_even_with_a_lower_version(store: Resources, woken: list[Key]) -> None:
    store.offer(raw("5"))
    store.offer(raw("4", uid="u2"))
    assert woken == [SHOP] * 2


def test_an_object_without_a_version_gives_way_to_one_that_has_it(store: Resources) -> None:
    store.offer(raw(None))
    store.offer(raw("1", uri="models:/shop/2"))
    found = store.get(SHOP)
    assert found is not None
    assert found.spec.model.uri == "models:/shop/2"


UNREADABLE = Undecodable("ModelDeployment", "it is too deep", SHOP, "u1", 5)


def test_an_undecodable_resource_is_left_alone_until_it_is_readable(woken: list[Key]) -> None:
    reported: list[Undecodable] = []
    store = Resources(woken.append, reported.append)
    store.offer(raw("4"))
    for _ in range(3):
        store.skip(UNREADABLE)
    assert (len(store), len(store.skipped), woken, reported) == (0, 1, [SHOP] * 2, [UNREADABLE])
    store.offer(raw("6"))
    assert (len(store), len(store.skipped)) == (1, 0)
    store.skip(UNREADABLE)  # The report arrives late.
    assert (len(store), len(store.skipped)) == (1, 0)


@pytest.mark.parametrize("spec", [{"model": 3}, [], "text", {"model": {"uri": "u"}, "podTemplate": [1]}])
def test_a_spec_of_another_type_is_undecodable(store: Resources, spec: Any) -> None:
    store.offer(raw("1"))
    store.offer({**raw("2"), "spec": spec})
    assert (len(store), len(store.skipped)) == (0, 1)


@pytest.mark.parametrize("status", [[], "text", {"conditions": {}}, {"revisions": [[]]}])
def test_a_status_of_another_type_is_built_anew(store: Resources, status: Any) -> None:
    store.offer(raw("1", status=status))
    found = store.get(SHOP)
    assert found is not None
    assert found.status.conditions == type(found.status.conditions)()


def test_a_list_decides_what_is_undecodable(store: Resources) -> None:
    store.skip(UNREADABLE)
    store.relisted([Undecodable("ModelDeployment", "it is too deep", ("ns", "other"))], 9)
    assert len(store.skipped) == 1
    store.relisted([], 10)
    assert len(store.skipped) == 0


def test_an_event_names_the_problem() -> None:
    recorded: list[Any] = []

    class Recorder:
        def record(self, *args: Any) -> None:
            recorded.append(args)

    record_undecodable(cast(EventRecorder, Recorder()), UNREADABLE)
    record_undecodable(cast(EventRecorder, Recorder()), Undecodable("ModelDeployment", "it is too deep", None))
    assert len(recorded) == 1
    about, severity, reason, message, _ = recorded[0]
    assert (about["namespace"], about["name"], about["uid"]) == ("ns", "shop", "u1")
    assert (severity, reason) == ("Warning", "Undecodable")
    assert "it is too deep" in message


@pytest.mark.parametrize("way", ["stream", "relist", "remove"])
def test_what_is_gone_leaves_nothing_behind(store: Resources, woken: list[Key], way: str) -> None:
    store.streamed(raw("5"), deleted=False)
    if way == "stream":
        store.streamed(raw("6"), deleted=True)
    elif way == "relist":
        store.relisted([], 6)
    else:
        store.remove(SHOP)
    assert (len(store), woken) == (0, [SHOP] * 2)
    # The object was created again. The response to a write shows it before the stream does.
    store.offer(raw("3", uid="u2"))
    assert store.behind([raw("3", uid="u2")]) == [SHOP]


def test_a_relist_adds_what_the_stream_lost_and_spares_what_is_newer_than_it(store: Resources) -> None:
    store.streamed(raw("9", name="newer"), deleted=False)
    store.relisted([raw("3", name="lost")], 8)
    assert {item.metadata.name for item in store.items()} == {"newer", "lost"}
    assert store.behind([raw("3", name="lost"), raw("9", name="newer"), raw("1", name="unknown")]) == [("ns", "lost")]
