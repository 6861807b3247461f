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
    from sluicegate_scorer.server.answers import A_SECOND, Answers
    from sluicegate_scorer.server.asgi import TEXT, Answer
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.settings import Limits, ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore")
UID = "0b1fbd4e-7a5c-4f6e-9d57-3c8a5d2b9c10"
OK = Answer(200, b'{"predictions": [1]}')


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def scope(request_id: str = "") -> dict:
    return {"headers": [(b"x-request-id", request_id.encode())] if request_id else []}


def lines(answer: Answer) -> tuple[dict, list[dict]]:
    head, *rest = answer.body.decode().splitlines()
    return json.loads(head), [json.loads(each) for each in rest]


def keys(answers: Answers) -> list[str]:
    return [each["key"] for each in lines(answers.read(b""))[1]]


def asked(clock: Clock | None = None) -> Answers:
    made = Answers(UID, clock or Clock())
    made.read(b"keep=60")
    return made


def test_nothing_is_kept_before_somebody_asks():
    answers = Answers(UID)
    assert not answers.recording
    answers.read(b"")
    assert answers.recording


def test_it_stops_and_forgets_once_nobody_asks_any_more():
    clock = Clock()
    answers = asked(clock)
    answers.keep(scope(), b"{}", OK)
    clock.now += 59
    answers.keep(scope(), b"{}", OK)
    assert answers.recording
    clock.now += 2
    answers.keep(scope(), b"{}", OK)
    assert not answers.recording and keys(answers) == []


def test_nobody_makes_it_go_on_for_ever():
    clock = Clock()
    answers = Answers(UID, clock)
    for wanted in (b"keep=1e300", b"keep=nan", b"keep=-1", b"keep=x"):
        answers.read(wanted)
    clock.now += 1000
    answers.keep(scope(), b"{}", OK)
    assert not answers.recording


def test_two_servers_give_the_same_request_the_same_key():
    one, other = asked(), asked()
    one.keep(scope("a"), b"body", OK)
    other.keep(scope("a"), b"body", Answer(200, b'{"predictions": [2]}'))
    assert keys(one) == keys(other)
    for request_id, body in (("b", b"body"), ("a", b"other"), ("", b"body")):
        other.keep(scope(request_id), body, OK)
    assert len(set(keys(other))) == 4


def test_a_failed_request_is_kept_without_its_body_and_one_that_tells_nothing_is_not():
    answers = asked()
    answers.keep(scope(), b"1", Answer(500, b'{"error_code": "INTERNAL_ERROR"}', error="model"))
    answers.keep(scope(), b"2", Answer(429, b"{}", error="server"))
    answers.keep(scope(), b"4", Answer(429, b"{}", error="overload"))
    answers.keep(scope(), b"3", Answer(504, b"", error="timeout"))
    answers.keep(scope(), b"4", Answer(200, b"plain", TEXT))
    answers.keep(scope(), b"5", Answer(200, b"[" + b"1," * 20_000 + b"1]"))
    answers.keep(scope(), b"6" * (2 << 20), OK)
    assert [(each["status"], each["answer"]) for each in lines(answers.read(b""))[1]] == [(500, None)]


def test_a_line_is_an_answer_however_it_is_spelt():
    answers = asked()
    answers.keep(scope(), b"", Answer(200, b'{\r\n "predictions": ["a\\nb"]\n}\n'))
    assert lines(answers.read(b""))[1][0]["answer"] == {"predictions": ["a\nb"]}


def test_a_cursor_goes_on_and_one_of_another_process_starts_afresh():
    answers = asked()
    answers.keep(scope(), b"1", OK)
    head, first = lines(answers.read(b""))
    answers.keep(scope(), b"2", OK)
    _, second = lines(answers.read(b"since=" + head["next"].encode()))
    assert [len(first), len(second)] == [1, 1] and first != second
    for cursor in (
        head["next"].split("-")[0].encode().join([b"since=", b"-" + b"9" * 5000]),
        b"since=deadbeef-1",
        b"since=",
        b"since=-",
        b"since=1",
        b"since=%ff-%ff",
    ):
        assert len(lines(answers.read(cursor))[1]) == 2


