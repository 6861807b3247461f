"""The cases of MLServer's own tests: of its MLflow runtime (runtimes/mlflow/tests), and of its codecs (tests/codecs).

Clients of MLServer are the clients of this protocol for MLflow models. docs/guide/scoring.md lists what is deliberately
different, and the last tests here hold that.
"""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from scorer.tests.open_inference import Served, tensor

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property, Schema, TensorSpec

pytestmark = pytest.mark.filterwarnings("ignore")

ONE = tensor("foo", "FP64", [1, 2, 3], [3])
NESTED = pd.DataFrame(
    {
        "foo": [[1], [1, 2], [1, 2, 3]],
        "bar": [{"a": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}],
        "baz": ["a", "b", {"a": 1}],
        "qux": [np.array([1, 2]), np.array([1, 2, 3]), {"a": 1, "b": {"c": {"d": 1}}, "e": 2}],
    }
)
LONGS = Array(DataType.long)
POINT = Object([Property("a", DataType.long), Property("b", DataType.string)])
FOUR = [ColSpec(LONGS), ColSpec(Map(LONGS)), ColSpec(POINT), ColSpec(AnyType())]


def served(prediction=None):
    """Serve the model of MLServer's tests, which has a column `foo`, one output and a parameter."""
    signature = infer_signature(pd.DataFrame({"foo": [0.5]}), np.array([0.5]), {"foo_param": "foo_value"})
    return Served(signature, np.ones(3) if prediction is None else prediction)


def out(name, datatype, shape, data, content=None):
    made = {"name": name, "shape": shape, "datatype": datatype, "data": data}
    return made if content is None else {**made, "parameters": {"content_type": content}}


def texts(name, data):
    return out(name, "BYTES", [3, 1], data, "pd_json")


@pytest.mark.parametrize(
    ("prediction", "content", "expected"),
    [
        (["foo"], "str", [out("output-1", "BYTES", [1, 1], ["foo"], "str")]),
        (
            np.array([[1, 2], [3, 4]], dtype=np.float32),
            "np",
            [out("output-1", "FP32", [2, 2], [1, 2, 3, 4], "np")],
        ),
        (
            {"foo": np.array([1, 2, 3]), "bar": np.array([1.2])},
            "dict",
            [out("foo", "INT64", [3, 1], [1, 2, 3], "np"), out("bar", "FP64", [1, 1], [1.2], "np")],
        ),
        (
            {"foo": np.array([1, 2, 3]), "bar": np.array(["hello", "world"])},
            "dict",
            [out("foo", "INT64", [3, 1], [1, 2, 3], "np"), out("bar", "BYTES", [2, 1], ["hello", "world"], "np")],
        ),
        (
            {"foo": np.array([1, 2, 3]), "bar": np.array([[2.3], [4.5]])},
            "dict",
            [out("foo", "INT64", [3, 1], [1, 2, 3], "np"), out("bar", "FP64", [2, 1], [2.3, 4.5], "np")],
        ),
        (
            pd.DataFrame({"foo": np.array([1, 2, 3]), "bar": ["A", "B", "C"]}),
            "pd",
            [out("foo", "INT64", [3, 1], [1, 2, 3]), out("bar", "BYTES", [3, 1], ["A", "B", "C"], "str")],
        ),
        (
            pd.DataFrame({"foo": [4, np.nan, 6], "bar": [1, 2.5, 3]}),
            "pd",
            [out("foo", "FP64", [3, 1], [4, None, 6]), out("bar", "FP64", [3, 1], [1.0, 2.5, 3.0])],
        ),
        (
            NESTED,
            "pd",
            [
                texts("foo", ["[1]", "[1,2]", "[1,2,3]"]),
                texts("bar", ['{"a":1}', '{"a":1,"b":2}', '{"a":1,"b":2,"c":3}']),
                texts("baz", ['"a"', '"b"', '{"a":1}']),
                texts("qux", ["[1,2]", "[1,2,3]", '{"a":1,"b":{"c":{"d":1}},"e":2}']),
            ],
        ),
        (np.array([2.3, 3.4, np.nan]), "np", [out("output-1", "FP64", [3, 1], [2.3, 3.4, None], "np")]),
    ],
)
def test_predict_outputs(prediction, content, expected):
    response = json.loads(served(prediction).infer(ONE).body)
    assert response == {"model_name": "model", "parameters": {"content_type": content}, "outputs": expected}


