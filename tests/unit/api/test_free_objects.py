"""Objects of other APIs in a spec have a size, so that one namespace cannot use up the operator's memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from sluicegate.api.free_objects import LIMIT
from sluicegate.api.resource import decode


def raw(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "churn", "namespace": "shop"}, "spec": {"model": {"uri": "models:/churn/1"}, **spec}}


def value(size: int) -> dict[str, str]:
    """Return an object of `size` bytes of JSON."""
    return {"a": "x" * (size - 8)}


@pytest.mark.parametrize(
    "spec, field",
    [
        ({"podTemplate": value(LIMIT + 1)}, "spec.podTemplate"),
        ({"scaling": {"max": 2, "behavior": value(LIMIT + 1)}}, "spec.scaling.behavior"),
        ({"scaling": {"max": 2, "metrics": [value(LIMIT + 1)]}}, "spec.scaling.metrics[0]"),
        ({"runtime": {"env": [{"name": "A", "valueFrom": value(LIMIT + 1)}]}}, "spec.runtime.env[0].valueFrom"),
        (
            {"canary": {"weight": 5, "runtime": {"env": [{"name": "A", "valueFrom": value(LIMIT + 1)}]}}},
            "spec.canary.runtime.env[0].valueFrom",
        ),
        ({"canary": {"weight": 5, "scaling": {"metrics": [value(LIMIT + 1)]}}}, "spec.canary.scaling.metrics[0]"),
    ],
)
def test_names_the_field_and_the_size(spec: dict[str, Any], field: str) -> None:
    resource = decode(raw(**spec))
    assert resource.too_large is not None
    assert str(resource.too_large) == (
        f"{field}: it has {LIMIT + 1:,} bytes of JSON, more than the limit of 65,536. Move large values to a ConfigMap "
        "or a volume, or remove them."
    )
    assert len(msgspec.json.encode(resource.spec)) < 1000


def test_all_free_objects_together_have_the_limit() -> None:
    half = value(LIMIT // 2)
    assert decode(raw(podTemplate=half, scaling={"behavior": half})).too_large is None
    more = value(LIMIT // 2 + 1)
    resource = decode(raw(podTemplate=half, scaling={"behavior": more}))
    assert "spec.scaling.behavior: it has 32,769 bytes of JSON, and with the other fields of this kind 65,537" in str(
        resource.too_large
    )


def test_a_spec_within_the_limit_is_unchanged() -> None:
    spec = {"podTemplate": value(LIMIT), "runtime": {"env": [{"name": "A", "value": "x" * 32768}]}}
    resource = decode(raw(**spec))
    assert resource.too_large is None
    assert resource.spec.pod_template == spec["podTemplate"]


@pytest.mark.parametrize("spec", [{"podTemplate": 5}, {"scaling": {"metrics": "x"}}, {"scaling": 5}, {"runtime": []}])
def test_wrong_types_are_still_reported_as_such(spec: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        decode(raw(**spec))


def test_twenty_large_templates_leave_the_memory_free() -> None:
    """Check that the decoded resources take little memory, however large their templates are."""
    text = msgspec.json.encode(raw(podTemplate={"a": [{"b": index} for index in range(45_000)]}))
    tracemalloc.start()
    try:
        kept = [decode(msgspec.json.decode(text)) for _ in range(20)]
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
    assert all(resource.too_large is not None for resource in kept)
