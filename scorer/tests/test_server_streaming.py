"""Streams of chat models and agents, read by OpenAI's own client.

The clients use real sockets. Limits and failures are tested on the application.
"""

import asyncio
import contextlib
import json
import pathlib
import socket
import threading
import time
import warnings

import httpx
import openai
import pytest
import uvicorn

from scorer.tests.streaming_models import CLOSED, MODELS, PRODUCED

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.pyfunc import PythonModel
    from sluicegate_scorer import cli, requirements, serve
    from sluicegate_scorer.serve import Settings, configure
    from sluicegate_scorer.server import openai_requests, streaming
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.settings import Limits, Logs, ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore")
REQUIREMENTS = {"pip_requirements": ["mlflow"]}


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Return a function that makes the application of a model."""
    folder = tmp_path_factory.mktemp("streaming")
    mlflow.tracing.disable()  # agents would trace every request into a database
    loaded = {}

    def load(name, limits=None, **settings):
        if name not in loaded:
            mlflow.pyfunc.save_model(str(folder / name), python_model=MODELS[name](), **REQUIREMENTS)
        loaded[name] = mlflow.pyfunc.load_model(str(folder / name))
        limits = limits or Limits(workers=4, seconds=10.0)
        settings = ServerSettings(limits=limits, smoke_test=False, **settings)
        return build(folder / name, loaded[name], settings, time.monotonic())

    yield load
    mlflow.tracing.reset()


@contextlib.contextmanager
def listening(app):
    """Serve an application on a socket, from a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = configure(app, Settings("127.0.0.1", 0, 0.0, 5.0))
        config.loop = "asyncio"
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def chat(load):
    app = load("chat")
    with listening(app) as url:
        yield app, url


@pytest.fixture
def asked(chat):
    """Return a function that sends a message to the chat model by OpenAI's client."""
    with openai.OpenAI(base_url=f"{chat[1]}/v1", api_key="none", max_retries=0, timeout=20) as client:
        yield lambda text, **options: client.chat.completions.create(
            model="any", messages=[{"role": "user", "content": text}], **options
        )


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def metric(app, line):
    """Return the value of a series."""
    lines = (text.rpartition(" ") for text in app.metrics.text().decode().splitlines())
    return next(float(value) for series, _, value in lines if series == f"sluicegate_scorer_{line}")


def texts(stream):
    return [event.choices[0].delta.content for event in stream]


def body(text, **fields):
    return {"messages": [{"role": "user", "content": text}], "stream": True, **fields}


def in_process(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


def events(response):
    """Return the events of a stream, the last of which is `[DONE]`."""
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *parts, end = response.text.split("\n\n")
    assert end == "" and parts[-1] == "data: [DONE]"
    return [json.loads(part.removeprefix("event: error\n").removeprefix("data: ")) for part in parts[:-1]]


def test_openai_client_reads_chat_completions(asked):
    whole = asked("hello", temperature=0, max_completion_tokens=5, stop="x")
    assert whole.choices[0].message.content == "hello 0.0 5 ['x']"
    assert texts(asked("one two three", stream=True, stream_options={"include_usage": True})) == ["one", "two", "three"]
    assert texts(asked([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}], stream=True)) == [
        "one",
        "two",
    ]


def test_openai_client_gets_an_event_before_the_stream_ends(asked):
    CLOSED.clear()
    stream = iter(asked("one wait two", stream=True))
    assert next(stream).choices[0].delta.content == "one"
    assert not CLOSED.is_set()
    assert texts(stream) == ["two"]


def test_openai_client_reads_responses(load):
    with listening(load("agent")) as url:
        for base in (url, f"{url}/v1"):
            with openai.OpenAI(base_url=base, api_key="none", max_retries=0, timeout=20) as client:
                whole = client.responses.create(model="any", input="hello", instructions="be short")
                assert whole.output_text == "system:be short user:hello"
                stream = list(client.responses.create(model="any", input="one two", stream=True))
                assert [event.delta for event in stream[:-1]] == ["one", "two"]
                assert stream[-1].item.content[0].text == "one two"


