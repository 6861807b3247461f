"""The server in this process, on tiny real models.

The tests cover MLflow's responses, error classes, limits, the V2 protocol and metrics.
"""

import asyncio
import itertools
import json
import math
import pathlib
import shutil
import time
import warnings

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import infer_signature
    from mlflow.pyfunc import scoring_server
    from sluicegate_scorer.errors import ScorerError
    from sluicegate_scorer.serve import Settings, serve
    from sluicegate_scorer.server.general import General
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.settings import Fast, Limits, Policy, ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore")
LIMITS = Limits(workers=2, seconds=20.0)
JSON = {"content-type": "application/json"}


def data():
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.normal(size=(120, 3)) * [1, 10, 100], columns=["a", "b", "c"])
    return frame, frame.a * 2 + frame.b - 0.1 * frame.c


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    made = {}
    frame, target = data()
    estimators = {
        "linear": make_pipeline(StandardScaler(), LinearRegression()),
        "trees": GradientBoostingRegressor(n_estimators=20),
        "labels": LogisticRegression(),
        "neighbours": KNeighborsRegressor(),
    }

    def get(name):
        if name not in made:
            path = str(tmp_path_factory.mktemp("model") / name)
            outcome = (target > 0).map({True: "yes", False: "no"}) if name == "labels" else target
            model = estimators[name].fit(frame, outcome)
            signature = infer_signature(frame, model.predict(frame))
            mlflow.sklearn.save_model(
                model,
                path,
                signature=signature,
                input_example=frame.head(2),
                pip_requirements=["mlflow"],
                serialization_format="cloudpickle",
            )
            made[name] = path
        return made[name]

    return get


