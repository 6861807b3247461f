"""The outline of a JSON text agrees with a decoder at any depth."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.kube import outline

TEXT = st.text(st.characters(codec="utf-8")) | st.sampled_from(['{"', "\\", '\\"}', "]]]", "[[[", ",", '":{'])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=25,
)
SPACES = st.sampled_from([None, 0, 2])


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(VALUES, st.integers(0, 8), SPACES, st.booleans())
def test_depth_is_exact(value: Any, limit: int, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert outline.deeper_than(text, limit) == (depth_of(value) > limit)


@given(st.lists(VALUES), SPACES)
def test_parts_of_a_list_are_its_items(values: list[Any], indent: int | None) -> None:
    text = json.dumps({"before": "items", "x": {"items": 1}, "items": values, "after": 1}, indent=indent).encode()
    span = outline.member(text, "items")
    assert span is not None
    assert outline.start_of(text, "items") == span[0]
    assert [json.loads(text[start:end]) for start, end in outline.parts(text, span[0])] == values


@given(st.dictionaries(TEXT, VALUES), SPACES)
def test_members_of_an_object(value: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode()
    found = {json.loads(name): json.loads(text[start:end]) for name, (start, end) in outline.members(text)}
    assert found == value
    assert outline.member(text, "absent-" + "".join(value)) is None


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_depths_at_which_decoders_fail(opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deep = opening * 100_000 + "1" + closing * 100_000
    text = f'{{"metadata":{{"managed":{deep},"name":"n"}},"spec":{deep}}}'.encode()
    assert outline.deeper_than(text, 99_999)
    span = outline.member(text, "metadata")
    assert span is not None
    start, end = dict(outline.members(text, span[0]))[b'"name"']
    assert text[start:end] == b'"n"'


def test_a_text_that_ends_early_is_an_error() -> None:
    with pytest.raises(ValueError, match="ends inside"):
        list(outline.parts(b'{"a": [1, 2'))