def test_predict_of_each_request_content_type():
    for content, sent in (("dict", ONE), ("np", ONE), ("pd", ONE)):
        server = Served(None, np.ones(3))
        [output] = server.outputs(sent, parameters={"content_type": content})
        assert output["name"] == "output-1"
        received = server.received[0]
        values = received if content == "np" else received["foo"]
        assert np.asarray(values).tolist() == [1.0, 2.0, 3.0]


def test_predict_with_params():
    signature = infer_signature(np.ones((1, 10), dtype=np.int64), params={"extra_param": "default"})
    server = Served(signature, {"test": np.array([1, 2, 3])})
    sent = {**tensor("predict", "INT64", [list(range(10))], [1, 10]), "parameters": {"extra_param2": "extra_value2"}}
    server.outputs(sent, parameters={"content_type": "np", "extra_param": "extra_value"})
    assert server.params == {"extra_param": "extra_value"}
    server.outputs(sent, parameters={"content_type": "np"})
    assert server.params == {"extra_param": "default"}
    assert server.received[0].tolist() == [list(range(10))]


def test_metadata():
    metadata = served().metadata
    assert metadata["parameters"] == {"content_type": "pd"}
    assert metadata["inputs"] == [
        {"name": "foo", "datatype": "FP64", "shape": [-1, 1], "parameters": {"content_type": "np"}}
    ]
    assert len(metadata["outputs"]) == 1


INT32, FLOAT32 = np.dtype("int32"), np.dtype("float32")


@pytest.mark.parametrize(
    ("schema", "content", "expected"),
    [
        ([TensorSpec(INT32, (2, 2), "foo")], "dict", [("foo", "INT32", [2, 2], "np")]),
        ([TensorSpec(INT32, (2, 2))], "np", [("input-0", "INT32", [2, 2], "np")]),
        (
            [TensorSpec(INT32, (-1, 2), "foo"), TensorSpec(FLOAT32, (-1, 10), "bar")],
            "dict",
            [("foo", "INT32", [-1, 2], "np"), ("bar", "FP32", [-1, 10], "np")],
        ),
        (
            [ColSpec(DataType.string), ColSpec(DataType.integer)],
            "pd",
            [("input-0", "BYTES", [-1, 1], "str"), ("input-1", "INT32", [-1, 1], "np")],
        ),
        (
            [ColSpec(DataType.boolean, "foo"), ColSpec(DataType.binary, "bar")],
            "pd",
            [("foo", "BOOL", [-1, 1], "np"), ("bar", "BYTES", [-1, 1], "base64")],
        ),
        (FOUR, "pd", [(f"input-{number}", "BYTES", [-1, 1], "pd_json") for number in range(4)]),
    ],
)
def test_to_metadata_tensors(schema, content, expected):
    metadata = Served(ModelSignature(inputs=Schema(schema))).metadata
    assert metadata["parameters"] == {"content_type": content}
    assert [(*list(item.values())[:3], item["parameters"]["content_type"]) for item in metadata["inputs"]] == expected


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("column", "sent"),
    [
        (DataType.boolean, tensor("foo", "BOOL", [True, False], [2], "np")),
        (DataType.string, tensor("foo", "BYTES", ["hello", "world"], [2], "str")),
        (DataType.binary, tensor("foo", "BYTES", ["UHl0aG9uIGlzIGZ1bg=="], [1], "base64")),
        (DataType.datetime, tensor("foo", "BYTES", ["2021-08-24T15:01:19"], [1], "datetime")),
        (LONGS, tensor("foo", "BYTES", ["[1,2]", "[3,4]"], [2], "pd_json")),
        (Map(LONGS), tensor("foo", "BYTES", ['{"a":[1,2]}', '{"b":[3,4]}', '{"c":[5,6]}'], [3], "pd_json")),
        (POINT, tensor("foo", "BYTES", ['{"a":1,"b":"hello"}', '{"a":2,"b":"world"}'], [2], "pd_json")),
        (AnyType(), tensor("foo", "BYTES", ['"a"', "[1,2]", '{"b":2}'], [3], "pd_json")),
    ],
    ids=str,
)
def test_content_types(column, sent, named):
    """MLflow refuses what does not fit the signature, so a response means that the values did."""
    server = Served(ModelSignature(inputs=Schema([ColSpec(column, "foo")])), [0.0])
    fields = {"parameters": {"content_type": "pd"}} if named else {}
    server.outputs(sent if named else {**sent, "parameters": {}}, **fields)
    assert len(server.received[0]) == sent["shape"][0]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (tensor("foo", "INT32", [1, 2, 3, 4], [2, 2]), np.array([[1, 2], [3, 4]], dtype=np.int32)),
        (tensor("foo", "FP32", [1, 2], [2]), np.array([1, 2], dtype=np.float32)),
        (tensor("foo", "BYTES", ["foo", "bar"], [2]), np.array(["foo", "bar"], dtype=object)),
        (tensor("foo", "FP16", [1, 2, None], [3]), np.array([1, 2, np.nan], dtype=np.float16)),
    ],
    ids=str,
)
def test_numpy_decode_input(sent, expected):
    server = Served(None, [0.0])
    server.outputs(sent, parameters={"content_type": "np"})
    assert server.received[0].dtype == expected.dtype
    np.testing.assert_array_equal(server.received[0], expected)


