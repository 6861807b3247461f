"""Reads of pods' recent predictions: parts, NaN, restarts and error messages."""

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from sluicegate.adapters.pods.http import MOST_BYTES, PodHttp
from sluicegate.adapters.pods.recent_predictions import Pod, PredictionReader, PredictionsUnavailable
from sluicegate.api.rollout import AnalysisMetric, AnalysisSpec
from sluicegate.core.analysis.measurement_data import Pairs
from sluicegate.core.analysis.run import AnalysisRun
from sluicegate.core.snapshot.facts import PodFacts
from sluicegate.runtime.analysis.pair_reader import PodPairs

POD = Pod("p-1", "10.0.0.1:8080", "uid-1")
Response = tuple[int, bytes]


class Request(NamedTuple):
    """A request to a pod."""

    url: str
    headers: Mapping[str, str]


Handler = Callable[[Request], Response]


def lines(*answers: str, cursor: str = "b-1", more: bool = False) -> Response:
    head = json.dumps({"next": cursor, "more": more, "lost": 0, "level": 0})
    return 200, ("\n".join([head, *answers]) + "\n").encode()


def line(key: str, answer: str, age: float = 1.0, status: int = 200) -> str:
    return f'{{"key": "{key}", "age": {age}, "status": {status}, "answer": {answer}}}'


class Here:
    """A reader of pods that respond with the result of a function."""

    def __init__(self) -> None:
        self.handler: Handler = lambda _: lines()
        self.asked: list[Request] = []
        self.reader = PredictionReader(PodHttp(self._answer))

    async def _answer(self, url: str, headers: Mapping[str, str]) -> Response:
        self.asked.append(Request(url, headers))
        return self.handler(self.asked[-1])

    async def trouble(self) -> str:
        with pytest.raises(PredictionsUnavailable) as found:
            await self.reader.read(POD, "", 60.0, 5.0)
        return str(found.value)


@pytest.fixture
def here() -> Here:
    return Here()


async def test_the_uid_is_shown_and_the_cursor_given(here: Here) -> None:
    here.handler = lambda _: lines(line("k", '{"predictions": [1]}', 2.5), cursor="b-9")
    pod = await here.reader.read(POD, "b-3", 61.0, 5.0)
    assert (pod.cursor, pod.predictions[0][0], pod.predictions[0][1]) == (
        "b-9",
        2.5,
        ("k", 200, {"predictions": [1]}),
    )
    (request,) = here.asked
    assert request.headers["Authorization"] == "Bearer uid-1"
    assert request.url == "http://10.0.0.1:8080/sluicegate/answers?since=b-3&keep=61"


async def test_all_parts_are_read(here: Here) -> None:
    def parts(request: Request) -> Response:
        number = int(parse_qs(urlsplit(request.url).query).get("since", [""])[0].partition("-")[2] or 0) + 1
        return lines(line(str(number), "[]"), cursor=f"b-{number}", more=number < 3)

    here.handler = parts
    pod = await here.reader.read(POD, "", 60.0, 5.0)
    assert (pod.cursor, [told.key for _, told in pod.predictions]) == ("b-3", ["1", "2", "3"])


async def test_one_that_never_ends_is_left_for_the_next_reading(here: Here) -> None:
    here.handler = lambda _: lines(line("k", "[]"), more=True)
    assert len((await here.reader.read(POD, "", 60.0, 5.0)).predictions) == 8


async def test_not_a_number_is_read_as_python_writes_it(here: Here) -> None:
    here.handler = lambda _: lines(line("k", '{"predictions": [NaN, -Infinity, 1]}'))
    body = (await here.reader.read(POD, "", 60.0, 5.0)).predictions[0][1].body["predictions"]
    assert math.isnan(body[0]) and body[1:] == [-math.inf, 1]