class Custom(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        params = params or {}
        time.sleep(params.get("sleep", 0.0))
        if (model_input["a"] < 0).any():
            raise RuntimeError("a secret of the model")
        return model_input["a"] * params.get("factor", 1.0)


class Never(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        raise RuntimeError("always")


@pytest.fixture(scope="session")
def custom(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("model") / "custom")
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    signature = infer_signature(frame, frame.a, params={"sleep": 0.0, "factor": 1.0})
    mlflow.pyfunc.save_model(path, python_model=Custom(), signature=signature, pip_requirements=["mlflow"])
    return path


def application(path, **settings):
    settings.setdefault("limits", LIMITS)
    return build(pathlib.Path(path), mlflow.pyfunc.load_model(path), ServerSettings(**settings), time.monotonic())


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


def split(*rows, columns=("a", "b", "c")):
    return {"dataframe_split": {"columns": list(columns), "data": [list(row) for row in rows]}}


BODIES = [
    split((1, 2, 3)), split((1.5, -0.0, 1e-320)), split((1, 2, 3), (4.5, 5, 6)), split((1, 2, None)),
    split((2**53 + 1, 2**64 + 1, -(2**70))), split((True, 2, 3)), split(("1", 2, 3)), split((1, 2)), split(),
    split((1, 2, 3), columns=("b", "a", "c")), split((1, 2, 3, 4), columns=("a", "b", "c", "d")),
    {"dataframe_split": {**split((1, 2, 3))["dataframe_split"], "index": [0]}},
    {"dataframe_split": {**split((1, 2, 3))["dataframe_split"], "index": ["x"]}},
    {"dataframe_records": [{"a": 1, "b": 2, "c": 3}]}, {"dataframe_records": [{"c": 1, "a": 2, "b": 3}]},
    {"dataframe_records": [{"a": 1, "b": 2}]}, {"dataframe_records": [{"a": 1, "b": 2, "c": 3}, {"a": 1}]},
    {"instances": [{"a": 1, "b": 2, "c": 3}]}, {"instances": [[1, 2, 3]]}, {"inputs": {"a": [1], "b": [2], "c": [3]}},
    {"inputs": {"a": [1], "b": [2, 3], "c": [3]}}, {"inputs": {"a": 1, "b": 2, "c": 3}}, {"inputs": []},
    {"inputs": [{"a": 1.5, "b": 2, "c": 3}]}, {**split((1, 2, 3)), "params": {}}, {**split((1, 2, 3)), "other": 1},
    {**split((1, 2, 3)), "instances": []}, {"prompt": "hello"}, {}, [], 5, None, "text",
]  # fmt: skip
TEXTS = [
    b"", b"{", b"\xff", b'{"dataframe_records": [{"a": NaN, "b": Infinity, "c": 1}]}',
    b'{"dataframe_records": [{"a": 1e400, "b": 1, "c": 1}]}', b'{"dataframe_records": [{"a": 01, "b": 1, "c": 1}]}',
    b'{"dataframe_records": [{"a": 1, "a": 2, "b": 1, "c": 1}]}', b'\xef\xbb\xbf{"dataframe_records": []}',
    b'{"dataframe_records": [{"a": 1, "b": 1, "c": 1}], "dataframe_records": [{"a": 5, "b": 1, "c": 1}]}',
    b'{"dataframe_records": [{"\\u0061": 1, "b": 1, "c": 1}]} ', b'{"dataframe_records": [{"a": 1, "b": 1, "c": 1}]}x',
    b'{"dataframe_records": [{"a": ' + b"1" * 5000 + b', "b": 1, "c": 1}]}', b"[" * 100000,
]  # fmt: skip


@pytest.mark.parametrize("name", ["linear", "trees", "labels", "neighbours"])
async def test_each_response_equals_mlflows(models, name):
    path = models(name)
    app = application(path, policy=Policy(400, True))
    stock = scoring_server.init(mlflow.pyfunc.load_model(path))
    async with client(app) as ours, client(stock) as theirs:
        for body in [*(json.dumps(body).encode() for body in BODIES), *TEXTS]:
            one = await ours.post("/invocations", content=body, headers=JSON)
            other = await theirs.post("/invocations", content=body, headers=JSON)
            assert one.status_code == other.status_code, body[:200]
            assert one.headers["content-type"] == other.headers["content-type"], body[:200]
            if "stack_trace" not in other.text:
                assert one.content == other.content, body[:200]
        for kind in ("text/csv", "application/json; charset=utf-8", "application/json; charset=latin-1", "text/html"):
            one = await ours.post("/invocations", content=b"a,b,c\n1.0,2.0,3.0\n", headers={"content-type": kind})
            other = await theirs.post("/invocations", content=b"a,b,c\n1.0,2.0,3.0\n", headers={"content-type": kind})
            assert (one.status_code, one.content) == (other.status_code, other.content), kind
        for method, where in (("GET", "/ping"), ("GET", "/health"), ("GET", "/version"), ("GET", "/invocations"),
                              ("POST", "/ping"), ("GET", "/x"), ("HEAD", "/health"),
                              ("POST", "/"), ("POST", "/invocations")):  # fmt: skip
            one, other = await ours.request(method, where), await theirs.request(method, where)
            assert (one.status_code, one.content) == (other.status_code, other.content), where
        assert (await ours.get("/")).status_code == 200, "gateways check the health there"
    assert app.metrics.paths["fast"] > 5


@pytest.mark.parametrize("name", ["linear", "trees", "labels", "neighbours"])
async def test_concurrent_requests_get_the_responses_of_single_ones(models, name):
    app = application(models(name))
    random = np.random.default_rng(5)
    rows = (random.normal(size=(150, 3)) * [1, 10, 100]).tolist()
    bodies = [json.dumps(split(*rows[n : n + 1 + n % 5 // 4])).encode() for n in range(140)]
    async with client(app) as ours:
        responses = await asyncio.gather(*(ours.post("/invocations", content=body, headers=JSON) for body in bodies))
    for body, response in zip(bodies, responses, strict=True):
        assert response.content == app.general.respond(body, "application/json").body
    assert app.metrics.paths["general"] == 0


async def test_model_exception_has_its_class_and_no_details(custom):
    app = application(custom, smoke_test=False)
    async with client(app) as ours:
        bad = await ours.post("/invocations", json={"dataframe_records": [{"a": -1.0}]})
        assert (bad.status_code, bad.headers["x-sluicegate-error"]) == (500, "model")
        assert "secret" not in bad.text and "stack_trace" not in bad.text
        wrong = await ours.post("/invocations", json={"dataframe_records": [{"b": 1.0}]})
        assert (wrong.status_code, wrong.headers["x-sluicegate-error"]) == (400, "client")
        fine = await ours.post("/invocations", json={"inputs": {"a": [2.0]}, "params": {"factor": 3.0}})
        assert fine.json() == {"predictions": [{"a": 6.0}]} and "x-sluicegate-error" not in fine.headers
        text = (await ours.get("/metrics")).text
    assert 'requests_total{endpoint="invocations",code="500",error_class="model"} 1' in text
    assert 'requests_total{endpoint="invocations",code="400",error_class="client"} 1' in text


async def test_slow_model_times_out_and_does_not_block_health(custom):
    app = application(custom, limits=Limits(workers=1, seconds=0.3, queue=1))
    slow = {"dataframe_records": [{"a": 1.0}], "params": {"sleep": 0.8}}
    async with client(app) as ours:
        requests = [asyncio.create_task(ours.post("/invocations", json=slow)) for _ in range(4)]
        await asyncio.sleep(0.05)
        began = time.perf_counter()
        assert (await ours.get("/health")).status_code == 200
        assert time.perf_counter() - began < 0.2
        responses = [await request for request in requests]
        assert sorted(response.status_code for response in responses) == [429, 429, 504, 504]
        assert {response.headers["x-sluicegate-error"] for response in responses} == {"overload", "timeout"}
        stuck = await ours.post("/invocations", json=slow)  # The server's only thread still runs the previous request.
        assert (stuck.status_code, stuck.headers["x-sluicegate-error"]) == (429, "timeout")
        await asyncio.sleep(0.7)
        fine = await ours.post("/invocations", json={"dataframe_records": [{"a": 1.0}]})
        assert fine.status_code == 200


async def test_refuses_a_body_over_the_limit(models):
    app = application(models("trees"), limits=Limits(workers=1, body=100))
    async with client(app) as ours:
        response = await ours.post("/invocations", content=b" " * 101, headers=JSON)
    assert (response.status_code, response.headers["connection"]) == (413, "close")


def test_failing_example_prevents_readiness(custom, tmp_path):
    path = pathlib.Path(shutil.copytree(custom, tmp_path / "bad"))
    (path / "serving_input_example.json").write_text('{"dataframe_records": [{"a": -1.0}]}')
    with pytest.raises(
        ScorerError, match="cannot predict its input example: RuntimeError: a secret of the model"
    ) as failure:
        application(str(path))
    assert "--" not in str(failure.value), "no flag of the server is a field of the spec"
    application(str(path), smoke_test=False)


def test_missing_file_of_the_model_names_the_artifact_store(custom, tmp_path):
    path = pathlib.Path(shutil.copytree(custom, tmp_path / "incomplete"))
    (path / "python_model.pkl").unlink()
    with pytest.raises(ScorerError, match=r"No such file.*deleted from the artifact store"):
        serve(path, Settings("127.0.0.1", 1, 0.0, 1.0))


@pytest.mark.parametrize("smoke_test", [True, False])
def test_model_that_rejects_made_up_rows_is_served(smoke_test, tmp_path):
    """Check an encoder, which rejects a category that it has never seen, and a model that fails on every row."""
    frame = pd.DataFrame({"a": ["x", "y", "x", "y"], "b": [1.0, 2.0, 3.0, 4.0]})
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["a"]), remainder="passthrough"), LinearRegression()
    )
    model.fit(frame, frame.b)
    options = {"pip_requirements": ["mlflow"], "serialization_format": "cloudpickle"}
    path = str(tmp_path / "categories")
    mlflow.sklearn.save_model(model, path, signature=infer_signature(frame, frame.b), **options)
    assert (
        application(path, smoke_test=smoke_test)
        .general.respond(b'{"dataframe_records": [{"a": "x", "b": 2.0}]}', "application/json")
        .status
        == 200
    )
    path = str(tmp_path / "never")
    signature = infer_signature(frame[["b"]].rename(columns={"b": "a"}), frame.b)
    mlflow.pyfunc.save_model(path, python_model=Never(), signature=signature, pip_requirements=["mlflow"])
    application(path, smoke_test=smoke_test)


def test_busy_machine_keeps_the_fast_path(models, monkeypatch):
    respond = General.respond

    def held_up(self, body, content_type):
        if next(counted) < 4:
            time.sleep(0.3)
        return respond(self, body, content_type)

    counted = itertools.count()
    monkeypatch.setattr(General, "respond", held_up)
    assert 'fast_path="true"' in application(models("linear")).metrics.text().decode()


async def test_open_inference(models):
    app = application(models("linear"), name="shop", version="7")
    tensor = {"shape": [2, 1], "datatype": "FP64"}
    inputs = [
        {"name": name, **tensor, "data": values} for name, values in (("a", [1, 2]), ("b", [3, 4]), ("c", [5, 6]))
    ]
    async with client(app) as ours:
        assert (await ours.get("/v2/health/ready")).status_code == 200
        assert (await ours.get("/v2/models/shop/versions/7/ready")).json() == {"name": "shop", "ready": True}
        assert (await ours.get("/v2/models/other")).status_code == 404
        described = (await ours.get("/v2/models/shop")).json()
        assert described["inputs"][0] == {
            "name": "a", "datatype": "FP64", "shape": [-1, 1], "parameters": {"content_type": "np"},
        }  # fmt: skip
        response = (await ours.post("/v2/models/shop/infer", json={"id": "x", "inputs": inputs})).json()
        same = (await ours.post("/invocations", json=split((1, 3, 5), (2, 4, 6)))).json()["predictions"]
        assert response["outputs"][0] == {
            "name": "output-1", "shape": [2, 1], "datatype": "FP64", "parameters": {"content_type": "np"}, "data": same,
        }  # fmt: skip
        assert (response["id"], response["model_name"], response["model_version"]) == ("x", "shop", "7")
        bad = await ours.post("/v2/models/shop/infer", content=b"{")
        assert (bad.status_code, bad.headers["x-sluicegate-error"]) == (400, "client")


async def test_responses_are_equal_without_batches_or_fast_path(models):
    body = json.dumps(split((1, 2, 3))).encode()
    responses = set()
    for fast in (Fast(), Fast(batch=1), Fast(enabled=False)):
        async with client(application(models("linear"), fast=fast)) as ours:
            responses.add((await ours.post("/invocations", content=body, headers=JSON)).content)
    assert len(responses) == 1 and math.isfinite(json.loads(responses.pop())["predictions"][0])
