"""What decides that a model is ready, and the threads and contexts in which the server calls it.

All servers run in this process.
"""

import asyncio
import contextvars
import decimal
import json
import pathlib
import shutil
import signal
import sqlite3
import time
import types
import warnings

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import infer_signature
    from sluicegate_scorer.errors import ScorerError
    from sluicegate_scorer.server import examples, mlflow_traces
    from sluicegate_scorer.server.batching import Batcher
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.metrics import Metrics
    from sluicegate_scorer.server.settings import Limits, ServerSettings
    from sluicegate_scorer.server.workers import Workers

pytestmark = pytest.mark.filterwarnings("ignore")
LIMITS = Limits(workers=3, seconds=20.0)
DATA = pd.DataFrame({"user_id": [7, 8]})
BODY = {"dataframe_records": [{"user_id": 7}]}
SETTING = contextvars.ContextVar("setting", default="lost")


class Settings(mlflow.pyfunc.PythonModel):
    """A model that sets context variables while it loads."""

    def load_context(self, context):
        SETTING.set("kept")
        decimal.setcontext(decimal.Context(prec=4))
        np.seterr(divide="raise")

    def predict(self, context, model_input):
        return [f"{SETTING.get()} {decimal.Decimal(1) / 3} {np.geterr()['divide']}"] * len(model_input)


class LateConnection(mlflow.pyfunc.PythonModel):
    """A model that opens SQLite in the thread of its first prediction."""

    connection = None

    def predict(self, context, model_input):
        self.connection = self.connection or sqlite3.connect(":memory:")
        return self.connection.execute("select 1").fetchone()


class EarlyConnection(LateConnection):
    def load_context(self, context):
        self.connection = sqlite3.connect(":memory:")


class OwnLoop(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        return asyncio.get_event_loop().run_until_complete(asyncio.sleep(0, [1]))


class OwnSignal(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        return [1]


class Lookup(mlflow.pyfunc.PythonModel):
    """A sound model that knows two users only."""

    def predict(self, context, model_input):
        return [{7: 0.25, 8: 0.75}[int(user)] for user in model_input["user_id"]]


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        CALLS.append(model_input)
        return [repr(params)] * len(model_input)


class Traced(mlflow.pyfunc.PythonModel):
    @mlflow.trace
    def predict(self, context, model_input):
        CALLS.append(mlflow.tracing.provider.is_tracing_enabled())
        return [1] * len(model_input)


CALLS: list = []


@pytest.fixture
def save(tmp_path):
    def save(model, name="model", **options):
        path = tmp_path / name
        options.setdefault("signature", infer_signature(DATA, [0.5, 0.5]))
        mlflow.pyfunc.save_model(str(path), python_model=model, pip_requirements=["mlflow"], **options)
        CALLS.clear()  # MLflow predicts the example when it saves the model
        return path

    return save


def application(path, **settings):
    settings.setdefault("limits", LIMITS)
    model = mlflow.pyfunc.load_model(str(path))
    return build(pathlib.Path(path), model, ServerSettings(**settings), time.monotonic())


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


async def test_predicts_in_the_context_of_loading(save):
    app = contextvars.copy_context().run(application, save(Settings(), signature=None))
    assert SETTING.get() == "lost", "a request does not have the context of the model's thread"
    async with client(app) as ours:
        responses = [await ours.post("/invocations", json=BODY) for _ in range(2)]
        tensor = {"name": "user_id", "datatype": "INT64", "shape": [1], "data": [7]}
        v2 = await ours.post("/v2/models/model/infer", json={"inputs": [tensor]})
    assert [response.json() for response in responses] == [{"predictions": ["kept 0.3333 raise"]}] * 2
    assert v2.json()["outputs"][0]["data"] == ["kept 0.3333 raise"]


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["on the event loop", "in threads"])
async def test_fast_path_predicts_in_the_context_of_loading(seconds):
    def read(rows):
        SETTING.set(SETTING.get() + "!")
        return SETTING.get().encode()

    def workers():
        SETTING.set("kept")
        return Workers(LIMITS)

    def singles(rows):
        return [read(rows) for _ in rows]

    path = types.SimpleNamespace(seconds=seconds, threads=False, batch=2, request=read, singles=singles)
    batcher = Batcher(path, contextvars.copy_context().run(workers), LIMITS, Metrics())
    alone = [await batcher.respond([(1,)]) for _ in range(2)]
    assert alone == [b"kept!"] * 2, "a prediction changes a copy of the context"
    assert await asyncio.gather(*(batcher.respond([(1,)]) for _ in range(2))) in (
        [b"kept!", b"kept!!"],
        [b"kept!"] * 2,
    )


async def test_model_that_depends_on_its_first_thread_answers(save):
    app = application(save(LateConnection(), input_example=DATA))
    async with client(app) as ours:
        assert [(await ours.post("/invocations", json=BODY)).status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (EarlyConnection, "ProgrammingError: SQLite objects created in a thread can only be used in that same thread"),
        (OwnLoop, "RuntimeError: There is no current event loop in thread"),
        (OwnSignal, "ValueError: signal only works in main thread"),
    ],
)
def test_model_that_cannot_predict_in_a_thread_is_not_ready(save, model, message):
    path = save(model(), input_example=DATA)
    with pytest.raises(ScorerError, match=f"cannot predict its input example: {message}"):
        application(path)


