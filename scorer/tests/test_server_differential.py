"""Differential tests of MLflow's own server and the scoring server.

Both servers get the same hundreds of valid, odd and hostile requests for each flavor. docs/guide/scoring.md lists what
may differ. Two switches control these differences, and the tests set both to MLflow's behavior.
"""

import json
import pathlib
import time
import warnings

import httpx
import pytest

from scorer.tests import zoo

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.pyfunc import scoring_server
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.settings import Limits, Policy, ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore")
REQUESTS = 480
"""Number of requests for each flavor, spread over its models."""
FAST = {
    "linear",
    "trees",
    "shares",
    "labels",
    "regressor",
    "classifier",
    "booster",
    "tensor",
    "named",
    "columns",
    "pair",
}
"""Models that take the fast path."""
FRAMED = {"frames", "labels", "params"}
"""Models whose frames are made without MLflow's parsing."""


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return lambda flavor: zoo.make(flavor, tmp_path_factory.mktemp(flavor))


def ours(path):
    settings = ServerSettings(policy=Policy(400, True), limits=Limits(workers=2), smoke_test=False)
    return build(pathlib.Path(path), mlflow.pyfunc.load_model(str(path)), settings, time.monotonic())


def theirs(path):
    return scoring_server.init(mlflow.pyfunc.load_model(str(path)))


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


def content(response):
    """Return the content of a response without the stack trace.

    A stack trace names the code that raised the error, so it differs.
    """
    try:
        fields = response.json()
    except ValueError:
        return response.content
    if not isinstance(fields, dict) or "stack_trace" not in fields:
        return response.content
    return {**fields, "stack_trace": bool(fields["stack_trace"])}


async def compare(ours, stock, request):
    headers = {"content-type": request.kind} if request.kind is not None else {}
    one = await ours.post("/invocations", content=request.body, headers=headers)
    other = await stock.post("/invocations", content=request.body, headers=headers)
    difference = f"{request.kind} {request.body[:600]!r}"
    assert one.status_code == other.status_code, difference
    assert one.headers["content-type"] == other.headers["content-type"], difference
    assert content(one) == content(other), difference
    assert ("x-sluicegate-error" in one.headers) == (one.status_code >= 400), difference
    return one.status_code


@pytest.mark.parametrize("flavor", zoo.FLAVORS)
async def test_responses_equal_those_of_mlflow(models, flavor):
    kept = models(flavor)
    for path, traffic in kept:
        app = ours(path)
        async with client(app) as mine, client(theirs(path)) as stock:
            statuses = [await compare(mine, stock, request) for request in traffic.requests(REQUESTS // len(kept))]
        # Check that the test compares predictions, not only errors.
        assert statuses.count(200) > len(statuses) / (4 if path.name in FAST else 12), (path, statuses)
        assert len(set(statuses)) > 2, (path, statuses)
        assert (app.metrics.paths["fast"] > 10) == (path.name in FAST), (path, app.metrics.paths)
        assert (app.general.frames is not None) == (path.name in FRAMED), path


async def test_concurrent_requests_get_the_same_responses(models):
    """Check that concurrent requests get the same responses.

    Batches of the fast path hold rows of requests that arrived together.
    """
    import asyncio

    for path, traffic in models("sklearn")[:2] + models("xgboost")[:1] + models("lightgbm")[:1] + models("onnx")[:1]:
        app = ours(path)
        requests = [traffic.valid() for _ in range(120)]
        async with client(app) as mine:

            async def ask(each, mine=mine):
                return await mine.post("/invocations", content=each.body, headers={"content-type": each.kind})

            together = await asyncio.gather(*map(ask, requests))
            alone = [await ask(request) for request in requests]
        assert [each.content for each in together] == [each.content for each in alone], path
        assert app.metrics.rows.counts[1:] != [0] * len(app.metrics.rows.counts[1:]), path


def test_traffic_covers_what_it_declares():
    """Check that JSON requests are valid, and the same for the same seed."""
    made = [zoo.Traffic(zoo.NUMBERS, "x").requests(300) for _ in range(2)]
    assert made[0] == made[1]
    assert {each.kind for each in made[0]} >= {"application/json", "text/csv", "application/vnd.apache.parquet"}
    valid = [zoo.Traffic(zoo.NUMBERS, f"seed {number}").valid() for number in range(100)]
    assert all(json.loads(each.body) for each in valid if each.kind == "application/json")
