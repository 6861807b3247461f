"""The Open Inference Protocol, with NVIDIA's own client over loopback.

Other tests build by hand the requests that the client cannot express.
"""

import contextlib
import functools
import json
import threading
import time
import warnings

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import uvicorn
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from scorer.tests import zoo
from scorer.tests.open_inference import Served

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema
    from sluicegate_scorer.server.asgi import TEXT, Response, json_error
    from sluicegate_scorer.server.loading import build
    from sluicegate_scorer.server.settings import Limits, ServerSettings
    from sluicegate_scorer.server.v2 import LENGTH_HEADER, as_error

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Save one model of each kind, and return their paths by name.

    The kinds are columns, columns with texts, a tensor without a name, and a tensor with a name.
    """
    made = tmp_path_factory.mktemp("v2")
    return {kept.path.name: kept.path for flavor in ("sklearn", "onnx", "pyfunc") for kept in zoo.make(flavor, made)}


@pytest.fixture(scope="module")
def server(folder):
    """Return a function that serves a model on loopback, once.

    The function returns the server's address and a client.
    """
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(name):
            url = stack.enter_context(listening(made(folder[name])))
            client = triton.InferenceServerClient(url.removeprefix("http://"))
            stack.callback(client.close)
            return url, client

        yield start


def made(path, model=None):
    settings = ServerSettings(limits=Limits(workers=1))
    return build(path, model or mlflow.pyfunc.load_model(str(path)), settings, time.monotonic())


@contextlib.contextmanager
def listening(app):
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, loop="uvloop", http="httptools", lifespan="off", log_config=None
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(20)


def given(name, array, binary):
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return tensor.set_data_from_numpy(array, binary_data=binary)


@pytest.mark.parametrize("binary", [True, False])
def test_columns(server, binary):
    url, client = server("linear")
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("model")
    assert client.is_model_ready("model", "1")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    described = client.get_model_metadata("model")
    assert [(input_["name"], input_["datatype"]) for input_ in described["inputs"]] == [
        (name, "FP64") for name in "abc"
    ]
    rows = np.random.default_rng(1).normal(size=(3, 3))
    inputs = [given(name, column.reshape(-1, 1), binary) for name, column in zip("abc", rows.T, strict=True)]
    response = client.infer("model", inputs, request_id="7")
    body = {"dataframe_split": {"columns": ["a", "b", "c"], "data": rows.tolist()}}
    same = httpx.post(f"{url}/invocations", json=body).json()["predictions"]
    assert response.as_numpy("output-1").tolist() == [[each] for each in same]
    assert response.get_response()["id"] == "7" and response.get_response()["model_name"] == "model"


@pytest.mark.parametrize("binary", [True, False])
def test_texts(server, binary):
    url, client = server("labels")
    inputs = [
        given("a", np.array([[1.0], [-2.0]]), binary),
        given("b", np.array([[1.0], [2.0]]), binary),
        given("c", np.array([["red"], ["blue"]], dtype=object), binary),
        given("d", np.array([[True], [False]]), binary),
    ]
    outputs = [triton.InferRequestedOutput("output-1", binary_data=binary)]
    response = client.infer("model", inputs, outputs=outputs).as_numpy("output-1")
    records = [{"a": 1.0, "b": 1.0, "c": "red", "d": True}, {"a": -2.0, "b": 2.0, "c": "blue", "d": False}]
    same = httpx.post(f"{url}/invocations", json={"dataframe_records": records}).json()["predictions"]
    found = [each.decode() if isinstance(each, bytes) else each for each in response.reshape(-1)]
    assert found == same


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("name", ["tensor", "named", "pair"])
def test_tensors(server, name, binary):
    url, client = server(name)
    rows = np.random.default_rng(2).normal(size=(2, 3)).astype(np.float32)
    tensor = client.get_model_metadata("model")["inputs"][0]
    assert tensor["datatype"] == "FP32" and tensor["shape"] == [-1, 3]
    response = client.infer("model", [given(tensor["name"], rows, binary)])
    same = httpx.post(f"{url}/invocations", json={"inputs": rows.tolist()}).json()["predictions"]
    for output in response.get_response()["outputs"]:
        found = response.as_numpy(output["name"])
        expected = np.array(same[output["name"]], dtype=found.dtype)
        assert found.tobytes() == expected.tobytes()
    assert len(response.get_response()["outputs"]) == len(same)


def test_errors_of_the_store_name_the_fix(server):
    _, client = server("linear")
    one = np.array([[1.0]])
    with pytest.raises(InferenceServerException, match=r"no output 'other'\. Its outputs are: output-1"):
        inputs = [given(name, one, True) for name in "abc"]
        client.infer("model", inputs, outputs=[triton.InferRequestedOutput("other")])
    with pytest.raises(InferenceServerException, match="Model other not found"):
        client.infer("other", [given("a", one, True)])
    with pytest.raises(InferenceServerException, match="missing inputs"):
        client.infer("model", [given("a", one, True)])
    assert not client.is_model_ready("other")


def test_params_and_a_model_exception(server):
    _, client = server("params")
    inputs = [given("a", np.array([[2.0]]), True), given("b", np.array([["x"]], dtype=object), True)]
    response = client.infer("model", inputs, parameters={"factor": 3.0, "prefix": "p"})
    assert response.as_numpy("text").tolist() == [["px"]] or response.as_numpy("text").tolist() == [[b"px"]]
    assert response.as_numpy("sum").tolist() == [[7.0]]
    with pytest.raises(InferenceServerException, match="unexpected error") as failed:
        client.infer("model", [given("a", np.array([[-5.0]]), True), inputs[1]])
    assert failed.value.status() == "500" and "secret" not in str(failed.value)


@pytest.mark.parametrize("binary", [True, False])
def test_times_bytes_and_missing_values(tmp_path, binary):
    """A client reads the metadata, sends what it names, and gets the values back."""
    names = {"when": DataType.datetime, "raw": DataType.binary, "text": DataType.string, "number": DataType.double}
    schema = Schema([ColSpec(kind, name, False) for name, kind in names.items()])
    served = Served(ModelSignature(inputs=schema, outputs=schema), lambda frame: frame)
    with listening(made(tmp_path, served.model)) as url:
        client = triton.InferenceServerClient(url.removeprefix("http://"))
        described = client.get_model_metadata("model")
        assert [item["datatype"] for item in described["inputs"]] == ["BYTES", "BYTES", "BYTES", "FP64"]
        values = {
            "when": np.array([["2024-02-29T01:02:03"], ["1970-01-01T00:00:00"]], dtype=object),
            "raw": np.array([[b"\xff\x00"], [b"YWJj"]] if binary else [["/wA="], ["WVdKag=="]], dtype=object),
            "text": np.array([["é"], [""]], dtype=object),
            "number": np.array([[1.5], [np.nan]]),
        }
        inputs = [given(name, array, binary) for name, array in values.items() if binary or name != "number"]
        if not binary:  # the client writes NaN into the JSON otherwise
            inputs.append(given("number", np.array([[1.5], [2.5]]), True))
        outputs = [triton.InferRequestedOutput(item["name"], binary_data=binary) for item in described["outputs"]]
        response = client.infer("model", inputs, outputs=outputs)
        nanoseconds = given("when", np.array([[1709168523 * 10**9], [0]]), binary)
        again = client.infer("model", [nanoseconds, *inputs[1:]], outputs=outputs)
        client.close()
    assert served.received[-1].raw.tolist() == [b"\xff\x00", b"YWJj"]
    for result in (response, again):
        for name in ("when", "raw", "text"):
            assert _as_bytes(result.as_numpy(name)) == _as_bytes(values[name])
    if binary:
        np.testing.assert_array_equal(response.as_numpy("number"), values["number"])


def _as_bytes(array):
    return [value if isinstance(value, bytes) else value.encode() for value in array.reshape(-1).tolist()]


@pytest.mark.parametrize(
    "body", [b"too slow", json_error("REQUEST_LIMIT_EXCEEDED", "too slow"), b'{"error": "too slow"}']
)
def test_every_error_has_the_form_of_the_protocol(body):
    response = as_error(Response(504, body, TEXT, "timeout", ((b"retry-after", b"1"),)))
    assert json.loads(response.body) == {"error": "too slow"}
    assert (response.status, response.error, response.headers) == (504, "timeout", ((b"retry-after", b"1"),))


def test_requests_of_kserve_client():
    """The bytes are those of kserve 0.21's client, whose package needs an older pandas than the models here."""
    inputs = Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.string, "b")])
    served = Served(ModelSignature(inputs=inputs), np.array([1.5, np.nan]))
    head = (
        b'{"id":"1","model_name":"model","inputs":[{"name":"a","shape":[2,1],"datatype":"FP64",'
        b'"parameters":{"binary_data_size":16}},{"name":"b","shape":[2,1],"datatype":"BYTES",'
        b'"parameters":{"binary_data_size":11}}],"parameters":{"binary_data_output":true}}'
    )
    raw = np.array([1.0, 2.0]).tobytes() + b"\x02\x00\x00\x00\xc3\xa9\x01\x00\x00\x00x"
    response = served.v2.infer(head + raw, str(len(head)).encode())
    length = int(dict(response.headers)[LENGTH_HEADER])
    assert json.loads(response.body[:length])["outputs"] == [
        {"name": "output-1", "shape": [2, 1], "datatype": "FP64",
         "parameters": {"content_type": "np", "binary_data_size": 16}}
    ]  # fmt: skip
    assert response.body[length:] == np.array([1.5, np.nan]).tobytes()
    assert served.received[0].values.tolist() == [[1.0, "é"], [2.0, "x"]]


