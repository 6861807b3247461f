"""Differential tests of the fast path of models that need a DataFrame.

The same rows are predicted alone, in a batch with rows of other requests, and by MLflow's own code. All responses must
have the same bytes.
"""

import asyncio
import json
import logging
import time
import warnings

import httpx
import numpy as np
import pandas as pd
import pytest
import threadpoolctl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorer.tests import pipelines

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.pyfunc.model import _PythonModelPyfuncWrapper
    from sluicegate_scorer.server.fast import blocks, frame_verify, rowwise
    from sluicegate_scorer.server.fast.shape import NotFast
    from sluicegate_scorer.server.frames import frames
    from sluicegate_scorer.server.general import General
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.settings import Limits, Policy, ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = 8
"""Examples of each model. Each has four to ten bodies of one row, alone and in a batch, and one of all rows."""
FORMS = ("dataframe_split", "dataframe_records")
JSON = "application/json"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    with threadpoolctl.threadpool_limits(1):
        yield


def load(made):
    """Return the frame path of a model, and a function that returns MLflow's own response."""
    general = General(made.model, Policy(400, False))

    def respond(body):
        return general.respond(body, JSON)

    return frame_verify.build(made.model, frames(made.model), respond, made.example, 64), respond


def ours(path, rows):
    try:
        return path.request(rows)
    except Exception:
        return None


def compare(path, respond, names, rows, form):
    """Compare the responses of rows alone, in one batch and in one body.

    Returns:
        The number of rows with a response.
    """
    done, parsed, alone = [], [], []
    for row in rows:
        read = path.parse(pipelines.body(names, [row], form))
        if read is not None and (response := ours(path, read)) is not None:
            done.append(row)
            parsed += read
            alone.append(response)
    if not done:
        return 0
    if path.batch > 1:
        try:
            together = path.singles(parsed)
        except Exception:  # then the server predicts halves of the batch
            together = None
        assert together in (None, alone), (rows, form)
    for some in (done[:1], done if path.several else rows[:0]):
        body = pipelines.body(names, some, form)
        read = path.parse(body)
        if read and (response := ours(path, read)) is not None:
            expected = respond(body)
            assert (expected.status, expected.body) == (200, response), body
    return len(done)


def differential(path, respond, names, least=0.3):
    """Compare rows near the training data, and odd ones."""
    done = [0, 0]

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(pipelines.rows(names, 10), st.sampled_from(FORMS))
    def run(rows, form):
        done[0] += compare(path, respond, names, rows, form)
        done[1] += len(rows)

    run()
    assert done[0] > done[1] * least


@pytest.mark.parametrize("kind", pipelines.kinds())
def test_responses_equal_those_of_mlflow(kind):
    made = pipelines.make(kind)
    path, respond = load(made)
    assert path.plan is not None
    assert path.several
    assert path.batch == 64
    differential(path, respond, made.features.columns)


def catboost():
    from catboost import CatBoostClassifier
    from mlflow.catboost import _CatboostModelWrapper

    features = pipelines.training_data()[["city", "age", "text", "income"]]
    model = CatBoostClassifier(iterations=8, verbose=0, thread_count=1, allow_writing_files=False)
    model.fit(features, pipelines.targets(pipelines.training_data())[1], cat_features=["city", "text"])
    return pipelines.made("mlflow.catboost", _CatboostModelWrapper(model), features)


def lightgbm():
    import lightgbm
    from mlflow.lightgbm import _LGBModelWrapper

    features = pipelines.training_data()[["age", "member", "score"]]
    model = lightgbm.LGBMRegressor(n_estimators=8, min_child_samples=5, n_jobs=1, verbose=-1)
    model.fit(features, pipelines.targets(pipelines.training_data())[0], categorical_feature=["age"])
    return pipelines.made("mlflow.lightgbm", _LGBModelWrapper(model), features)


def xgboost():
    import xgboost
    from mlflow.xgboost import _XGBModelWrapper

    features = pipelines.training_data()[["age", "member", "score"]]
    model = xgboost.XGBRegressor(n_estimators=8, max_depth=3, n_jobs=1)
    model.fit(features, pipelines.targets(pipelines.training_data())[0])
    return pipelines.made("mlflow.xgboost", _XGBModelWrapper(model), features)


