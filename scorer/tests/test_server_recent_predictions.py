"""Recent predictions: kept per request, within bounds and for a short time.

The server returns them only to a client that knows the pod's UID.
"""

import concurrent.futures
import json
import time
import warnings

import httpx
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import infer_signature
    from sluicegate_scorer.server.asgi import TEXT, Response
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.recent_predictions import PER_SECOND, RecentPredictions
    from sluicegate_scorer.server.settings import Limits, ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore")
UID = "0b1fbd4e-7a5c-4f6e-9d57-3c8a5d2b9c10"
OK = Response(200, b'{"predictions": [1]}')


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def scope(request_id: str = "") -> dict:
    return {"headers": [(b"x-request-id", request_id.encode())] if request_id else []}


def lines(response: Response) -> tuple[dict, list[dict]]:
    head, *rest = response.body.decode().splitlines()
    return json.loads(head), [json.loads(line) for line in rest]


def keys(recent: RecentPredictions) -> list[str]:
    return [line["key"] for line in lines(recent.read(b""))[1]]


def recording(clock: Clock | None = None) -> RecentPredictions:
    recent = RecentPredictions(UID, clock or Clock())
    recent.read(b"keep=60")
    return recent


def test_keeps_nothing_before_the_first_read():
    recent = RecentPredictions(UID)
    assert not recent.recording
    recent.read(b"")
    assert recent.recording


def test_stops_and_forgets_after_the_last_read():
    clock = Clock()
    recent = recording(clock)
    recent.keep(scope(), b"{}", OK)
    clock.now += 59
    recent.keep(scope(), b"{}", OK)
    assert recent.recording
    clock.now += 2
    recent.keep(scope(), b"{}", OK)
    assert not recent.recording and keys(recent) == []


def test_limits_the_time_of_recording():
    clock = Clock()
    recent = RecentPredictions(UID, clock)
    for query in (b"keep=1e300", b"keep=nan", b"keep=-1", b"keep=x"):
        recent.read(query)
    clock.now += 1000
    recent.keep(scope(), b"{}", OK)
    assert not recent.recording


def test_two_servers_give_a_request_the_same_key():
    one, other = recording(), recording()
    one.keep(scope("a"), b"body", OK)
    other.keep(scope("a"), b"body", Response(200, b'{"predictions": [2]}'))
    assert keys(one) == keys(other)
    for request_id, body in (("b", b"body"), ("a", b"other"), ("", b"body")):
        other.keep(scope(request_id), body, OK)
    assert len(set(keys(other))) == 4


def test_keeps_model_failures_without_body():
    recent = recording()
    recent.keep(scope(), b"1", Response(500, b'{"error_code": "INTERNAL_ERROR"}', error="model"))
    recent.keep(scope(), b"2", Response(429, b"{}", error="server"))
    recent.keep(scope(), b"4", Response(429, b"{}", error="overload"))
    recent.keep(scope(), b"3", Response(504, b"", error="timeout"))
    recent.keep(scope(), b"4", Response(200, b"plain", TEXT))
    recent.keep(scope(), b"5", Response(200, b"[" + b"1," * 20_000 + b"1]"))
    recent.keep(scope(), b"6" * (2 << 20), OK)
    assert [(line["status"], line["answer"]) for line in lines(recent.read(b""))[1]] == [(500, None)]


def test_line_is_valid_json_with_any_whitespace():
    recent = recording()
    recent.keep(scope(), b"", Response(200, b'{\r\n "predictions": ["a\\nb"]\n}\n'))
    assert lines(recent.read(b""))[1][0]["answer"] == {"predictions": ["a\nb"]}


def test_cursor_of_another_process_starts_over():
    recent = recording()
    recent.keep(scope(), b"1", OK)
    head, first = lines(recent.read(b""))
    recent.keep(scope(), b"2", OK)
    _, second = lines(recent.read(b"since=" + head["next"].encode()))
    assert [len(first), len(second)] == [1, 1] and first != second
    for cursor in (
        head["next"].split("-")[0].encode().join([b"since=", b"-" + b"9" * 5000]),
        b"since=deadbeef-1",
        b"since=",
        b"since=-",
        b"since=1",
        b"since=%ff-%ff",
    ):
        assert len(lines(recent.read(cursor))[1]) == 2


def test_reads_in_parts_and_counts_what_was_lost():
    clock = Clock()
    recent = RecentPredictions(UID, clock)
    recent.read(b"keep=900")
    large = Response(200, b"[" + b"1," * 8000 + b"1]")
    for number in range(400):
        clock.now += 0.5
        recent.keep(scope(str(number)), b"", large)
    head, predictions = lines(recent.read(b""))
    assert head["more"] and head["lost"] > 0
    assert head["lost"] + 262 == 400  # The server keeps 4 MiB, and each prediction has 16 KiB.
    while head["more"]:
        head, more = lines(recent.read(b"since=" + head["next"].encode()))
        predictions += more
    assert len({line["key"] for line in predictions}) == len(predictions) == 262


