"""Regression tests of rendering and the diff."""

from typing import Any

import pytest
from sluicegate.render.diff import difference
from sluicegate.render.engine import render_text
from sluicegate.render.overlay import overlay


@pytest.mark.parametrize(
    "value", [1e16, 1e-7, 1.5e300, {"a" * 2000: 1}, {'"' * 1500: [1e22]}, "\U0001f600\x7f\x85\u2028", {"é" * 500: None}]
)
def test_a_value_comes_out_as_it_was(value: Any) -> None:
    assert render_text("t", "a: {{ value }}", {"value": value}) == {"a": value}


def test_one_volume_may_be_mounted_twice() -> None:
    base = [{"name": "tmp", "mountPath": "/tmp"}]
    over = [{"name": "s", "mountPath": "/a"}, {"name": "s", "mountPath": "/b"}]
    assert overlay(base, over) == base + over


def test_a_name_that_is_no_text_does_not_break_the_merge() -> None:
    assert overlay([{"name": "a"}], [{"name": ["b"]}]) == [{"name": ["b"]}]


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ({"env": [{"name": "A", "value": ""}]}, {"env": [{"name": "A"}]}),
        ({"subPath": "", "readOnly": False}, {}),
        (
            {"resources": {"limits": {"nvidia.com/gpu": 1, "memory": "1024Mi"}}},
            {"resources": {"limits": {"nvidia.com/gpu": "1", "memory": "1Gi"}}},
        ),
        (
            {"spread": [{"topologyKey": "z", "when": "A"}, {"topologyKey": "z", "when": "B"}]},
            {"spread": [{"topologyKey": "z", "when": "A"}, {"topologyKey": "z", "when": "B"}]},
        ),
    ],
)
def test_what_the_api_server_stores_otherwise_is_no_difference(wanted: Any, there: Any) -> None:
    assert difference(wanted, there) is None


def test_a_security_setting_that_somebody_removed_is_one() -> None:
    assert difference({"allowPrivilegeEscalation": False}, {}) == ".allowPrivilegeEscalation"