@pytest.mark.parametrize("make", [catboost, lightgbm, xgboost])
def test_trees_of_a_frame_equal_those_of_mlflow(make):
    made = make()
    path, respond = load(made)
    assert path.several
    assert path.batch == 64
    differential(path, respond, made.features.columns)


def onnx(folder):
    """Save a graph of two columns, of which MLflow passes each as one array."""
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, kind, [None]) for name, kind in (("age", 7), ("income", 1))]
    nodes = [
        helper.make_node("Cast", ["age"], ["years"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["years", "income"], ["sum"]),
    ]
    output = helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None])
    graph = helper.make_graph(nodes, "graph", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    features = pipelines.training_data()[["age", "income"]]
    signature = mlflow.models.infer_signature(features, features[["income"]])
    mlflow.onnx.save_model(model, str(folder), signature=signature, pip_requirements=["mlflow"])
    loaded = mlflow.pyfunc.load_model(str(folder))
    example = pipelines.body(features.columns, features.head(3).to_numpy(object).tolist())
    return pipelines.Made(loaded, example, features)


def test_a_graph_of_several_columns_equals_that_of_mlflow(tmp_path):
    made = onnx(tmp_path / "model")
    path, respond = load(made)
    assert path.several
    assert path.batch == 64
    differential(path, respond, made.features.columns)


class Rowwise(mlflow.pyfunc.PythonModel):
    """A model whose prediction for a row depends on that row only."""

    def predict(self, context, model_input, params=None):
        if (model_input["age"] < 0).any():
            raise RuntimeError("negative")
        return model_input["city"].str.len() + model_input["age"]


class Ranks(mlflow.pyfunc.PythonModel):
    """A model that compares the rows of a request."""

    def predict(self, context, model_input, params=None):
        return model_input["age"].rank().to_numpy()


def custom(model, **metadata):
    features = pipelines.training_data()[["city", "age"]]
    return pipelines.made("mlflow.pyfunc.model", _PythonModelPyfuncWrapper(model, None, None), features, **metadata)


def test_batches_rows_of_a_model_whose_author_declares_it():
    made = custom(Rowwise(), **{rowwise.DECLARATION: True})
    path, respond = load(made)
    assert path.threads
    assert path.batch == 64
    differential(path, respond, made.features.columns)


@pytest.mark.parametrize("metadata", [{}, {rowwise.DECLARATION: False}, {rowwise.DECLARATION: "true"}])
def test_refuses_a_model_whose_author_does_not_declare_it(metadata):
    with pytest.raises(NotFast, match=rowwise.DECLARATION):
        load(custom(Rowwise(), **metadata))


def test_refuses_batches_of_a_wrong_declaration():
    path, _ = load(custom(Ranks(), **{rowwise.DECLARATION: True}))
    assert path.batch == 1
    assert path.several


def test_does_not_batch_a_pipeline_that_multiplies_matrices():
    made = pipelines.not_rowwise()
    path, respond = load(made)
    assert path.batch == 1
    assert "PCA" in path.unbatched
    differential(path, respond, made.features.columns)


def test_pipeline_predicts_if_a_table_differs(monkeypatch):
    entries = blocks.Lookup.entries

    def wrong(self, columns):
        return [
            [(0, 1.0)] if "é" in row else listed
            for row, listed in zip(columns.raw[0], entries(self, columns), strict=True)
        ]

    monkeypatch.setattr(blocks.Lookup, "entries", wrong)
    path, _ = load(pipelines.make("one-hot + tree"))
    assert path.plan is None
    assert path.batch == 64  # Trees of a DataFrame are batched too.
    path, _ = load(pipelines.make("one-hot + linear"))
    assert path.plan is None
    assert path.batch == 1


@pytest.mark.parametrize("function, accepted", [(np.log1p, True), (None, True), (np.cumsum, False), (len, False)])
def test_a_function_is_row_wise_only_if_it_is_elementwise(function, accepted):
    transformer = pipelines.preprocessing.FunctionTransformer(function)
    assert (rowwise.obstacle(transformer) is None) == accepted


def application(made, folder, **options):
    (folder / "serving_input_example.json").write_bytes(made.example)
    settings = ServerSettings(limits=Limits(workers=2), smoke_test=False, **options)
    return build(folder, made.model, settings, time.monotonic())


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test")


async def test_requests_that_arrive_together_are_predicted_together(tmp_path):
    made = pipelines.make("one-hot + logistic")
    names = made.features.columns
    rows = (
        made.features.head(60).to_numpy(object).tolist() + [["Rome", 30, None], ["Rome", 30, "x"], [None, 1, 2.0]] * 2
    )
    bodies = [pipelines.body(names, [row], FORMS[number % 2]) for number, row in enumerate(rows)]
    app = application(made, tmp_path)
    async with client(app) as mine:

        async def ask(body):
            return await mine.post("/invocations", content=body, headers={"content-type": JSON})

        together = await asyncio.gather(*map(ask, bodies))
    expected = [app.general.respond(body, JSON) for body in bodies]
    assert [(one.status_code, one.content) for one in together] == [(one.status, one.body) for one in expected]
    classes = [(one.headers.get("x-sluicegate-error") or None) for one in together]
    assert classes == [one.error for one in expected]
    assert set(classes) == {None, "client"}
    assert app.metrics.paths["fast"] >= 60
    assert app.metrics.rows.counts[1:] != [0] * len(app.metrics.rows.counts[1:])


async def test_counts_the_features_of_frames_for_drift(tmp_path):
    from sluicegate_scorer.profile import FILE, make_profile

    made = pipelines.make("one-hot + linear")
    predictions = made.model.predict(made.features.head(20))
    (tmp_path / FILE).write_text(json.dumps(make_profile(made.features, predictions)))
    app = application(made, tmp_path)
    async with client(app) as mine:
        for row in made.features.head(5).to_numpy(object).tolist():
            body = pipelines.body(made.features.columns, [row])
            assert (await mine.post("/invocations", content=body, headers={"content-type": JSON})).status_code == 200
        text = (await mine.get("/metrics")).text
    assert app.metrics.paths["fast"] == 5
    counted = [line for line in text.splitlines() if line.startswith("sluicegate_scorer_profile_bin_total")]
    sums = {
        name: sum(float(line.split()[-1]) for line in counted if f'name="{name}"' in line) for name in made.features
    }
    assert sums == {"city": 5, "age": 5, "income": 5}


async def test_predicts_missing_values_of_a_numeric_model_from_a_frame(tmp_path):
    from sklearn.tree import DecisionTreeRegressor

    features = pipelines.training_data()[["income", "score"]]
    model = DecisionTreeRegressor(max_depth=4).fit(features, pipelines.targets(pipelines.training_data())[0])
    made = pipelines.of_sklearn(model, features)
    schema = made.model.metadata.signature.inputs
    optional = [pipelines.ColSpec(spec.type, spec.name, required=spec.name == "income") for spec in schema.inputs]
    made.model.metadata.signature.inputs = pipelines.Schema(optional)
    app = application(made, tmp_path)
    bodies = [
        pipelines.body(features.columns, rows) for rows in ([[1.5, 2.5]], [[1.5, None]], [[1.5, None], [2.5, 0.5]])
    ]
    async with client(app) as mine:
        for body in bodies:
            response = await mine.post("/invocations", content=body, headers={"content-type": JSON})
            expected = app.general.respond(body, JSON)
            assert (response.status_code, response.content) == (expected.status, expected.body)
    assert app.metrics.paths["fast"] == 3


class Traced(mlflow.pyfunc.PythonModel):
    """A model that returns the trace of its request."""

    def predict(self, context, model_input, params=None):
        from opentelemetry import trace

        number = trace.get_current_span().get_span_context().trace_id
        return pd.DataFrame({"trace": [f"{number:032x}"] * len(model_input)})


async def test_a_declared_model_sees_the_trace_of_its_request(tmp_path):
    made = custom(Traced(), **{rowwise.DECLARATION: True})
    app = application(made, tmp_path)
    headers = {"content-type": JSON, "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    async with client(app) as mine:
        response = await mine.post(
            "/invocations", content=pipelines.body(("city", "age"), [["Rome", 3]]), headers=headers
        )
    assert app.metrics.paths["fast"] == 1
    assert response.json() == {"predictions": [{"trace": "4bf92f3577b34da6a3ce929d0e0e4736"}]}