def test_what_is_much_is_told_in_parts_and_what_fell_out_is_counted():
    clock = Clock()
    answers = Answers(UID, clock)
    answers.read(b"keep=900")
    large = Answer(200, b"[" + b"1," * 8000 + b"1]")
    for number in range(400):
        clock.now += 0.5
        answers.keep(scope(str(number)), b"", large)
    head, told = lines(answers.read(b""))
    assert head["more"] and head["lost"] > 0
    assert head["lost"] + 262 == 400  # The server keeps 4 MiB, and each prediction has 16 KiB.
    while head["more"]:
        head, more = lines(answers.read(b"since=" + head["next"].encode()))
        told += more
    assert len({each["key"] for each in told}) == len(told) == 262


def test_many_requests_are_sampled_and_the_sample_of_the_busier_server_is_part_of_the_others():
    clock = Clock()
    busy, calm = Answers(UID, clock), Answers(UID, clock)
    busy.read(b"keep=900"), calm.read(b"keep=900")
    for number in range(40_000):  # 2,000 requests per second, and every tenth of them on the calm server.
        clock.now += 0.0005
        busy.keep(scope(str(number)), b"", OK)
        if number % 10 == 0:
            calm.keep(scope(str(number)), b"", OK)
    assert busy.level > calm.level > 0
    ages = [each["age"] for each in lines(busy.read(b""))[1]]
    last_second = sum(age < 1 for age in ages)
    assert A_SECOND // 4 <= last_second <= 2 * A_SECOND
    both = set(keys(busy)) & set(keys(calm))
    threshold = (1 << 64) >> (busy.level + 1)
    common = [each["key"] for each in lines(calm.read(b""))[1] if each["age"] < 5]
    assert {each for each in common if int(each, 16) < threshold} <= both
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


async def test_to_everybody_else_the_path_does_not_exist(client):
    unknown = await client.get("/sluicegate/nothing")
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {UID}x"}, {"authorization": UID}):
        found = await client.get("/sluicegate/answers", headers=headers)
        assert (found.status_code, found.text) == (404, unknown.text)
    assert (await client.post("/sluicegate/answers", headers=BEARER)).status_code == 404


async def test_without_a_uid_nobody_may_read():
    for shown in (b"", b"Bearer ", b"Bearer None"):
        assert not Answers("").admits({"headers": [(b"authorization", shown)]})


async def test_answers_of_both_paths_and_both_protocols_are_told(client):
    async def read() -> list[dict]:
        found = await client.get("/sluicegate/answers", headers=BEARER)
        assert found.status_code == 200
        return [json.loads(each) for each in found.text.splitlines()[1:]]

    await client.post("/invocations", content=BODY, headers=JSON)
    assert await read() == []
    fast = await client.post("/invocations", content=BODY, headers={**JSON, "x-request-id": "fast"})
    general = await client.post(
        "/invocations", content=BODY, headers={"content-type": "application/json;charset=utf-8"}
    )
    tensors = [{"name": name, "shape": [1], "datatype": "FP64", "data": [1.5]} for name in "ab"]
    infer = await client.post("/v2/models/model/infer", json={"inputs": tensors})
    wrong = await client.post("/invocations", content=b"{}", headers=JSON)
    told = await read()
    sent = (fast, general, infer, wrong)
    assert [each["status"] for each in told] == [each.status_code for each in sent] == [200, 200, 200, 400]
    assert [each["answer"] for each in told] == [fast.json(), general.json(), infer.json(), None]
    assert all(0 <= each["age"] < 60 for each in told)


def test_a_real_server_loses_none_while_it_is_read(serving, model, monkeypatch):
    monkeypatch.setenv("SLUICEGATE_POD_UID", UID)
    cursor, told = "", []

    def post(number: int) -> int:
        return client.post("/invocations", content=BODY, headers={**JSON, "x-request-id": str(number)}).status_code

    def read() -> None:
        nonlocal cursor
        found = client.get("/sluicegate/answers", params={"since": cursor}, headers=BEARER).text.splitlines()
        cursor = json.loads(found[0])["next"]
        told.extend(json.loads(each)["key"] for each in found[1:])

    with serving(model) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        read()
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            futures = [threads.submit(post, number) for number in range(50)]
            while not all(each.done() for each in futures):
                read()
        read()
    assert {each.result() for each in futures} == {200}
    assert len(told) == len(set(told)) == 50