def test_row_that_the_server_made_only_warns(save, caplog):
    app = application(save(Lookup()))
    assert app.general.respond(json.dumps(BODY).encode(), "application/json").status == 200
    assert "cannot predict a row made from the signature: KeyError: 0" in caplog.text


@pytest.mark.parametrize("readable", [True, False])
def test_form_that_mlflow_refuses_only_warns(save, caplog, readable):
    path = save(Echo(), signature=None)
    body = {"inputs": {"a": [1, 2]}} if readable else {"inputs": {"a": [None, []]}, "instances": 5}
    (path / "serving_input_example.json").write_text(json.dumps(body))
    application(path)
    assert (len(CALLS), "no smoke test: MLflow cannot read the input example" in caplog.text) == (
        int(readable),
        not readable,
    )


def test_example_with_columns_of_unequal_types_only_warns(save, caplog):
    """Check the example of MLflow's own tests that its parser refuses."""
    application(save(Echo(), signature=None, input_example={"a": [None, []]}))
    assert not CALLS
    assert "no smoke test: MLflow cannot read the input example" in caplog.text


@pytest.mark.parametrize("known", [7, 99])
def test_reads_the_example_of_old_versions(save, known):
    """The folder is as MLflow 1.30 and 2.3 wrote it."""
    path = as_old(save(Lookup(), input_example=DATA), {"columns": ["user_id"], "data": [[known]]})
    if known == 7:
        application(path)
        return
    with pytest.raises(ScorerError, match="cannot predict its input example: KeyError: 99"):
        application(path)


@pytest.mark.parametrize(
    ("example", "body"),
    [
        (pd.DataFrame([[1.5, 2.0]]), {"dataframe_split": {"data": [[1.5, 2.0]]}}),
        (np.array([[1.5, 2.0]]), {"inputs": [[1.5, 2.0]]}),
        ({"a": np.array([1.5])}, {"inputs": {"a": [1.5]}}),
        (["text"], {"inputs": ["text"]}),
        (
            (pd.DataFrame({"a": [1.5]}), {"k": 2}),
            {"dataframe_split": {"columns": ["a"], "data": [[1.5]]}, "params": {"k": 2}},
        ),
    ],
    ids=["unnamed columns", "array", "arrays by name", "list", "params"],
)
def test_makes_the_body_of_an_old_example(save, example, body):
    path = as_old(save(Echo(), signature=None, input_example=example))
    made = json.loads(examples.example(path, mlflow.models.Model.load(str(path))))
    made.get("dataframe_split", {}).pop("index", None)
    assert made == body


def as_old(path, data=None):
    (path / "serving_input_example.json").unlink()
    text = yaml.safe_load((path / "MLmodel").read_text())
    del text["saved_input_example_info"]["serving_input_path"]
    (path / "MLmodel").write_text(yaml.safe_dump(text))
    if data is not None:
        (path / "input_example.json").write_text(json.dumps(data))
    return path


def test_unreadable_old_example_only_warns(save, caplog):
    path = as_old(save(Lookup(), input_example=DATA))
    (path / "input_example.json").write_text("{")
    application(path)
    assert "cannot read the model's input_example.json: JSONDecodeError" in caplog.text


def test_failed_example_names_the_known_difference(save, tmp_path):
    path = save(Lookup(), input_example=DATA)
    (path / "serving_input_example.json").write_text('{"dataframe_records": [{"user_id": 1}]}')
    with pytest.raises(ScorerError, match=r"KeyError: 1\. Correct the model, or log it with an input example"):
        application(path)
    (path / "python_env.yaml").write_text("python: 3.8.10\n")
    with pytest.raises(ScorerError, match=r"KeyError: 1\. The model requires python 3\.8\.10 \(installed: "):
        application(shutil.copytree(path, tmp_path / "other"))


@pytest.mark.parametrize("uri", [None, "http://127.0.0.1:1"])
def test_traces_only_requests_and_only_to_a_tracking_server(save, monkeypatch, tmp_path, uri):
    """Check traces of a model whose calls MLflow traces, without and with a tracking URI."""
    mlflow.tracing.reset()
    mlflow.set_tracking_uri(None)
    path = save(Traced(), input_example=DATA)
    mlflow.tracing.reset()
    if uri is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    app = application(path)
    assert CALLS == [False], "the smoke test is no request"
    assert mlflow.tracing.provider.is_tracing_enabled() is (uri is not None)
    if uri is None:
        assert app.general.respond(json.dumps(BODY).encode(), "application/json").status == 200
    assert not list(empty.iterdir())


@pytest.mark.parametrize("name", mlflow_traces._DESTINATIONS)
def test_keeps_traces_with_a_destination_of_the_user(monkeypatch, name):
    mlflow.tracing.reset()
    mlflow.set_tracking_uri(None)
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert mlflow_traces._has_destination()
    monkeypatch.delenv(name)
    assert not mlflow_traces._has_destination()