FINE = {"name": "a", "shape": [1, 1], "datatype": "FP64"}


@pytest.mark.parametrize(
    "body, raw, length, expected",
    [
        ({"inputs": [{**FINE, "parameters": {"binary_data_size": 9}}]}, b"12345678", None, "from 0 to 8"),
        ({"inputs": [{**FINE, "parameters": {"binary_data_size": 8}}]}, b"123456789", None, "1 bytes after its last"),
        ({"inputs": [{**FINE, "parameters": {"binary_data_size": -1}}]}, b"", None, "is -1. Use an integer"),
        ({"inputs": [{**FINE, "parameters": {"binary_data_size": "8"}}]}, b"12345678", None, "is '8'. Use"),
        ({"inputs": [{**FINE, "parameters": {"binary_data_size": 7}}]}, b"1234567", None, "cannot be read"),
        ({"inputs": [{**FINE, "parameters": []}]}, b"", None, "neither data nor binary_data_size"),
        ({"inputs": [{**FINE, "parameters": [1]}]}, b"", None, "cannot be read"),
        ({"inputs": [FINE]}, b"", None, "neither data nor binary_data_size"),
        ({"inputs": [{**FINE, "data": [1, 2]}]}, b"", None, "cannot be read"),
        ({"inputs": [{**FINE, "data": [1], "datatype": "FP8"}]}, b"", None, "'FP8' is not supported"),
        ({"inputs": [{**FINE, "data": [1], "datatype": ["x"]}]}, b"", None, "cannot be read"),
        ({"inputs": [{**FINE, "data": [1]}], "parameters": {"content_type": "x"}}, b"", None, "'x' is not supported"),
        ({"inputs": [{**FINE, "data": [1]}], "parameters": 5}, b"", None, "cannot be read"),
        ({"inputs": [{**FINE, "name": ["a"], "data": [1]}]}, b"", None, "cannot be read"),
        ({"inputs": [{**FINE, "data": [1.5], "datatype": "INT64"}]}, b"", None, "INT64, which cannot hold 1.5"),
        ({"inputs": [{**FINE, "data": [[3e9]], "datatype": "INT32"}]}, b"", None, "out of bounds for int32"),
        ({"inputs": []}, b"", None, "at least one tensor"),
        ({"inputs": [5]}, b"", None, "needs name"),
        ({}, b"rest", b"x", "must be the number of bytes"),
        ({}, b"rest", b"99999", "must be the number of bytes"),
        ({}, b"rest", b"1", "is not JSON"),
        (
            {"inputs": [{**FINE, "datatype": "BYTES", "parameters": {"binary_data_size": 6}}]},
            b"\x09\x00\x00\x00ab", None, "longer than its raw bytes",
        ),
        (
            {"inputs": [{**FINE, "datatype": "BYTES", "parameters": {"binary_data_size": 3}}]},
            b"\x00\x00\x00", None, "longer than its raw bytes",
        ),
        (
            {"inputs": [{**FINE, "datatype": "BYTES", "parameters": {"binary_data_size": 5}}]},
            b"\x01\x00\x00\x00\xff", None, "The tensor a is not text in UTF-8",
        ),
    ],
)  # fmt: skip
def test_refuses_invalid_requests(application, body, raw, length, expected):
    text = json.dumps(body).encode()
    response = application.v2.infer(text + raw, length or str(len(text)).encode())
    assert (response.status, response.error) == (400, "client")
    assert expected in json.loads(response.body)["error"]


@pytest.fixture(scope="module")
def application(folder):
    return made(folder["linear"])
