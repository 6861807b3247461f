"""What an overlay removes: with null, and with the directive that client-side `kubectl apply` keeps."""

from typing import Any

import pytest
from sluicegate.api.resource import decode
from sluicegate.cli.validation.warnings import warnings
from sluicegate.render.overlay import overlay

DELETE = {"$patch": "delete"}
BASE = {
    "securityContext": {"fsGroup": 1, "runAsNonRoot": True},
    "tolerations": [{"key": "a"}, {"key": "b"}],
    "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "model"}],
}


@pytest.mark.parametrize("nothing", [None, DELETE], ids=["null", "directive"])
@pytest.mark.parametrize("field", BASE)
def test_a_field_is_removed(field: str, nothing: Any) -> None:
    assert overlay(BASE, {field: nothing}) == {key: value for key, value in BASE.items() if key != field}
    assert overlay(BASE, {"securityContext": {"fsGroup": nothing}})["securityContext"] == {"runAsNonRoot": True}


@pytest.mark.parametrize(
    ("field", "item", "left"),
    [
        ("tolerations", {"key": "a"}, [{"key": "b"}]),
        ("tolerations", {"key": "c"}, [{"key": "a"}, {"key": "b"}]),
        ("volumes", {"name": "tmp"}, [{"name": "model"}]),
        ("volumes", {"name": "other"}, [{"name": "tmp", "emptyDir": {}}, {"name": "model"}]),
    ],
)
def test_an_item_of_a_list_is_removed(field: str, item: dict[str, Any], left: list[Any]) -> None:
    assert overlay(BASE, {field: [{**item, **DELETE}]})[field] == left


@pytest.mark.parametrize(
    ("over", "merged"),
    [
        ({"x": {"y": DELETE, "z": 1}}, {"x": {"z": 1}}),
        ({"x": [{"y": DELETE}, DELETE, 1]}, {"x": [{}, 1]}),
        ({"volumes": [{"name": "new", "emptyDir": DELETE}]}, {"volumes": [*BASE["volumes"], {"name": "new"}]}),
    ],
)
def test_the_directive_never_reaches_the_pod(over: dict[str, Any], merged: dict[str, Any]) -> None:
    assert overlay(BASE, over) == {**BASE, **merged}


def test_validate_warns_about_null_and_not_about_the_directive() -> None:
    template = {"spec": {"tolerations": None, "containers": [{"name": "model", "env": None, "lifecycle": DELETE}]}}
    spec = {"model": {"uri": "models:/m/1"}, "podTemplate": template}
    found = list(warnings(decode({"metadata": {"name": "a"}, "spec": spec})))
    prefix = "spec.podTemplate.spec"
    assert [problem.field for problem in found] == [f"{prefix}.tolerations", f"{prefix}.containers[0].env"]
    assert "$patch: delete" in found[0].message
