"""A caller's bad data has the error class `client`, so that it fails no rollout."""

import json
import threading
import time
import warnings

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import infer_signature
    from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec
    from sluicegate_scorer.server import bad_data, large
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.settings import Limits, Policy, ServerSettings

pytestmark = pytest.mark.filterwarnings("ignore")
NAMES = ["a", "b", "c"]


class Broken(mlflow.pyfunc.PythonModel):
    """A model that damages its own frame before it fails."""

    def predict(self, context, model_input, params=None):
        if (model_input["a"] > 0).all():
            return model_input["a"]
        model_input["a"] = np.nan
        raise ValueError("a defect of this version")


def signature_of(frame):
    return infer_signature(frame, np.array([1.0]))


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Return a function that builds the server of a model: `linear`, `no signature` or `broken`."""
    frame = pd.DataFrame(np.random.default_rng(3).normal(size=(40, 3)), columns=NAMES)
    folder = tmp_path_factory.mktemp("models")

    def get(name, **policy):
        path = folder / f"{name} {policy}"
        if not path.exists():
            options = {"pip_requirements": ["mlflow"], "signature": signature_of(frame)}
            if name == "broken":
                mlflow.pyfunc.save_model(str(path), python_model=Broken(), **options)
            else:
                if name == "no signature":
                    options.pop("signature")
                fitted = LinearRegression().fit(frame, frame.a)
                mlflow.sklearn.save_model(fitted, str(path), serialization_format="cloudpickle", **options)
        settings = ServerSettings(limits=Limits(workers=1), smoke_test=False, policy=Policy(**policy))
        return build(path, mlflow.pyfunc.load_model(str(path)), settings, time.monotonic())

    return get


def split(*rows):
    return json.dumps({"dataframe_split": {"columns": NAMES, "data": [list(row) for row in rows]}})


BAD = [
    split((1.0, None, 2.0)),
    split((1.0, 2.0, 3.0), (float("nan"), 1.0, 1.0)),
    split((float("inf"), 1.0, 1.0)),
    split((1.0, 1.0, 1e39)).replace("1e+39", "1e999"),
    split(),
    '{"dataframe_records": [{"a": null, "b": 1.0, "c": 1.0}]}',
    '{"inputs": {"a": [-Infinity], "b": [1.0], "c": [1.0]}}',
    '{"instances": [{"a": NaN, "b": 1.0, "c": 1.0}]}',
]


@pytest.mark.parametrize("body", BAD)
@pytest.mark.parametrize("name", ["linear", "no signature"])
def test_bad_data_is_of_the_class_client(app, name, body):
    general = app(name).general
    response = general.respond(body.encode(), "application/json")
    assert response.error == "client", response.body
    fields = json.loads(response.body)
    assert (response.status, fields["error_code"]) == (400, "BAD_REQUEST"), "MLflow's own response"
    assert "stack_trace" not in fields


@pytest.mark.parametrize("body", ["a,b,c\n1,,2\n", "a,b,c\n1,inf,2\n", "a,b,c\n"])
def test_bad_csv_is_of_the_class_client(app, body):
    response = app("linear").general.respond(body.encode(), "text/csv")
    assert (response.status, response.error) == (400, "client")


@pytest.mark.parametrize(
    "body",
    [
        ",".join(f"c{number}" for number in range(100_001)) + "\n1\n",
        "a\n" + "1," * 200_000 + "1\n",
        '"x\ny",' + "b," * 150_000 + "c\n1\n",
    ],
    ids=["header", "row", "quoted line break"],
)
def test_csv_with_a_hundred_thousand_columns_is_refused(app, body):
    began = time.process_time()
    response = app("linear").general.respond(body.encode(), "text/csv; charset=utf-8")
    assert (response.status, response.error) == (400, "client")
    assert "The limit is 100,000" in json.loads(response.body)["message"]
    assert time.process_time() - began < 5


def test_csv_of_many_rows_is_predicted(app):
    body = "a,b,c\n" + "1.5,2.5,3.5\n" * 60_000
    response = app("linear").general.respond(body.encode(), "text/csv")
    assert response.status == 200 and len(json.loads(response.body)["predictions"]) == 60_000


async def test_a_large_body_is_decoded_in_a_thread(app, monkeypatch):
    application = app("linear")
    batcher, threads = application._batcher, []
    decode = batcher.decode

    def noted(body):
        threads.append(threading.current_thread() is threading.main_thread())
        return decode(body)

    monkeypatch.setattr(batcher, "decode", noted)
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for rows in (1, 10_000, 80_000):
            body = split(*[(1.5, 2.5, 3.5)] * rows).encode()
            response = await client.post("/invocations", content=body, headers={"content-type": "application/json"})
            assert response.status_code == 200 and len(response.json()["predictions"]) == rows
    assert len(body) > large.LARGE
    assert threads == [True, False, False]
    assert response.content == application.general.respond(body, "application/json").body


def test_sound_data_that_a_model_cannot_predict_is_of_the_class_model(app):
    general = app("broken").general
    fine = general.respond(split((1.0, 2.0, 3.0)).encode(), "application/json")
    assert (fine.status, fine.error) == (200, None)
    response = general.respond(split((-1.0, 2.0, 3.0)).encode(), "application/json")
    assert (response.status, response.error) == (500, "model")
    assert json.loads(response.body)["error_code"] == "INTERNAL_ERROR"


def tensors(**changed):
    return {"inputs": [{"name": name, "shape": [1, 1], "datatype": "FP64", "data": [1.0], **changed} for name in NAMES]}


@pytest.mark.parametrize(
    "request_body, message",
    [
        (tensors(data=None), "neither data nor binary_data_size"),
        (tensors(data=[None]), "unexpected error while evaluating the model"),
        (tensors(data=[float("inf")]), "unexpected error while evaluating the model"),
        (tensors(shape=[0, 1], data=[]), "unexpected error while evaluating the model"),
        (tensors(datatype="BYTES", parameters={"content_type": "base64"}, data=["YQ"]), "The tensor a is not base64"),
        (tensors(datatype="BYTES", parameters={"content_type": "base64"}, data=["!!!!"]), "The tensor a is not base64"),
        (tensors(datatype="BYTES", parameters={"content_type": "base64"}, data=[5]), "The tensor a is not base64"),
        ({**tensors(), "outputs": 5}, '"outputs" must be a list of objects with a name, not 5.'),
        ({**tensors(), "outputs": [5]}, 'Every item of "outputs" must be an object with a name, not 5.'),
        ({**tensors(), "outputs": [{"name": ["x"]}]}, 'Every item of "outputs" must be an object with a name'),
        ({**tensors(), "outputs": [{"name": "output-1", "parameters": 5}]}, '"parameters" must be an object, not 5.'),
        ({**tensors(), "outputs": [{"name": "other"}]}, "The model has no output 'other'"),
        ({**tensors(), "parameters": [1]}, "cannot be read"),
    ],
)
def test_bad_tensors_are_of_the_class_client(app, request_body, message):
    response = app("linear").v2.infer(json.dumps(request_body).encode(), None)
    assert (response.status, response.error) == (400, "client"), response.body
    assert message in json.loads(response.body)["error"]


def test_tensors_that_a_model_cannot_predict_are_of_the_class_model(app):
    response = app("broken").v2.infer(json.dumps(tensors(data=[-1.0])).encode(), None)
    assert (response.status, response.error) == (500, "model")


COLUMN = "the column 'a' has a missing value"
RANGE = "the column 'a' has a number over the range of single precision"


@pytest.mark.parametrize(
    "data, problem",
    [
        (pd.DataFrame({"a": [1.0], "b": ["x"]}), None),
        (pd.DataFrame({"a": [1.0, np.nan]}), COLUMN),
        (pd.DataFrame({"a": [None, "x"]}), COLUMN),
        (pd.DataFrame({"a": pd.Series([1, None], dtype="Int64")}), COLUMN),
        (pd.DataFrame({"a": [pd.NaT]}), COLUMN),
        (pd.DataFrame({"a": [[1.0, None]]}), None),
        (pd.DataFrame({"a": [-np.inf]}), RANGE),
        (pd.DataFrame({"a": [1e39]}), RANGE),
        (pd.DataFrame({"a": [3e38], "b": [2**62]}), None),
        (pd.DataFrame({"optional": [np.nan]}), None),
        (pd.DataFrame({"optional": [np.inf]}), RANGE.replace("'a'", "'optional'")),
        (pd.DataFrame([[1.0, np.nan]], columns=["x", "x"]), "the column 'x' has a missing value"),
        (pd.DataFrame({"a": []}), "the request has no rows"),
        (np.zeros((2, 2)), None),
        (np.zeros((0, 2)), "the request has no rows"),
        (np.array([[np.nan]]), "the input has a missing value"),
        (np.array([None, "x"], dtype=object), "the input has a missing value"),
        ({"t": np.array([np.inf])}, "the tensor 't' has a number over the range of single precision"),
        ([], "the request has no rows"),
        ([{"a": 1.0, "b": [2, "x", None]}], None),
        ([{"a": [float("nan")]}], "the input has a missing value"),
        (["hello"], None),
        ({"messages": [{"role": "user"}]}, None),
    ],
)
def test_finds_what_no_model_has_to_take(data, problem):
    assert bad_data.find(data, frozenset({"optional"})) == problem


def test_columns_with_missing_values_in_training_are_optional():
    schema = Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.double, "b", required=False)])
    assert bad_data.optional_columns(schema) == {"b"}
    assert bad_data.optional_columns(Schema([TensorSpec(np.dtype("float32"), (-1, 2))])) == frozenset()
    assert bad_data.optional_columns(None) == frozenset()
