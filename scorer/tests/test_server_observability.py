"""Trace context, logs, the device of the model, and interpreter settings.

The logs are the access log and the payload log.
"""

import contextlib
import gc
import json
import logging
import sys
import time
import types
import warnings

import httpx
import pytest

from scorer.tests import zoo

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import infer_signature
    from sluicegate_scorer.server import device, interpreter
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.settings import Limits, Logs, ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADERS = {"traceparent": TRACE, "tracestate": "a=1,b=2", "x-request-id": "77", "content-type": "application/json"}
ROW = {"dataframe_records": [{"a": 1.0, "b": 2.0, "c": 3.0}]}


class Caller(mlflow.pyfunc.PythonModel):
    """A model that returns the trace context of a request that it would send, and fails for large numbers."""

    def predict(self, context, model_input, params=None):
        from opentelemetry.propagate import inject

        if (model_input["a"] > 1e6).any():
            raise RuntimeError("a secret of the model")
        carrier = {}
        inject(carrier)
        return [carrier.get("traceparent", "")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("observed")
    frame, _ = zoo.frame()
    mlflow.pyfunc.save_model(
        str(made / "caller"),
        python_model=Caller(),
        signature=infer_signature(frame, ["x"]),
        pip_requirements=["mlflow"],
    )
    next(zoo.sklearn(made))
    next(zoo.onnx(made))
    return made


def application(path, **settings):
    settings = ServerSettings(limits=Limits(workers=1, body=2000), **settings)
    return build(path, mlflow.pyfunc.load_model(str(path)), settings, time.monotonic())


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


def passed(response):
    return {name: response.headers.get(name) for name in ("traceparent", "tracestate", "x-request-id")}


async def test_repeats_trace_headers_in_every_response(folder):
    app = application(folder / "linear")
    expected = {name: HEADERS[name] for name in ("traceparent", "tracestate", "x-request-id")}
    async with client(app) as ours:
        fast = await ours.post("/invocations", json=ROW, headers=HEADERS)
        wrong = await ours.post("/invocations", json={"inputs": []}, headers=HEADERS)
        large = await ours.post("/invocations", content=b" " * 3000, headers=HEADERS)
        infer = await ours.post("/v2/models/model/infer", json={}, headers=HEADERS)
        assert [response.status_code for response in (fast, wrong, large, infer)] == [200, 400, 413, 400]
        assert [passed(response) for response in (fast, wrong, large, infer)] == [expected] * 4
        without = await ours.post("/invocations", json=ROW)
        assert set(passed(without).values()) == {None}
        longer = await ours.post("/invocations", json=ROW, headers={"tracestate": "x" * 600})
        assert "tracestate" not in longer.headers
    assert app.metrics.paths["fast"] == 3


async def test_calls_of_the_model_carry_the_trace(folder):
    async with client(application(folder / "caller")) as ours:
        inside = (await ours.post("/invocations", json=ROW, headers=HEADERS)).json()["predictions"]
        assert inside == [TRACE]
        assert (await ours.post("/invocations", json=ROW)).json()["predictions"] == [""]
        nonsense = await ours.post("/invocations", json=ROW, headers={"traceparent": "nonsense"})
        assert nonsense.json()["predictions"] == [""]


async def test_logs_are_json_lines_with_the_trace(folder, capsys):
    app = application(folder / "linear", logs=Logs(access=True, payloads=1.0))
    async with client(app) as ours:
        await ours.post("/invocations", json=ROW, headers=HEADERS)
        await ours.post("/invocations", content=b"{", headers=HEADERS)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["log"], line["status"], line["error_class"]) for line in lines] == [
        ("access", 200, None), ("payload", 200, None), ("access", 400, "client"), ("payload", 400, "client"),
    ]  # fmt: skip
    for line in lines:
        assert (line["traceparent"], line["x-request-id"], line["path"]) == (TRACE, "77", "/invocations")
    assert json.loads(lines[1]["request"]) == ROW and "predictions" in json.loads(lines[1]["response"])
    assert "request" not in lines[0]


async def test_logs_a_model_exception_with_its_trace(folder, caplog):
    caplog.set_level(logging.INFO, "sluicegate_scorer.serve")
    app = application(folder / "caller")
    large = {"dataframe_records": [{"a": 1e7, "b": 2.0, "c": 3.0}]}
    null = {"dataframe_records": [{"a": None, "b": 2.0, "c": 3.0}]}
    async with client(app) as ours:
        assert (await ours.post("/invocations", json=large, headers=HEADERS)).status_code == 500
    async with client(application(folder / "linear")) as ours:
        assert (await ours.post("/invocations", json=null, headers=HEADERS)).status_code == 400
    about = "the model cannot predict the data of a request: the column 'a' has a missing value"
    assert f"{about} traceparent='{TRACE}'" in caplog.text
    assert f"the model raised an exception traceparent='{TRACE}' tracestate='a=1,b=2' x-request-id='77'" in caplog.text