def test_failure_before_the_first_event_is_a_response(chat, asked):
    for text, status, error in (
        ("fail", 500, "model"),
        ("exit", 500, "model"),
        ("refuse", 400, "client"),
    ):
        with pytest.raises(openai.APIStatusError) as failure:
            asked(text, stream=True)
        assert failure.value.status_code == status
        assert failure.value.response.headers["x-sluicegate-error"] == error
        assert failure.value.response.headers["content-type"] == "application/json"
        assert "secret" not in failure.value.response.text


def test_failure_after_the_first_event_is_an_event(chat, asked):
    app, _ = chat
    counted = 'requests_total{endpoint="chat_completions",code="200",error_class="%s"}'
    before = metric(app, 'streams_total{end="error"}')
    for text, error, code in (("one fail", "model", "INTERNAL_ERROR"), ("one exit", "model", "INTERNAL_ERROR")):
        stream = iter(asked(text, stream=True))
        assert next(stream).choices[0].delta.content == "one"
        with pytest.raises(openai.APIError, match="unexpected error while evaluating the model") as failure:
            next(stream)
        assert (failure.value.body["type"], failure.value.body["code"]) == (error, code)
        assert "secret" not in str(failure.value.body)
    until(lambda: metric(app, counted % "model") == 2)
    assert metric(app, 'streams_total{end="error"}') == before + 2


def test_client_that_disconnects_stops_the_model(chat, asked):
    app, _ = chat
    before = metric(app, 'streams_total{end="client"}')
    CLOSED.clear()
    with asked("endless", stream=True) as stream:
        next(iter(stream))
        assert metric(app, "open_streams") == 1
    assert CLOSED.wait(5)
    until(lambda: app._workers.running == 0)
    until(lambda: metric(app, 'streams_total{end="client"}') == before + 1)
    assert (metric(app, "open_streams"), metric(app, "overrun_requests")) == (0, 0)


def test_slow_client_slows_down_the_model(chat):
    _, url = chat
    host, port = url.removeprefix("http://").split(":")
    request = json.dumps(body("endless")).encode()
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    CLOSED.clear()
    PRODUCED[0] = 0
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.connect((host, int(port)))
        client.sendall(head % len(request) + request)
        until(lambda: PRODUCED[0] > 0)
        seen = -1
        while seen != PRODUCED[0]:
            seen = PRODUCED[0]
            time.sleep(0.3)
        assert 0 < seen < 500
        assert not CLOSED.is_set()
    assert CLOSED.wait(5)


async def test_counts_events_and_their_times(load):
    app = load("chat")
    async with in_process(app) as client:
        response = await client.post("/invocations", json=body("one wait two three"))
    assert [event["choices"][0]["delta"]["content"] for event in events(response)] == ["one", "two", "three"]
    assert response.headers["cache-control"] == "no-cache"
    assert metric(app, 'requests_total{endpoint="invocations",code="200",error_class=""}') == 1
    assert metric(app, 'path_requests_total{path="general"}') == 1
    assert metric(app, "stream_first_event_seconds_count") == 1
    # The latency of a stream is the time to its first event.
    assert metric(app, "request_duration_seconds_sum") == metric(app, "stream_first_event_seconds_sum") < 1.0
    assert metric(app, "stream_event_interval_seconds_count") == 2
    assert 1.0 <= metric(app, "stream_event_interval_seconds_sum") < 5.0


async def test_streams_of_other_models(load):
    async with in_process(load("old_agent")) as client:
        response = await client.post("/invocations", json=body("one two"))
        assert [event["delta"]["content"] for event in events(response)] == ["one", "two"]
        assert (await client.post("/invocations", json=body("x", stream=False))).json()["messages"][0]["id"] == "1"
        assert (await client.post("/v1/chat/completions", json=body("x"))).status_code == 404
    async with in_process(load("plain")) as client:
        for data in ({"messages": []}, {"inputs": [1.0]}, {"dataframe_records": [{"a": 1}]}):
            response = await client.post("/invocations", json={**data, "stream": True})
            text, number, dataclass, pydantic, failure = events(response)
            assert (text, number) == ("text\n\nwith lines", {"number": 0.5})
            assert dataclass["choices"][0]["delta"]["content"] == "a dataclass"
            assert pydantic == {"role": "user", "content": "pydantic", "id": "1"}
            assert failure == {"error": {"message": "Internal Server Error", "type": "model", "code": "INTERNAL_ERROR"}}
        for request in ({"inputs": [1.0]}, {"inputs": [1.0], "stream": "true"}, {"inputs": {"stream": True}}):
            assert (await client.post("/invocations", json=request)).json() == {"predictions": ["complete"]}