@pytest.mark.parametrize(
    ("data", "shape", "expected"),
    [
        ("hello world", [1, 1], ["hello world"]),
        (["hey", "whats"], [2, 1], ["hey", "whats"]),
        ([None], [1, 1], [None]),
    ],
)
def test_string_decode_input(data, shape, expected):
    server = Served(None, ["x"])
    server.outputs(tensor("foo", "BYTES", data, shape), parameters={"content_type": "str"})
    assert server.received == [expected]


def test_pandas_decode_request():
    """What MLServer's codec makes of a DataFrame, and of the columns that only have a shape of one dimension."""
    server = Served(None, [0.0])
    server.outputs(
        tensor("a", "INT32", [1, 2], [2]),
        tensor("b", "FP32", [5, 6], [2, 1]),
        tensor("c", "BYTES", ["A", "B"], [2, 1], "str"),
        tensor("d", "BYTES", ['{"a":1}', '"x"'], [2, 1], "pd_json"),
        tensor("e", "BYTES", ["[1]", "[1,2]"], [2, 1], "pd_json"),
        parameters={"content_type": "pd"},
    )
    frame = pd.DataFrame({"a": [1, 2], "b": [5, 6], "c": ["A", "B"], "d": [{"a": 1}, "x"], "e": [[1], [1, 2]]})
    pd.testing.assert_frame_equal(server.received[0], frame.astype({"a": "int32", "b": "float32"}))


def test_differs_in_unknown_outputs():
    """MLServer ignores outputs that the model does not have."""
    response = served().infer(ONE, outputs=[{"name": "predict"}, {"name": "predict_proba"}])
    assert response.status == 400 and b"no output 'predict'. Its outputs are: output-1" in response.body


def test_differs_in_the_name_in_the_metadata():
    """MLServer's metadata has output-0, and its responses have output-1."""
    assert [item["name"] for item in served().metadata["outputs"]] == ["output-1"]


def test_differs_in_what_is_not_base64():
    """MLServer gives the model the text if it is not base64."""
    server = Served(ModelSignature(inputs=Schema([ColSpec(DataType.binary, "foo")])), [0.0])
    assert server.infer(tensor("foo", "BYTES", ["Python is fun"])).status == 400


def test_differs_in_missing_texts_and_in_bytes():
    """MLServer calls texts with null `np`, and joins the bytes of an array into one text."""
    assert served(np.array([None, "bar"])).outputs(ONE) == [out("output-1", "BYTES", [2, 1], [None, "bar"], "str")]
    array = np.array([[b"\x01"], [b"\x02"]])
    assert served(array).outputs(ONE) == [out("output-1", "BYTES", [2, 1], ["AQ==", "Ag=="], "base64")]
