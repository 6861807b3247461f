from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sluicegate.kube.store import Key, Store

Raw = dict[str, Any]


def raw(name: str, version: int, uid: str = "u1", **rest: Any) -> Raw:
    metadata = {"namespace": "n", "name": name, "uid": uid, "resourceVersion": str(version)}
    terminating = rest.pop("terminating", False)
    if terminating:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {"metadata": metadata, "owner": "o", "value": 1, **rest}


def deleted(kept: Store[Raw], thing: Raw) -> None:
    kept.deleted(("n", thing["metadata"]["name"]), thing["metadata"]["uid"], int(thing["metadata"]["resourceVersion"]))


def store() -> tuple[Store[Raw], list[Key]]:
    woken: list[Key] = []
    kept = Store[Raw](
        lambda r: {"value": r["value"], "owner": r["owner"]},
        lambda v: ("n", v["owner"]) if v["owner"] else None,
        woken.append,
    )
    return kept, woken


def test_only_what_the_transform_keeps_wakes_the_owner() -> None:
    s, woken = store()
    s.observe(raw("a", 1))
    s.observe(raw("a", 2, noise=1))
    assert woken == [("n", "o")]
    s.observe(raw("a", 3, value=2))
    assert woken == [("n", "o")] * 2
    assert s.owned(("n", "o")) == [{"value": 2, "owner": "o"}]


def test_a_moved_object_wakes_both_owners() -> None:
    s, woken = store()
    s.observe(raw("a", 1))
    woken.clear()
    s.observe(raw("a", 2, owner="p"))
    assert sorted(woken) == [("n", "o"), ("n", "p")]
    assert s.owned(("n", "o")) == []
    s.observe(raw("a", 3, owner=None))
    assert s.owned(("n", "p")) == []


def test_versions_compare_as_numbers() -> None:
    s, _ = store()
    s.observe(raw("a", 10, value=10))
    s.put(raw("a", 9, value=9))
    assert s.get(("n", "a")) == {"value": 10, "owner": "o"}


def test_a_late_answer_does_not_resurrect() -> None:
    s, _ = store()
    s.end_list(set(), 5)
    s.observe(raw("a", 6))
    s.advance(6)
    deleted(s, raw("a", 8))
    s.advance(8)
    s.put(raw("a", 7, value=7))
    assert s.get(("n", "a")) is None
    s.put(raw("a", 9, "u2"))
    assert s.get(("n", "a")) is not None


def test_a_forgotten_object_stays_away_until_it_shows_itself_terminating() -> None:
    s, woken = store()
    s.observe(raw("a", 1))
    s.forget(("n", "a"), "u1")
    assert len(woken) == 2
    s.observe(raw("a", 3, value=3))
    s.put(raw("a", 4, value=3))
    assert s.get(("n", "a")) is None
    s.observe(raw("a", 5, terminating=True))
    assert s.get(("n", "a")) is not None
    deleted(s, raw("a", 6))
    assert s.get(("n", "a")) is None


def test_forgetting_touches_no_namesake() -> None:
    s, _ = store()
    s.observe(raw("a", 4, "u2"))
    s.forget(("n", "a"), "u1")
    assert s.get(("n", "a")) is not None
    deleted(s, raw("a", 3, "u1"))
    assert s.get(("n", "a")) is not None


def test_a_list_removes_what_it_lacks_but_nothing_newer() -> None:
    s, woken = store()
    s.observe(raw("old", 1))
    s.put(raw("ours", 9, "u2"))
    s.begin_list()
    woken.clear()
    s.end_list(set(), 8)
    assert [key for key, _ in s.items()] == [("n", "ours")]
    assert woken == [("n", "o")]


def test_a_namesake_counts_as_a_change() -> None:
    s, woken = store()
    s.observe(raw("a", 1))
    s.observe(raw("a", 2, "u2"))
    assert len(woken) == 2


def test_clearing_wakes_owners() -> None:
    s, woken = store()
    s.observe(raw("a", 1))
    s.clear()
    assert len(woken) == 2
    assert len(s) == 0


@given(st.lists(st.tuples(st.sampled_from(["put", "event", "deleted"]), st.sampled_from("ab"), st.integers(1, 30))))
def test_the_index_agrees_with_the_objects(steps: list[tuple[str, str, int]]) -> None:
    s, _ = store()
    for what, name, version in steps:
        thing = raw(name, version, f"u{version // 5}", owner="xyz"[version % 3])
        {"put": s.put, "event": s.observe, "deleted": partial(deleted, s)}[what](thing)
        by_owner = {owner: s.owned(("n", owner)) for owner in "xyz"}
        assert sum(map(len, by_owner.values())) == len(s)
        assert all(value["owner"] == owner for owner, values in by_owner.items() for value in values)