async def test_model_without_predict_stream_responds_at_once(load):
    async with in_process(load("mute")) as client:
        response = await client.post("/invocations", json=body("x"))
        assert response.json()["choices"][0]["message"]["content"] == "no"
        response = await client.post("/v1/chat/completions", json=body("x"))
        assert (response.status_code, response.headers["x-sluicegate-error"]) == (400, "client")
        assert "does not implement predict_stream" in response.json()["message"]
        assert (await client.post("/v1/chat/completions", json=body("x", stream=False))).status_code == 200


@pytest.mark.parametrize(
    ("name", "request_body"),
    [
        ("chat", {"messages": [{"role": "user"}]}),
        ("agent", {"input": [{"role": "nobody", "content": "x"}]}),
        ("agent", {"input": [{"type": "message"}]}),
        ("old_agent", {"messages": [{"role": "user"}]}),
    ],
)
async def test_request_without_the_schema_is_the_clients_error(load, name, request_body):
    async with in_process(load(name)) as client:
        for stream in (False, True):
            response = await client.post("/invocations", json={**request_body, "stream": stream})
            assert (response.status_code, response.headers.get("x-sluicegate-error")) == (400, "client")


async def test_limits_the_time_without_an_event(load, monkeypatch):
    monkeypatch.setattr(streaming, "COMMENT_SECONDS", 0.1)
    app = load("chat", Limits(workers=2, seconds=10, stream_idle=0.6))
    async with in_process(app) as client:
        late = await client.post("/invocations", json=body("wait one"))
        assert (late.status_code, late.headers["x-sluicegate-error"]) == (504, "timeout")
        assert metric(app, "overrun_requests") == 1
        silent = await client.post("/invocations", json=body("one wait two"))
        first, comment, *_, failure, done, _ = silent.text.split("\n\n")
        assert '"one"' in first and comment.startswith(":") and done == "data: [DONE]"
        assert failure.startswith("event: error\ndata: {") and '"type": "timeout"' in failure
        assert metric(app, 'requests_total{endpoint="invocations",code="200",error_class="timeout"}') == 1
        async with asyncio.timeout(5):
            while app._workers.running:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert metric(app, "overrun_requests") == 0


async def test_total_time_of_a_stream_has_no_limit(load):
    app = load("chat", Limits(workers=1, seconds=1.0))
    async with in_process(app) as client:
        response = await client.post("/invocations", json=body("one nap two nap three nap four"))
    assert len(events(response)) == 4


async def test_stream_without_a_free_thread_is_refused(load):
    app = load("chat", Limits(workers=1, seconds=1.0))
    async with in_process(app) as client:
        first = asyncio.create_task(client.post("/invocations", json=body("one nap two nap three nap four nap five")))
        await asyncio.sleep(0.1)
        refused = await client.post("/invocations", json=body("one"))
        assert (refused.status_code, refused.headers["x-sluicegate-error"]) == (429, "overload")
        assert len(events(await first)) == 5
        assert len(events(await client.post("/invocations", json=body("one")))) == 1


async def test_logs_streams_and_keeps_no_recent_prediction(load, capsys):
    app = load("chat", logs=Logs(access=True, payloads=1.0), pod_uid="uid")
    app.recent.read(b"keep=60")
    async with in_process(app) as client:
        response = await client.post("/invocations", json=body("one two"), headers={"x-request-id": "7"})
        await client.post("/invocations", json=body("one fail"))
        await client.post("/invocations", json=body("fail"))
    assert response.headers["x-request-id"] == "7"
    access, payload, failed, _, early, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert (access["log"], access["status"], access["stream_end"], access["events"]) == ("access", 200, "complete", 2)
    assert access["response_bytes"] == len(response.content) and access["x-request-id"] == "7"
    assert payload["response"] == response.text
    assert (failed["status"], failed["error_class"], failed["stream_end"]) == (200, "model", "error")
    assert (early["status"], early["error_class"]) == (500, "model")
    kept = app.recent.read(b"").body.splitlines()[1:]
    assert [json.loads(line)["status"] for line in kept] == [500]


