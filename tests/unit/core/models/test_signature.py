"""Which changes of a signature break clients.

MLflow enforces schemas on JSON, and its rules decide.
"""

import base64
import hashlib
import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.core.models.signature import Signature, differences, parse

X = {"type": "double", "name": "x", "required": True}
PREDICTION = {"type": "double", "required": True}
OBJECT = {"type": "object", "properties": {"a": {"type": "long", "required": True}}, "name": "o", "required": True}
TEMPERATURE = {"name": "t", "default": 0.1, "shape": None, "type": "float"}


def told(inputs: Any = None, outputs: Any = None, params: Any = None) -> str:
    """Return a signature as scorer/sluicegate_scorer/signature.py writes it."""
    text = json.dumps({"inputs": inputs, "outputs": outputs, "params": params}, sort_keys=True, separators=(",", ":"))
    return "z:" + base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def signature(*inputs: Any, outputs: Any = (PREDICTION,), params: Any = None) -> Signature:
    found = parse(told(list(inputs), list(outputs), params))
    assert found is not None
    return found


def tensor(dtype: str, *shape: int) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": list(shape)}}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([X], [X], []),
        ([X], [X, {"type": "long", "name": "age"}], ["input age (long) is required and did not exist"]),
        ([X], [X, {"type": "long", "name": "age", "required": False}], []),
        ([X, {"type": "long", "name": "age"}], [X], ["input age (long) was removed"]),
        ([X, {"type": "long", "name": "age", "required": False}], [X], []),
        ([X], [{**X, "type": "string"}], ["input x changed from double to string"]),
        ([{**X, "required": False}], [X], ["input x is required and was optional"]),
        ([{**X, "type": "integer"}], [{**X, "type": "long"}], []),
        ([{**X, "type": "long"}], [X], []),
        ([X], [{**X, "type": "long"}], ["input x changed from double to long"]),
        ([X], [{**X, "type": "any"}], []),
        (
            [{"type": "double"}],
            [{"type": "double"}, {"type": "double"}],
            ["input #2 (double) is required and did not exist"],
        ),
        ([tensor("float64", -1, 4)], [tensor("float64", -1, 4)], []),
        ([tensor("float32", -1, 4)], [tensor("float64", -1, -1)], []),
        (
            [tensor("float64", -1, 4)],
            [tensor("float64", -1, 5)],
            ["input #1 changed from a tensor of float64 [-1, 4] to a tensor of float64 [-1, 5]"],
        ),
        ([tensor("float64", -1)], [X | {"name": "#1"}], ["input #1 changed from a tensor of float64 [-1] to double"]),
        (
            [OBJECT],
            [{**OBJECT, "properties": {**OBJECT["properties"], "b": {"type": "string"}}}],  # type: ignore[dict-item]
            ["input o.b (string) is required and did not exist"],
        ),
        (
            [{"type": "array", "items": {"type": "long"}, "name": "l"}],
            [{"type": "array", "items": {"type": "string"}, "name": "l"}],
            ["input l[] changed from long to string"],
        ),
    ],
)  # fmt: skip
def test_inputs(old: list[Any], new: list[Any], expected: list[str]) -> None:
    assert list(differences(signature(*old), signature(*new))) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([PREDICTION], [{"type": "long", "required": True}], ["output #1 changed from double to long"]),
        ([PREDICTION], [PREDICTION, PREDICTION], ["output #2 (double) was added"]),
        ([X, PREDICTION], [X], ["output #2 (double) was removed"]),
        ([{"type": "long"}], [{"type": "double"}], ["output #1 changed from long to double"]),
    ],
)
def test_any_change_of_the_output_counts(old: list[Any], new: list[Any], expected: list[str]) -> None:
    found = differences(signature(X, outputs=old), signature(X, outputs=new))
    assert list(found) == expected


def test_params() -> None:
    old = signature(X, params=[TEMPERATURE])
    assert differences(old, signature(X)) == ("param t was removed",)
    assert differences(old, signature(X, params=[{**TEMPERATURE, "type": "string"}])) == (
        "param t changed from float to string",
    )
    assert differences(old, signature(X, params=[{**TEMPERATURE, "default": 0.9}])) == ()
    assert differences(signature(X), old) == ()


def test_what_only_one_side_declares_cannot_be_compared() -> None:
    without = parse(told(None, [PREDICTION]))
    assert without is not None
    assert differences(signature(X), without) == differences(without, signature(X)) == ()


def test_what_was_cut_off_is_no_signature() -> None:
    words = told([X] * 3, [PREDICTION])
    assert parse(words) is not None
    assert all(parse(words[:length]) is None for length in range(len(words)))


def test_of_wide_models_only_the_digest_is_known() -> None:
    one, same, other = (parse("sha256:" + hashlib.sha256(text).hexdigest()) for text in (b"1", b"1", b"2"))
    assert one is not None
    assert same is not None
    assert other is not None
    assert differences(one, same) == ()
    assert (
        differences(one, other)
        == differences(signature(X), one)
        == ("it changed, and is too large to list the differences",)
    )


@given(
    st.text(max_size=40) | st.binary(max_size=60).map(lambda raw: "z:" + base64.b64encode(zlib.compress(raw)).decode())
)
def test_what_is_no_signature_is_none(words: str) -> None:
    assert parse(words) is None or words.startswith("sha256:")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "name", "required", "properties", "items", "values", "tensor-spec", "shape", "dtype"]
            )
            | st.text(max_size=3),
            inner | st.sampled_from(["object", "array", "map", "tensor", "double"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(json_values, json_values)
def test_nothing_that_a_pod_says_breaks_a_decision(one: Any, other: Any) -> None:
    found = [parse(told(each, each, each)) for each in ([one], [other])]
    for old in found:
        for new in found:
            if old is not None and new is not None:
                assert (differences(old, new) == ()) or old != new