@pytest.mark.parametrize(
    ("response", "words"),
    [
        ((404, b""), "Pod p-1 does not report its predictions. Only the scoring server of the runtime mlflow"),
        ((405, b""), "does not report its predictions"),
        ((200, b"<html>"), "does not report its predictions"),
        ((200, b""), "does not report its predictions"),
        (lines("{", cursor="b-1"), "does not report its predictions"),
        (lines('{"key": 1}', cursor="b-1"), "does not report its predictions"),
        ((500, b""), "cannot be read at 10.0.0.1:8080: its /sluicegate/answers returned 500"),
        ((302, b""), "returned 302"),
        ((200, b"x" * (MOST_BYTES + 1)), "more than 4 MiB"),
    ],
)
async def test_what_is_wrong_is_a_sentence_without_the_uid(here: Here, response: Response, words: str) -> None:
    here.handler = lambda _: response
    said = await here.trouble()
    assert words in said and "uid-1" not in said


async def test_a_pod_that_is_gone_or_hangs_is_said(here: Here) -> None:
    def gone(_: Request) -> Response:
        raise OSError("refused")

    here.handler = gone
    assert "cannot be read at 10.0.0.1:8080: refused. Let the operator" in await here.trouble()

    async def hang(_: str, __: Mapping[str, str]) -> Response:
        await asyncio.sleep(60)
        return lines()

    with pytest.raises(PredictionsUnavailable, match=r"no response within 0\.05 s"):
        await PredictionReader(PodHttp(hang)).read(POD, "", 60.0, 0.05)


class Two:
    """The two revisions of a step. Each is a pod whose predictions the test sets."""

    def __init__(self, here: Here) -> None:
        self.responses: dict[str, Response] = {}
        here.handler = lambda request: self.responses.get(urlsplit(request.url).hostname or "", lines())
        metric = AnalysisMetric(name="d", type="Disagreement", limit=0.1)
        run = AnalysisRun(("shop", "m"), "t", "s", "2026-11-28T00:00:00Z", AnalysisSpec(metrics=(metric,)))
        self.pods = {
            each: [PodFacts(each, each, ready=True, deleting=False, address=f"{each}:1", uid=each)] for each in "ts"
        }
        self.pairs = PodPairs(run, lambda _, revision: self.pods[revision], here.reader)


async def test_answers_are_paired_over_readings(here: Here) -> None:
    two = Two(here)
    await two.pairs.begin()
    assert isinstance(await two.pairs.read(), str)
    two.responses = {"t": lines(line("a", "[1]", 0.0), line("b", "[2]", 0.0)), "s": lines(line("a", "[1]", 0.0))}
    assert (await two.pairs.read()) == Pairs(1, 0, 0.0, "", 0, {0.0: 0})
    two.responses = {"s": lines(line("b", "[2.5]", 0.0))}
    found = await two.pairs.read()
    assert isinstance(found, Pairs)
    assert (found.compared, found.differing, found.largest) == (2, 1, 0.5)


async def test_what_is_older_than_the_step_is_left_out(here: Here) -> None:
    two = Two(here)
    await two.pairs.begin()
    two.responses = {each: lines(line("a", "[1]", age=3600.0)) for each in "ts"}
    assert isinstance(await two.pairs.read(), str)


async def test_a_side_that_cannot_be_read_is_said_and_never_passes(here: Here) -> None:
    two = Two(here)
    await two.pairs.begin()
    two.responses = {"s": (404, b"")}
    assert "Pod s does not report its predictions" in str(await two.pairs.read())
    two.pods["t"] = []
    assert "has no ready pod" in str(await two.pairs.read())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lines(line("k", '"' + "x" * 40_000 + '"')), "more than 32 KiB"),
        (lines(cursor="c" * 200), "does not report its predictions"),
        (lines(line("k" * 200, "1")), "does not report its predictions"),
        (lines(*(line("k", '"' + "x" * 30_000 + '"') for _ in range(100)), more=True), "larger than 8 MiB"),
        (lines(line("k", "[" * 20_000)), "does not report its predictions"),
        ((200, b"\xff\xfe"), "does not report its predictions"),
    ],
)
async def test_what_a_pod_tells_is_bounded(answer: Response, says: str) -> None:
    here = Here()
    here.handler = lambda _: answer
    assert says in await here.trouble()