async def call(app, request, send, left):
    """Send a request to an application whose client disconnects when `left` is set."""
    messages = [{"type": "http.request", "body": json.dumps(request).encode()}]

    async def receive():
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers, "query_string": b""}
    await app(scope, receive, send)


async def test_client_that_leaves_the_queue_costs_no_prediction(load):
    app = load("chat", Limits(workers=1, seconds=5))
    sent, left = [], asyncio.Event()

    async def send(message):
        sent.append(message)

    async with in_process(app) as client:
        first = asyncio.create_task(client.post("/invocations", json=body("one wait two")))
        await asyncio.sleep(0.1)
        CLOSED.clear()
        waiting = asyncio.create_task(call(app, body("two"), send, left))
        await asyncio.sleep(0.1)
        assert metric(app, "open_streams") == 2
        left.set()
        await waiting
        assert (sent, metric(app, "open_streams")) == ([], 1)
        assert len(events(await first)) == 2
        assert len(events(await client.post("/invocations", json=body("three")))) == 1
    assert metric(app, "stream_first_event_seconds_count") == 2


async def test_client_that_reads_nothing_frees_the_thread(load):
    app = load("chat", Limits(workers=1, seconds=5, stream_idle=0.2))
    sent = []

    async def send(message):
        sent.append(message["type"])
        if len(sent) == 3:
            await asyncio.Event().wait()

    CLOSED.clear()
    await call(app, body("endless"), send, asyncio.Event())
    assert await asyncio.to_thread(CLOSED.wait, 5)
    assert sent == ["http.response.start", "http.response.body", "http.response.body"]
    assert metric(app, 'streams_total{end="client"}') == 1
    assert metric(app, "open_streams") == 0


@pytest.mark.parametrize(
    ("endpoint", "text", "stream"),
    [
        ("invocations", '{"messages": [], "stream": true}', True),
        ("invocations", '{"messages": [], "stream": 1}', False),
        ("invocations", '{"messages": [], "stream": "true"}', False),
        ("invocations", '{"messages": [{"stream": true}]}', False),
        ("invocations", '[{"stream": true}]', False),
        ("invocations", '{"stream": true', False),
        ("chat_completions", "[" * 100_000 + '"stream"', False),
        ("chat_completions", '{"messages": {"a": 1}, "stream": true}', True),
        ("responses", '{"input": {"a": 1}, "instructions": 5}', False),
    ],
)
def test_reads_whether_a_request_asks_for_a_stream(endpoint, text, stream):
    parsed = openai_requests.parse(endpoint, text.encode())
    assert parsed.stream == stream
    with contextlib.suppress(ValueError, RecursionError):
        assert json.loads(parsed.body) == json.loads(text)


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [([], (7.5, 32)), (["--stream-idle", "3", "--workers", "1"], (3, 1))],
)
def test_variables_replace_flags(monkeypatch, tmp_path, arguments, limits):
    got = []
    monkeypatch.setattr(serve, "check", lambda directory: None)
    monkeypatch.setattr(requirements, "check", lambda *args, **options: None)
    monkeypatch.setattr(serve, "serve", lambda directory, settings: got.append(settings.server.limits) or 0)
    monkeypatch.setenv("SLUICEGATE_STREAM_IDLE", "7.5")
    monkeypatch.setenv("SLUICEGATE_WORKERS", "32")
    assert cli.main(["serve", str(tmp_path), *arguments]) == 0
    assert [(made.stream_idle, made.workers) for made in got] == [limits]


def test_stream_in_progress_at_sigterm_ends_normally(tmp_path, serving):
    class Slow(PythonModel):
        def predict(self, context, model_input, params=None):
            return []

        def predict_stream(self, context, model_input, params=None):
            for number in range(4):
                yield number
                time.sleep(0.5)

    mlflow.pyfunc.save_model(str(tmp_path / "slow"), python_model=Slow(), **REQUIREMENTS)
    with serving(pathlib.Path(tmp_path / "slow"), "--timeout", "8", "--stream-idle", "4") as (url, process):
        with httpx.stream("POST", f"{url}/invocations", json={"inputs": [1], "stream": True}, timeout=20) as response:
            lines = response.iter_lines()
            assert next(lines) == "data: 0"
            process.terminate()
            assert [line for line in lines if line] == ["data: 1", "data: 2", "data: 3", "data: [DONE]"]
        assert process.wait(10) == 0
