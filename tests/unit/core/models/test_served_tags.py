"""Which tags show the versions that are served."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.core.models.served_tags import LONGEST, Change, changes, served, tag_key


def resource(name: str, *entries: tuple[str, str, str | None]) -> ModelDeployment:
    """Return a resource from entries of (role, model, version)."""
    revisions: list[dict[str, Any]] = [
        {"name": f"{name}-{n}", "revision": str(n), "role": role, "model": model, "version": version, "weight": 0}
        | {"replicas": 1, "readyReplicas": 1}
        for n, (role, model, version) in enumerate(entries)
    ]
    metadata = {"name": name, "namespace": "shop", "uid": name, "generation": 1}
    return decode(
        {"metadata": metadata, "spec": {"model": {"uri": "models:/churn@a"}}, "status": {"revisions": revisions}}
    )


def test_what_serves_is_named_and_what_does_not_is_not() -> None:
    found = served(
        [
            resource("b", ("Stable", "churn/7", "7"), ("Canary", "churn/8", "8"), ("Parked", "churn/6", "6")),
            resource("a", ("Stable", "churn/7", "7"), ("Candidate", "churn/9", "9"), ("Failed", "churn/5", "5")),
            resource("c", ("Stable", "a/name/3", "3")),
            resource("d", ("Stable", "image:///opt/model", None)),
            resource("e"),
        ]
    )
    assert found == {
        ("churn", "7"): "shop/a, shop/b",
        ("churn", "8"): "shop/b (canary)",
        ("a/name", "3"): "shop/c",
    }


def test_a_value_has_a_bound() -> None:
    found = served([resource(f"resource-{number:04}", ("Stable", "churn/7", "7")) for number in range(500)])
    value = found["churn", "7"]
    assert len(value) < LONGEST + 20
    assert value.startswith("shop/resource-0000, shop/resource-0001, ")
    assert value.endswith(f" and {500 - value.count('shop/')} more")


def test_only_differences_are_written_and_absence_counts_the_second_time() -> None:
    wanted, there = {("m", "1"): "a", ("m", "2"): "b"}, {("m", "2"): "old", ("m", "3"): "c"}
    first = changes(wanted, there, ())
    assert first == [Change("m", "1", "a"), Change("m", "2", "b")]
    assert changes(wanted, there, [("m", "3")]) == [*first, Change("m", "3", None)]


keys = st.tuples(st.sampled_from("mno"), st.sampled_from("123"))
tags = st.dictionaries(keys, st.sampled_from(["a", "b"]))


@given(tags, tags)
def test_writing_the_changes_twice_makes_it_so(wanted: dict[Any, str], there: dict[Any, str]) -> None:
    for absent in ((), set(there) - set(wanted)):
        for change in changes(wanted, there, absent):
            if change.value is None:
                del there[change.model, change.version]
            else:
                there[change.model, change.version] = change.value
    assert there == wanted
    assert changes(wanted, there, there) == []


def test_an_operator_of_one_namespace_has_a_tag_of_its_own() -> None:
    assert tag_key("eu-1", None) == "sluicegate.dev/served-by.eu-1"
    assert tag_key("eu-1", "shop") == "sluicegate.dev/served-by.eu-1.shop"