async def test_samples_and_shortens_payloads(folder, capsys):
    app = application(folder / "linear", logs=Logs(payloads=0.5))
    async with client(app) as ours:
        for _ in range(200):
            await ours.post("/invocations", json=ROW)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert 50 < len(lines) < 150 and {each["log"] for each in lines} == {"payload"}


async def test_adds_an_endpoint_with_one_call(folder):
    app = application(folder / "linear")

    async def hello(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    app.route("GET", "/hello", hello)
    async with client(app) as ours:
        assert (await ours.get("/hello")).text == "/hello"
        assert (await ours.post("/hello")).status_code == 404


async def test_error_classes_have_series_from_the_start(folder):
    async with client(application(folder / "linear")) as ours:
        text = (await ours.get("/metrics")).text
    for code, failed in ((400, "client"), (500, "model"), (500, "server"), (504, "timeout"), (429, "overload")):
        assert f'requests_total{{endpoint="invocations",code="{code}",error_class="{failed}"}} 0' in text
    assert 'device="cpu"' in text


def test_mlflow_prefers_cuda_for_onnx(folder, monkeypatch):
    """Check which providers MLflow requests for the session, and in which order.

    There is no GPU here.
    """
    import onnxruntime

    asked = []
    real = onnxruntime.InferenceSession

    def session(*arguments, providers=None, **options):
        asked.append(providers)
        return real(*arguments, providers=["CPUExecutionProvider"], **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider", "CUDAExecutionProvider"]
    )
    mlflow.pyfunc.load_model(str(folder / "tensor"))
    assert asked == [["CUDAExecutionProvider", "CPUExecutionProvider"]]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    mlflow.pyfunc.load_model(str(folder / "tensor"))
    assert asked[1] == ["CPUExecutionProvider"]


@pytest.mark.parametrize("cuda, forced, expected", [(True, None, "cuda"), (False, None, "cpu"), (True, "cpu", "cpu")])
def test_mlflow_gives_torch_the_gpu(monkeypatch, cuda, forced, expected):
    """Check the device that MLflow's own code chooses.

    Torch is not installed here, so a stub reports whether CUDA is available.
    """
    import mlflow.pytorch

    torch = types.ModuleType("torch")
    torch.__version__ = "2.9.0"
    torch.cuda = types.SimpleNamespace(is_available=lambda: cuda)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(mlflow.pytorch, "_load_model", lambda path, **options: options["device"])
    monkeypatch.setattr(mlflow.pytorch, "_is_forecasting_model", lambda model: False)
    if forced:
        monkeypatch.setenv("MLFLOW_DEFAULT_PREDICTION_DEVICE", forced)
    loaded = types.SimpleNamespace(loader_module="mlflow.pytorch", _model_impl=mlflow.pytorch._load_pyfunc("x"))
    assert loaded._model_impl.pytorch_model.startswith(expected)
    assert device.of(loaded).startswith(expected)


def test_warns_about_an_unused_gpu(folder, tmp_path, caplog):
    loaded = mlflow.pyfunc.load_model(str(folder / "tensor"))
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert device.describe(loaded, str(tmp_path / "nvidia[0-9]*")) == "cpu"
        assert not caplog.records
        (tmp_path / "nvidia0").touch()
        assert device.describe(loaded, str(tmp_path / "nvidia[0-9]*")) == "cpu"
    assert "has a GPU that the model does not use. Use an image with onnxruntime-gpu" in caplog.text
    linear = mlflow.pyfunc.load_model(str(folder / "linear"))
    caplog.clear()
    assert device.describe(linear, str(tmp_path / "nvidia[0-9]*")) == "cpu" and not caplog.records


@pytest.fixture
def usual():
    """Restore the settings of the interpreter after the test."""
    before = gc.get_threshold(), sys.getswitchinterval()
    with contextlib.ExitStack() as stack:
        stack.callback(gc.unfreeze)
        stack.callback(sys.setswitchinterval, before[1])
        stack.callback(gc.set_threshold, *before[0])
        yield


def test_excludes_loaded_objects_from_collections(usual):
    before = gc.get_threshold()
    with interpreter.importing():
        assert not gc.isenabled()
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    with interpreter.loading():
        kept = [[] for _ in range(1000)]
    assert gc.get_freeze_count() >= frozen + len(kept) and gc.get_threshold() == before
    interpreter.give_way()
    assert sys.getswitchinterval() < 0.001
