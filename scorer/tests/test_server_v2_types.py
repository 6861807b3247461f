"""The types of columns and predictions in the Open Inference Protocol.

Each column has to reach the model as `/invocations` gives it.
"""

import datetime
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.tests.open_inference import Served, tensor

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property, Schema, TensorSpec
    from sluicegate_scorer.server import tensor_metadata, tensors
    from sluicegate_scorer.server.general import General
    from sluicegate_scorer.server.settings import Policy
    from sluicegate_scorer.server.tensor_inputs import Inputs
    from sluicegate_scorer.server.v2 import OpenInference

pytestmark = pytest.mark.filterwarnings("ignore")

LONGS = Array(DataType.long)
POINT = Object([Property("x", DataType.long), Property("y", DataType.string, required=False)])
TIMES = ["2024-02-29T10:11:12.123456", "1969-12-31T23:59:59.000001"]
NANOSECONDS = [1709201472123456000, -999999000]


def columns(*types, outputs=None, required=True):
    """Return a signature with the columns a, b, and so on."""
    inputs = [ColSpec(kind, name, required) for name, kind in zip("abc", types, strict=False)]
    return ModelSignature(inputs=Schema(inputs), outputs=outputs)


@pytest.mark.parametrize(
    ("column", "datatype", "data", "content", "same"),
    [
        (DataType.boolean, "BOOL", [True, False], None, [True, False]),
        (DataType.integer, "INT32", [1, -2], None, [1, -2]),
        (DataType.long, "INT64", [2**60, -2], None, [2**60, -2]),
        (DataType.float, "FP32", [0.1, 2], None, [0.1, 2.0]),
        (DataType.double, "FP64", [0.1, 2], "np", [0.1, 2.0]),
        (DataType.string, "BYTES", ["x", "é"], None, ["x", "é"]),
        (DataType.string, "BYTES", ["x", "é"], "str", ["x", "é"]),
        (DataType.binary, "BYTES", ["AP8=", "YWJj"], None, ["AP8=", "YWJj"]),
        (DataType.binary, "BYTES", ["AP8=", "YWJj"], "base64", ["AP8=", "YWJj"]),
        (DataType.datetime, "BYTES", TIMES, None, TIMES),
        (DataType.datetime, "BYTES", TIMES, "datetime", TIMES),
        (DataType.datetime, "BYTES", ["2024-01-01", "2024-01-02"], None, ["2024-01-01", "2024-01-02"]),
        (DataType.datetime, "INT64", NANOSECONDS, None, TIMES),
        (DataType.datetime, "INT64", NANOSECONDS, "np", TIMES),
        (LONGS, "BYTES", ["[1,2]", "[]"], None, [[1, 2], []]),
        (LONGS, "INT64", [1, 2, 3, 4], None, [[1, 2], [3, 4]]),
        (POINT, "BYTES", ['{"x": 1, "y": "é"}', '{"x": 2}'], "pd_json", [{"x": 1, "y": "é"}, {"x": 2}]),
        (Map(LONGS), "BYTES", ['{"k": [1]}', "{}"], None, [{"k": [1]}, {}]),
        (AnyType(), "BYTES", ['{"k": [1]}', '"text"'], None, [{"k": [1]}, "text"]),
    ],
    ids=str,
)
def test_column_reaches_the_model_as_by_invocations(column, datatype, data, content, same):
    served = Served(columns(column), [0.0])
    served.outputs(tensor("a", datatype, data, [2, len(data) // 2], content))
    assert served.invocations(dataframe_records=[{"a": value} for value in same]).status == 200
    ours, theirs = served.received
    pd.testing.assert_frame_equal(ours, theirs)
    assert [type(value) for value in ours.a] == [type(value) for value in theirs.a]


def test_times_may_have_different_precisions():
    served = Served(columns(DataType.datetime), [0.0])
    served.outputs(tensor("a", "BYTES", ["2024-01-01", "2024-01-01T00:00:00.5"]))
    assert served.received[0].a.astype(str).tolist() == ["2024-01-01 00:00:00.000", "2024-01-01 00:00:00.500"]


def test_one_value_a_row_is_a_list_for_a_list_column():
    served = Served(columns(LONGS), [0.0])
    served.outputs(tensor("a", "INT64", [1, 2]))
    assert [list(row) for row in served.received[0].a] == [[1], [2]]


@pytest.mark.parametrize(
    ("column", "datatype", "same"),
    [
        (DataType.string, "BYTES", ["x", None]),
        (DataType.double, "FP64", [1.5, None]),
        (DataType.datetime, "BYTES", [TIMES[0], None]),
        (AnyType(), "BYTES", ['{"k": 1}', None]),
    ],
    ids=str,
)
def test_null_reaches_the_model_as_by_invocations(column, datatype, same):
    served = Served(columns(column, required=False), [0.0])
    served.outputs(tensor("a", datatype, same))
    values = [{"k": 1}, None] if isinstance(column, AnyType) else same
    assert served.invocations(dataframe_records=[{"a": value} for value in values]).status == 200
    pd.testing.assert_frame_equal(*served.received)


def test_null_is_not_false():
    """MLflow's protocol makes False of null. A missing value has to reach the model as one."""
    served = Served(columns(DataType.boolean, required=False), [0.0])
    served.outputs(tensor("a", "BOOL", [True, None]))
    assert served.received[0].a.tolist() == [True, None]


def test_raw_bytes_are_the_bytes_themselves():
    """A value that is also valid base64 must not be decoded, unless the request says that it is base64."""
    served = Served(columns(DataType.binary), [0.0])
    raw = b"\x04\x00\x00\x00YWJj" + b"\x02\x00\x00\x00\xff\x00"
    head = {"name": "a", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": len(raw)}}
    assert served.infer(head, raw=raw).status == 200
    assert served.received[0].a.tolist() == [b"YWJj", b"\xff\x00"]
    head = {**head, "shape": [1, 1], "parameters": {"binary_data_size": 8, "content_type": "base64"}}
    assert served.infer(head, raw=raw[:8]).status == 200
    assert served.received[1].a.tolist() == [b"abc"]


@pytest.mark.parametrize(
    ("column", "datatype", "data", "content", "message"),
    [
        (DataType.binary, "BYTES", ["no base64!"], None, "The tensor a is not base64"),
        (DataType.binary, "BYTES", [5], None, "The tensor a is not base64: 5 is not a text"),
        (DataType.datetime, "BYTES", ["soon"], None, "The tensor a is not a time in ISO 8601"),
        (DataType.datetime, "BYTES", ["2024-01-01T00:00:00Z"], None, "time zone. Send them in UTC without one"),
        (LONGS, "BYTES", ["[1"], None, "The tensor a is not JSON"),
        (LONGS, "BYTES", [1], None, "The tensor a is not JSON: 1 is not a text"),
        (LONGS, "BYTES", ["[" * 100000], None, "The tensor a is not JSON"),
        (DataType.boolean, "BOOL", ["false"], None, "The tensor a has the datatype BOOL, which cannot hold 'false'"),
        (DataType.long, "INT64", [1, None], None, "The tensors cannot be read"),
        (DataType.string, "BYTES", ["x"], "hg_json", "'hg_json' of the tensor a is not supported. Use np, str"),
        (DataType.string, "BYTES", ["x"], ["x"], "is not supported"),
    ],
    ids=str,
)
def test_refuses_values_that_are_not_their_content_type(column, datatype, data, content, message):
    response = Served(columns(column), [0.0]).infer(tensor("a", datatype, data, None, content))
    assert (response.status, response.error) == (400, "client")
    assert message in json.loads(response.body)["error"]


def test_metadata_names_the_content_types():
    outputs = Schema([ColSpec(DataType.datetime, "when"), ColSpec(LONGS, "all")])
    metadata = Served(columns(DataType.binary, DataType.datetime, POINT, outputs=outputs)).metadata
    assert metadata["parameters"] == {"content_type": "pd"}
    described = [(item["datatype"], item["parameters"]["content_type"]) for item in metadata["inputs"]]
    assert described == [("BYTES", "base64"), ("BYTES", "datetime"), ("BYTES", "pd_json")]
    described = [(item["datatype"], item["parameters"]["content_type"]) for item in metadata["outputs"]]
    assert described == [("BYTES", "datetime"), ("BYTES", "pd_json")]


def frame(**values):
    return pd.DataFrame(values)


@pytest.mark.parametrize(
    ("prediction", "datatype", "data", "content"),
    [
        (np.array([1.5, np.nan, np.inf, -np.inf]), "FP64", [1.5, None, None, None], "np"),
        (np.array([[0.5, np.nan]], dtype=np.float32), "FP32", [0.5, None], "np"),
        (np.array([1, 2], dtype=">i4"), "INT32", [1, 2], "np"),
        (np.array([True, False]), "BOOL", [True, False], "np"),
        (np.array(["a", "b"]), "BYTES", ["a", "b"], "np"),
        (np.array(["a", None], dtype=object), "BYTES", ["a", None], "str"),
        (np.array(["2024-01-01", "NaT"], dtype="M8[ns]"), "BYTES", ["2024-01-01T00:00:00", None], "datetime"),
        (np.array([b"\xff", b"a"]), "BYTES", ["/w==", "YQ=="], "base64"),
        (frame(a=["x", None, np.nan]), "BYTES", ["x", None, None], "str"),
        (frame(a=[1.5, None]), "FP64", [1.5, None], None),
        (frame(a=pd.array([2**60 + 1, None], dtype="Int64")), "INT64", [2**60 + 1, None], None),
        (frame(a=pd.array([1, 2], dtype="Int32")), "INT32", [1, 2], None),
        (frame(a=pd.array([0.5, None], dtype="Float64")), "FP64", [0.5, None], None),
        (frame(a=pd.array([True, None], dtype="boolean")), "BOOL", [True, None], None),
        (frame(a=np.array([True, None], dtype=object)), "BOOL", [True, None], None),
        (frame(a=np.array([7, None], dtype=object)), "INT64", [7, None], None),
        (frame(a=np.array([7, 0.5, None], dtype=object)), "FP64", [7.0, 0.5, None], None),
        (frame(a=np.array([2**70, 1], dtype=object)), "BYTES", [str(2**70), "1"], "pd_json"),
        (frame(a=pd.Categorical(["x", "y"])), "BYTES", ["x", "y"], "str"),
        (frame(a=[b"\xff", None]), "BYTES", ["/w==", None], "base64"),
        (frame(a=pd.to_datetime(TIMES)), "BYTES", TIMES, "datetime"),
        (frame(a=[pd.Timestamp(TIMES[0], tz="UTC"), pd.NaT]), "BYTES", [TIMES[0] + "+00:00", None], "datetime"),
        (frame(a=[datetime.date(2024, 1, 2)]), "BYTES", ["2024-01-02"], "datetime"),
        (frame(a=[np.array([1, 2]), np.array([3.5, np.nan])]), "BYTES", ["[1,2]", "[3.5,null]"], "pd_json"),
        (frame(a=[{"k": np.float32(0.5), "n": np.int64(2), "v": np.arange(2)}]), "BYTES",
         ['{"k":0.5,"n":2,"v":[0,1]}'], "pd_json"),
        (frame(a=[{"when": pd.Timestamp(TIMES[0])}]), "BYTES",
         ['{"when":"' + TIMES[0] + '"}'], "pd_json"),
        (frame(a=["x", {"k": None}, None]), "BYTES", ['"x"', '{"k":null}', "null"], "pd_json"),
        ({"a": {"k": np.float64("nan")}}, "BYTES", ['{"k":null}'], "pd_json"),
        ({"a": np.float32(0.5)}, "FP32", [0.5], "np"),
        ({"a": "text"}, "BYTES", ["text"], "str"),
        ({"a": [[1], [2, 3]]}, "BYTES", ["[1]", "[2,3]"], "pd_json"),
        ({"a": [("x", 0.5), ("y", 1)]}, "BYTES", ['["x",0.5]', '["y",1]'], "pd_json"),
        ({"a": ["x", 1]}, "BYTES", ['"x"', "1"], "pd_json"),
        (["x", "y"], "BYTES", ["x", "y"], "str"),
        ([{"é": [np.int64(1)]}, {}], "BYTES", ['{"é":[1]}', "{}"], "pd_json"),
        ([0.5, None], "FP64", [0.5, None], None),
        ("text", "BYTES", ["text"], "str"),
        (0.5, "FP64", [0.5], "np"),
        (None, "BYTES", [None], "str"),
    ],
)  # fmt: skip
def test_predictions_are_valid_tensors(prediction, datatype, data, content):
    served = Served(None, prediction)
    [output] = served.outputs(tensor("x", "FP64", [1.0]))
    assert (output["datatype"], output["data"]) == (datatype, data)
    assert output.get("parameters", {}).get("content_type") == content
    assert int(np.prod(output["shape"])) == len(data)
    # The binary form has the same values, and has to be in JSON if it cannot express them.
    response = served.infer(tensor("x", "FP64", [1.0]), parameters={"binary_data_output": True})
    length = int(dict(response.headers).get(b"inference-header-content-length", len(response.body)))
    [output] = json.loads(response.body[:length])["outputs"]
    assert ("data" in output) == (None in data and datatype[:2] != "FP"), output
    if "data" not in output:
        assert output["parameters"]["binary_data_size"] == len(response.body) - length


def test_model_gets_a_list_of_texts():
    served = Served(ModelSignature(inputs=Schema([ColSpec(DataType.string)])), ["x"])
    served.outputs(tensor("any", "BYTES", ["a", "b"]), parameters={"content_type": "str"})
    assert served.received[0].iloc[:, 0].tolist() == ["a", "b"]  # MLflow makes a DataFrame of the list
    served = Served(None, ["x"])
    served.outputs(tensor("any", "BYTES", ["a", "b"], [2]), parameters={"content_type": "str"})
    served.outputs(tensor("any", "BYTES", ['{"k": [1]}', "null"], [2], "json"), parameters={"content_type": "json"})
    assert served.received == [["a", "b"], [{"k": [1]}, None]]


def test_tensors_of_texts_and_times():
    inputs = Schema([TensorSpec(np.dtype("str"), (-1, 1), "s"), TensorSpec(np.dtype("M8[ns]"), (-1, 1), "t")])
    served = Served(ModelSignature(inputs=inputs), [0.0])
    assert [item["datatype"] for item in served.metadata["inputs"]] == ["BYTES", "BYTES"]
    served.outputs(tensor("s", "BYTES", ["x", "yy"]), tensor("t", "BYTES", TIMES))
    assert served.received[0]["s"].tolist() == [["x"], ["yy"]] and served.received[0]["s"].dtype.kind == "U"
    assert served.received[0]["t"].astype(np.int64).reshape(-1).tolist() == NANOSECONDS


def test_takes_one_tensor_for_one_array():
    served = Served(ModelSignature(inputs=Schema([TensorSpec(np.dtype("float64"), (-1, 1))])), [0.0])
    response = served.infer(tensor("a", "FP64", [1.0]), tensor("b", "FP64", [1.0]))
    assert response.status == 400 and b"takes one tensor. The request has 2" in response.body
    response = served.infer(tensor("a", "FP64", [1.0]), tensor("a", "FP64", [1.0]))
    assert response.status == 400 and b"two tensors 'a'" in response.body


@pytest.mark.parametrize(
    ("outputs", "prediction", "names"),
    [
        (Schema([ColSpec(DataType.double)]), np.ones(2), ["output-1"]),
        (Schema([ColSpec(DataType.double, "y")]), np.ones(2), ["y"]),
        (Schema([ColSpec(DataType.double, "y")]), pd.Series([1.0, 2.0]), ["y"]),
        (Schema([ColSpec(DataType.double, "y")]), pd.Series([1.0, 2.0], name="other"), ["y"]),
        (Schema([ColSpec(DataType.double, "y")]), {"other": np.ones(2)}, ["y"]),
        (Schema([ColSpec(DataType.double)]), pd.DataFrame([[1.0], [2.0]]), ["output-1"]),
        (Schema([ColSpec(DataType.double, "y"), ColSpec(DataType.double, "z")]), np.ones((2, 2)), ["y", "z"]),
        (Schema([ColSpec(DataType.double), ColSpec(DataType.double)]), np.ones((2, 2)), ["output-1", "output-2"]),
        (Schema([ColSpec(DataType.double, "y"), ColSpec(DataType.double, "z")]), pd.DataFrame([[1.0, 2]]), ["y", "z"]),
        (Schema([TensorSpec(np.dtype("float64"), (-1, 2))]), np.ones((2, 2)), ["output-1"]),
        (None, pd.Series([1.0, 2.0]), ["output-1"]),
        (None, [0.5], ["output-1"]),
    ],
)
def test_metadata_and_response_have_the_same_names(outputs, prediction, names):
    served = Served(columns(DataType.double, outputs=outputs), prediction)
    request = tensor("a", "FP64", [1.0])
    if outputs is not None:
        assert [item["name"] for item in served.metadata["outputs"]] == names
    assert [item["name"] for item in served.outputs(request)] == names
    for name in names:
        assert [item["name"] for item in served.outputs(request, outputs=[{"name": name}])] == [name]


def test_names_of_the_model_and_of_mlserver_work_too():
    two = Schema([ColSpec(DataType.double, "y"), ColSpec(DataType.double, "z")])
    served = Served(columns(DataType.double, outputs=two), np.array([[1.0, 2.0]]))
    request = tensor("a", "FP64", [1.0])
    [whole] = served.outputs(request, outputs=[{"name": "output-1"}])
    assert (whole["name"], whole["shape"], whole["data"]) == ("output-1", [1, 2], [1.0, 2.0])
    one = Schema([ColSpec(DataType.double, "y")])
    served = Served(columns(DataType.double, outputs=one), {"other": np.ones(1)})
    assert [item["name"] for item in served.outputs(request, outputs=[{"name": "other"}])] == ["other"]


@pytest.mark.parametrize(
    ("prediction", "status", "error"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), 400, "client"),
        (np.array([1], dtype="m8[ns]"), 400, "client"),
        (np.array([1j]), 500, "model"),
        (object(), 500, "model"),
    ],
)
def test_only_what_no_protocol_expresses_counts_against_the_model(prediction, status, error):
    served = Served(columns(DataType.double), prediction)
    response = served.infer(tensor("a", "FP64", [1.0]))
    assert (response.status, response.error) == (status, error)
    same = served.invocations(dataframe_records=[{"a": 1.0}])
    assert (same.status == 200) == (status == 400)


class Hinted(mlflow.pyfunc.PythonModel):
    """A model whose signature comes from type hints."""

    def predict(self, model_input: list[dict[str, list[float]]]) -> list[float]:
        return [sum(map(sum, row.values())) for row in model_input]


def test_type_hinted_model_gets_a_list(tmp_path):
    mlflow.pyfunc.save_model(str(tmp_path / "m"), python_model=Hinted(), pip_requirements=["mlflow"])
    general = General(mlflow.pyfunc.load_model(str(tmp_path / "m")), Policy())
    v2 = OpenInference(general, "model", "")
    metadata = json.loads(v2.route("GET", "/v2/models/model").body)
    assert metadata["parameters"] == {"content_type": "json"}
    [described] = metadata["inputs"]
    assert (described["datatype"], described["parameters"]) == ("BYTES", {"content_type": "pd_json"})
    rows = [{"a": [1.0, 2.5]}, {"a": [], "b": [0.5]}]
    body = {"inputs": [tensor(described["name"], "BYTES", [json.dumps(row) for row in rows])]}
    response = v2.infer(json.dumps(body).encode(), None)
    same = general.respond(json.dumps({"inputs": rows}).encode(), "application/json")
    assert json.loads(response.body)["outputs"][0]["data"] == json.loads(same.body)["predictions"] == [3.5, 0.5]


@pytest.mark.parametrize(
    ("column", "sent", "rows"),
    [
        (DataType.string, tensor("a", "BYTES", ["x", "y"]), ["x", "y"]),
        (DataType.double, tensor("a", "FP64", [0.5, 1]), [0.5, 1.0]),
        (LONGS, tensor("a", "INT64", [1]), [[1]]),
        (DataType.binary, tensor("a", "BYTES", ["YWJj"]), [b"abc"]),
        (DataType.datetime, tensor("a", "BYTES", ["2024-01-02T03:04:05"]), [datetime.datetime(2024, 1, 2, 3, 4, 5)]),
        (DataType.datetime, tensor("a", "INT64", [10**9]), [datetime.datetime(1970, 1, 1, 0, 0, 1)]),
        (AnyType(), tensor("a", "BYTES", ['{"x": 1}', "5"]), [{"x": 1}, 5]),
    ],
    ids=str,
)
def test_each_row_is_an_item_of_the_list(column, sent, rows):
    _, [received] = tensors.parse(json.dumps({"inputs": [sent]}).encode(), None)
    inputs = Inputs(tensor_metadata.describe(Schema([ColSpec(column)]), "input-", 0), "json")
    assert inputs.read([received], None) == rows


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner))
rows = st.one_of(*(st.lists(kind, min_size=1, max_size=4) for kind in (values, leaves, st.floats(width=32), st.text())))


def _decoded(output):
    """Return what a client reads."""
    json_texts = output.get("parameters", {}).get("content_type") == "pd_json"
    return [json.loads(value) if json_texts else value for value in output["data"]]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows)
def test_any_prediction_is_the_same_by_both_protocols(column):
    """NaN and infinity are null, and everything else is what `/invocations` responds."""
    served = Served(columns(DataType.double))
    for prediction in (pd.DataFrame({"a": pd.Series(column)}), pd.DataFrame({"a": pd.Series(column, dtype=object)})):
        served.prediction = prediction
        same = served.invocations(dataframe_records=[{"a": 1.0}])
        assert same.status == 200
        expected = json.loads(same.body, parse_constant=lambda constant: None)["predictions"]
        [output] = served.outputs(tensor("a", "FP64", [1.0]))
        assert _decoded(output) == [row["a"] for row in expected]
