"""Undecodable objects in lists, relists and watches.

The content of one object must not affect the others.
"""

import asyncio
import contextlib
import copy
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sluicegate.kube import wire
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import TooLong, Undecodable
from sluicegate.kube.informer import Informer, InformerOptions, InformerTimings
from sluicegate.kube.kinds import CONTROLLER_REVISION, MODEL_DEPLOYMENT
from sluicegate.kube.transport import Request, Transport
from sluicegate.kube.wire import Object

from tests.support.hostile_objects import UNNAMED, VALUES, WAYS, bad, good

KIND = CONTROLLER_REVISION
NAMES = st.sampled_from("abc")
WAY = st.none() | st.sampled_from(WAYS)
"""None stands for a good object."""
GONE = b'{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}'


def made(name: str, way: str | None, version: int) -> bytes:
    return good(name, version) if way is None else bad(way, name, version, KIND)


class Script:
    """A transport that responds to lists and watches with the given bytes.

    The watch after the last one stays silent.
    """

    date = (None, 0.0)

    def __init__(self, lists: Sequence[bytes], watches: Sequence[bytes]) -> None:
        self.lists = list(lists)
        self.watches = list(watches)
        self.positions: list[str] = []
        self.done = asyncio.Event()

    async def send(self, request: Request, at_most: int | None = None) -> bytes:
        return self.lists.pop(0)

    @contextlib.asynccontextmanager
    async def stream(self, request: Request, seconds: float) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        self.positions.append(request.query["resourceVersion"])

        async def chunks() -> AsyncGenerator[bytes, None]:
            if self.watches:
                yield self.watches.pop(0)
            else:
                self.done.set()
                await asyncio.sleep(3600)

        yield chunks()


def listing(version: int, objects: Sequence[bytes]) -> bytes:
    return b'{"kind":"List","metadata":{"resourceVersion":"%d"},"items":[%s]}' % (version, b",".join(objects))


def only_numbers(raw: Object) -> int:
    if not isinstance(raw["value"], int):
        raise TypeError("no number")
    return raw["value"]


async def follow(script: Script) -> Informer[int]:
    """Run an informer to the end of the script."""
    timings = InformerTimings(watch=60, relist=600, backoff_base=0, backoff_max=0)
    options = InformerOptions[int](only_numbers, lambda _: None, time.monotonic, timings=timings)
    informer = Informer(KubeClient(cast(Transport, script)), KIND, options)
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(10):
        await script.done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return informer


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(NAMES, WAY),
    st.lists(st.tuples(NAMES, st.sampled_from(["MODIFIED", "DELETED"]), WAY), max_size=8),
    st.none() | st.dictionaries(NAMES, WAY),
    st.lists(st.sampled_from(UNNAMED), max_size=2),
)
async def test_lists_and_watches_pass_over_what_they_cannot_read(
    first: dict[str, str | None],
    events: list[tuple[str, str, str | None]],
    second: dict[str, str | None] | None,
    unnamed: list[bytes],
) -> None:
    known = {name: 10 for name, way in first.items() if way is None}
    lists = [listing(20, [*unnamed, *(made(name, way, 10) for name, way in first.items())])]
    stream, position = b"", 20
    for version, (name, what, way) in enumerate(events, 30):
        stream += b'{"type":"%s","object":%s}\n' % (what.encode(), made(name, way, version))
        known.pop(name, None)
        if way is None and what != "DELETED":
            known[name] = version
        if way not in ("version", "digits"):
            position = version
    if second is not None:
        stream += GONE + b"\n"
        known, position = {name: 50 for name, way in second.items() if way is None}, 60
        lists.append(listing(60, [*(made(name, way, 50) for name, way in second.items()), *unnamed]))
    script = Script(lists, [stream])
    informer = await follow(script)
    assert {name: value for (_, name), value in informer.items()} == known
    assert script.positions[-1] == str(position), "the position moves past undecodable objects"
    if second is not None:
        assert len(informer.skipped) == sum(way is not None for way in second.values()) + bool(unnamed)


