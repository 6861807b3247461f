import itertools
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.kube import wire
from sluicegate.kube.errors import Forbidden, Gone, Unreachable
from sluicegate.kube.kinds import CONFIG_MAP, Kind


async def _stream(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@given(st.lists(st.binary(min_size=1).filter(lambda b: b"\n" not in b and bool(b.strip()))), st.data())
async def test_lines_survive_any_cutting(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    bounds = [0, *cuts, len(whole)]
    chunks = [whole[a:b] for a, b in itertools.pairwise(bounds)]
    assert [line async for line in wire.lines(_stream(chunks))] == lines


async def test_megabytes_in_one_line() -> None:
    event = (
        json.dumps({"type": "ADDED", "object": {"metadata": {"name": "n"}, "data": "x" * 4_000_000}}).encode() + b"\n"
    )
    chunks = [event[i : i + 1000] for i in range(0, len(event), 1000)]
    got = [e async for e in wire.events(_stream(chunks), CONFIG_MAP)]
    assert isinstance(got[0].object, dict)
    assert len(got[0].object["data"]) == 4_000_000


async def test_a_torn_line_is_not_an_event() -> None:
    with pytest.raises(Unreachable, match="inside a line"):
        _ = [
            e
            async for e in wire.events(
                _stream([b'{"type":"ADDED","object":{"metadata":{"name":"n"}}}\n{"type":"ADD']), CONFIG_MAP
            )
        ]


async def test_errors_in_the_stream() -> None:
    gone = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}
    with pytest.raises(Gone, match="too old"):
        _ = [e async for e in wire.events(_stream([json.dumps(gone).encode() + b"\n"]), CONFIG_MAP)]
    gone["object"] = {"code": 403, "message": "no"}
    with pytest.raises(Forbidden):
        _ = [e async for e in wire.events(_stream([json.dumps(gone).encode() + b"\n"]), CONFIG_MAP)]


async def test_a_captive_portal_is_not_a_watch() -> None:
    with pytest.raises(Unreachable, match="begins with '<html>'"):
        _ = [e async for e in wire.events(_stream([b"<html>\n"]), CONFIG_MAP)]


def test_a_page_without_items() -> None:
    page = wire.decode_page(b'{"metadata":{"resourceVersion":"5","continue":"t"},"items":null}', CONFIG_MAP)
    assert page == wire.Page((), "5", "t", CONFIG_MAP)


def test_response_of_a_review_needs_no_name() -> None:
    review = Kind("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", stored=False)
    assert wire.read_object(b'{"metadata": {}, "status": {"allowed": true}}', review) == {
        "metadata": {},
        "status": {"allowed": True},
    }
