"""The server keeps nothing of a request after its response.

`make bench-soak` tests the same with a million requests over sockets.
"""

import asyncio
import gc
import json
import sys
import time
import warnings

import pytest

from scorer.tests import zoo

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from sluicegate_scorer.profile import log_profile
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.settings import Limits, ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore")
ROW = {"columns": ["a", "b", "c"], "data": [[1.0, 2.0, 3.0]]}
BODIES = {
    "fast": ("/invocations", json.dumps({"dataframe_split": ROW}).encode(), 200),
    "several rows": (
        "/invocations",
        json.dumps({"dataframe_split": {**ROW, "data": [[1.0, 2.0, 3.0]] * 50}}).encode(),
        200,
    ),
    "general": ("/invocations", json.dumps({"dataframe_split": {**ROW, "data": [[None, 2.0, 3.0]]}}).encode(), 400),
    "wrong": ("/invocations", b'{"inputs": [', 400),
    "too large": ("/invocations", b" " * 20_000, 413),
    "infer": ("/v2/models/model/infer", b'{"inputs": []}', 400),
}
MANY = {"fast": 5000, "several rows": 1000, "general": 1000, "wrong": 1000, "too large": 1000, "infer": 1000}
SPARE = 1500
"""Number of memory blocks that may differ for other reasons: caches of regular expressions, of warnings and of imports.
"""


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak")
    next(zoo.sklearn(folder))
    path = folder / "linear"
    log_profile(*zoo.frame(), path)
    settings = ServerSettings(limits=Limits(workers=1, body=10_000))
    return build(path, mlflow.pyfunc.load_model(str(path)), settings, time.monotonic())


async def ask(application, path, body, status, method="POST"):
    headers = [(b"content-type", b"application/json"), (b"traceparent", b"00-%032x-%016x-01" % (hash(path) & 255, 1))]
    answered = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        answered.append(message.get("status"))

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    await application(scope, receive, send)
    assert answered[0] == status, (path, answered)


@pytest.mark.parametrize("kind", BODIES)
async def test_memory_stays_flat(application, kind, caplog):
    for logger in ("", "sluicegate_scorer", "mlflow"):  # pytest keeps log records
        caplog.set_level("CRITICAL", logger=logger)
    for _ in range(MANY[kind] // 10):
        await ask(application, *BODIES[kind])
    settled = await blocks(application)
    for _ in range(MANY[kind]):
        await ask(application, *BODIES[kind])
    for _ in range(20):
        grown = await blocks(application) - settled
        if grown < SPARE:
            break
        await asyncio.sleep(0.2)  # The thread that counts values in the profile's bins is still running.
    assert grown < SPARE


async def blocks(application):
    """Return the number of memory blocks in use.

    The request for metrics first counts the rows of the last second in the profile's bins.
    """
    await ask(application, "/metrics", b"", 200, "GET")
    gc.collect()
    return sys.getallocatedblocks()