async def test_each_undecodable_object_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    hostile = [bad("deep object", "x", 5, KIND), good("y", 6)]
    touched = b'{"type":"MODIFIED","object":%s}\n' % bad("deep object", "x", 25, KIND)
    script = Script([listing(20, hostile), listing(30, hostile)], [touched + GONE + b"\n"])
    informer = await follow(script)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == [
        "ControllerRevision n/x cannot be read: it is nested more than 128 levels deep. The operator skips it."
    ]
    assert len(informer.skipped) == 1


@pytest.mark.parametrize("way", [way for way in WAYS if way != "transform"])
@pytest.mark.parametrize("kind", [MODEL_DEPLOYMENT, CONTROLLER_REVISION])
def test_an_undecodable_object_keeps_its_name(way: str, kind: Any) -> None:
    found = wire.read_object(bad(way, "x", 7, kind), kind)
    assert isinstance(found, Undecodable)
    assert (found.key, found.uid) == (("n", "x"), "uid-x")
    assert found.version == (0 if way in ("version", "digits") else 7)
    assert len(str(found)) < 400


def test_a_name_cannot_be_forged() -> None:
    forged = json.dumps({"name": "victim", "namespace": "v", "resourceVersion": "1", "uid": "u"})
    deep = VALUES["deep object"]
    text = f'{{"spec":{{"metadata":{forged}}},"metadata":{{"labels":{forged},"managedFields":[{deep}],"name":"x"}}}}'
    found = wire.read_object(text.encode(), KIND)
    assert isinstance(found, Undecodable)
    assert found.key == ("", "x")


def test_the_limits_are_exact() -> None:
    for kind, limits in ((MODEL_DEPLOYMENT, wire.USER), (CONTROLLER_REVISION, wire.CHILD)):
        for over in (0, 1):
            levels = limits.depth - 1 + over
            deep = b'{"metadata":{"name":"x"},"a":' + b"[" * levels + b"]" * levels + b"}"
            start = b'{"metadata":{"name":"x"},"a":"'
            large = start + b"x" * (limits.size + over - len(start) - 2) + b'"}'
            for text in (deep, large):
                assert isinstance(wire.read_object(text, kind), Undecodable) == bool(over)


def recursing(value: Any) -> None:
    """Run the code with the deepest recursion on decoded objects."""
    copy.deepcopy(value)
    json.dumps(value)
    assert wire.decode(msgspec.json.encode(value), wire.Object) == value
    yaml.safe_load(yaml.safe_dump(value))


@pytest.mark.parametrize("limits", [wire.USER, wire.CHILD])
def test_what_is_decoded_can_be_processed_deep_in_a_stack(limits: wire.Limits) -> None:
    value: Any = 1
    for _ in range(limits.depth):
        value = {"a": value}

    def below(frames: int) -> None:
        if frames:
            below(frames - 1)
        else:
            recursing(value)

    below(100)


async def test_a_page_too_long_to_read_is_asked_for_in_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluicegate.kube.client.PAGE_BYTES", 1000)
    objects = [json.dumps({"metadata": {"name": f"o{n}"}, "x": "y" * 300}).encode() for n in range(8)]

    class Paged(Script):
        asked: list[dict[str, str]] = []

        async def send(self, request: Request, at_most: int | None = None) -> bytes:
            query = dict(request.query)
            self.asked.append(query)
            start = int(query.get("continue", 0))
            limit = len(objects) if "resourceVersion" in query else int(query["limit"])
            more = b',"continue":"%d"' % (start + limit) if start + limit < len(objects) else b""
            body = b'{"metadata":{"resourceVersion":"9"%s},"items":[%s]}'
            body %= (more, b",".join(objects[start : start + limit]))
            if at_most is not None and len(body) > at_most:
                raise TooLong("long")
            return body

    client = KubeClient(cast(Transport, Paged([], [])))
    found = await client.list(KIND, resource_version="0", limit=8)
    assert [item["metadata"]["name"] for item in found.items] == [f"o{n}" for n in range(8)]
    assert [each["limit"] for each in Paged.asked] == ["8", "8", *["2"] * 4]