def test_sample_of_a_busy_server_is_part_of_the_larger_one():
    clock = Clock()
    busy, calm = RecentPredictions(UID, clock), RecentPredictions(UID, clock)
    busy.read(b"keep=900"), calm.read(b"keep=900")
    for number in range(40_000):  # 2,000 requests per second, and every tenth of them on the calm server.
        clock.now += 0.0005
        busy.keep(scope(str(number)), b"", OK)
        if number % 10 == 0:
            calm.keep(scope(str(number)), b"", OK)
    assert busy.level > calm.level > 0
    ages = [line["age"] for line in lines(busy.read(b""))[1]]
    last_second = sum(age < 1 for age in ages)
    assert PER_SECOND // 4 <= last_second <= 2 * PER_SECOND
    both = set(keys(busy)) & set(keys(calm))
    threshold = (1 << 64) >> (busy.level + 1)
    common = [line["key"] for line in lines(calm.read(b""))[1] if line["age"] < 5]
    assert {key for key in common if int(key, 16) < threshold} <= both
    for _ in range(40):  # The load ends.
        clock.now += 1.0
        busy.keep(scope("quiet"), b"", OK)
    assert busy.level == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Save a model with MLflow, with a signature that has a fast path."""
    folder = tmp_path_factory.mktemp("answers") / "model"
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.5, 0.0, -0.5]})
    fitted = LinearRegression().fit(frame, frame.a)
    signature = infer_signature(frame, fitted.predict(frame))
    mlflow.sklearn.save_model(
        fitted,
        str(folder),
        signature=signature,
        input_example=frame.head(2),
        pip_requirements=["mlflow"],
        serialization_format="cloudpickle",
    )
    return folder


@pytest.fixture(scope="module")
def loaded(model):
    return mlflow.pyfunc.load_model(str(model))


@pytest.fixture
def client(model, loaded):
    app = build(model, loaded, ServerSettings(limits=Limits(workers=2), pod_uid=UID), time.monotonic())
    assert app._batcher is not None  # Without a batcher, the test would cover only one of the two paths.
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


BEARER = {"authorization": f"Bearer {UID}"}
JSON = {"content-type": "application/json"}
BODY = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, 2.5]]}}'


async def test_path_does_not_exist_for_other_clients(client):
    unknown = await client.get("/sluicegate/nothing")
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {UID}x"}, {"authorization": UID}):
        response = await client.get("/sluicegate/answers", headers=headers)
        assert (response.status_code, response.text) == (404, unknown.text)
    assert (await client.post("/sluicegate/answers", headers=BEARER)).status_code == 404


async def test_refuses_reads_without_a_uid():
    for credentials in (b"", b"Bearer ", b"Bearer None"):
        assert not RecentPredictions("").admits({"headers": [(b"authorization", credentials)]})


async def test_keeps_predictions_of_both_paths_and_protocols(client):
    async def read() -> list[dict]:
        response = await client.get("/sluicegate/answers", headers=BEARER)
        assert response.status_code == 200
        return [json.loads(line) for line in response.text.splitlines()[1:]]

    await client.post("/invocations", content=BODY, headers=JSON)
    assert await read() == []
    fast = await client.post("/invocations", content=BODY, headers={**JSON, "x-request-id": "fast"})
    general = await client.post(
        "/invocations", content=BODY, headers={"content-type": "application/json;charset=utf-8"}
    )
    tensors = [{"name": name, "shape": [1], "datatype": "FP64", "data": [1.5]} for name in "ab"]
    infer = await client.post("/v2/models/model/infer", json={"inputs": tensors})
    wrong = await client.post("/invocations", content=b"{}", headers=JSON)
    predictions = await read()
    sent = (fast, general, infer, wrong)
    assert (
        [line["status"] for line in predictions] == [response.status_code for response in sent] == [200, 200, 200, 400]
    )
    assert [line["answer"] for line in predictions] == [fast.json(), general.json(), infer.json(), None]
    assert all(0 <= line["age"] < 60 for line in predictions)


def test_real_server_loses_no_prediction_between_reads(serving, model, monkeypatch):
    monkeypatch.setenv("SLUICEGATE_POD_UID", UID)
    cursor, predictions = "", []

    def post(number: int) -> int:
        return client.post("/invocations", content=BODY, headers={**JSON, "x-request-id": str(number)}).status_code

    def read() -> None:
        nonlocal cursor
        response = client.get("/sluicegate/answers", params={"since": cursor}, headers=BEARER).text.splitlines()
        cursor = json.loads(response[0])["next"]
        predictions.extend(json.loads(line)["key"] for line in response[1:])

    with serving(model) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        read()
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            futures = [threads.submit(post, number) for number in range(50)]
            while not all(future.done() for future in futures):
                read()
        read()
    assert {future.result() for future in futures} == {200}
    assert len(predictions) == len(set(predictions)) == 50
