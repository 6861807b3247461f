"""Tensors of the Open Inference Protocol: of requests, and of predictions.

The protocol has two encodings. Values are part of the JSON, or the binary extension sends them after it as raw bytes.
The raw bytes follow the order of the tensors, little-endian and row-major. Each text has its length before it.
"""

import base64
import json
from typing import Any, NamedTuple

import numpy as np

_TO_NUMPY = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
_FROM_NUMPY = {value: key for key, value in _TO_NUMPY.items()}
_COLUMN_TYPES = {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64"}
_LENGTH = 4
"""Bytes of the length before each text."""


class BadRequest(Exception):
    """An error in a request. The text is the message for its client."""


class Output(NamedTuple):
    """One tensor of a prediction.

    Attributes:
        head: its description.
        array: its flat values: a numpy array, or for BYTES a list of texts.
    """

    head: dict[str, Any]
    array: Any


def parse(body: bytes, length: bytes | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a request, and its tensors by name.

    Args:
        body: the body.
        length: bytes of the JSON if raw values follow it (the header Inference-Header-Content-Length).

    Raises:
        BadRequest: if the request is not valid.
    """
    if length is not None and not (length.isdigit() and int(length) <= len(body)):
        raise BadRequest("Inference-Header-Content-Length must be the number of bytes of JSON in the body.")
    end = len(body) if length is None else int(length)
    try:
        request = json.loads(body[:end])
    except (ValueError, RecursionError):
        raise BadRequest(
            "The body is not JSON. If raw values follow the JSON, set Inference-Header-Content-Length to its length."
        ) from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list) or not request["inputs"]:
        raise BadRequest('The body must be an object with a list "inputs" of at least one tensor.')
    tensors = {}
    raw = memoryview(body)[end:]
    for tensor in request["inputs"]:
        if not isinstance(tensor, dict) or not {"name", "shape", "datatype"} <= tensor.keys():
            raise BadRequest("Every tensor needs name, shape and datatype, and data or binary_data_size.")
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is not None:
            if not isinstance(size, int) or not 0 <= size <= len(raw):
                raise BadRequest(
                    f"binary_data_size of the tensor {tensor['name']} is {size!r}. Use an integer from 0 to {len(raw)}."
                )
            tensors[tensor["name"]] = _from_bytes(tensor, raw[:size])
            raw = raw[size:]
        elif tensor.get("data") is not None:
            tensors[tensor["name"]] = _from_json(tensor)
        else:
            raise BadRequest(f"The tensor {tensor['name']} has neither data nor binary_data_size.")
    if len(raw):
        raise BadRequest(f"The body has {len(raw)} bytes after its last tensor.")
    return request, tensors


def _from_json(tensor: dict[str, Any]) -> Any:
    kind = tensor["datatype"]
    if kind == "BYTES":
        values = np.array(tensor["data"], dtype=object)
        if (tensor.get("parameters") or {}).get("content_type") == "base64":
            values = np.array([_from_base64(value) for value in values.reshape(-1)], dtype=object)
    else:
        values = np.array(tensor["data"], dtype=_numpy(kind))
        if values.dtype.kind in "iu":
            _check_whole(tensor, values)
    return values.reshape(tensor["shape"])


def _from_base64(value: Any) -> bytes:
    text = value if isinstance(value, bytes) else value.encode()
    return base64.b64decode(b"".join(text.split()), validate=True)  # it would skip other characters otherwise


def _check_whole(tensor: dict[str, Any], values: Any) -> None:
    """Refuse fractions that numpy would cut off without a warning.

    MLflow refuses fractions for integer columns too.
    """
    sent = np.array(tensor["data"])
    if sent.dtype.kind == "f" and not np.array_equal(sent, values):
        wrong = sent.reshape(-1)[np.argmax(sent.reshape(-1) != values.reshape(-1))]
        raise BadRequest(
            f"The tensor {tensor['name']} has the datatype {tensor['datatype']}, which cannot hold {wrong}."
        )


def _from_bytes(tensor: dict[str, Any], raw: memoryview) -> Any:
    kind = tensor["datatype"]
    if kind != "BYTES":
        values = np.frombuffer(raw, dtype=np.dtype(_numpy(kind)).newbyteorder("<"))
        return values.astype(_numpy(kind)).reshape(tensor["shape"])  # a copy, because models may write to it
    content = (tensor.get("parameters") or {}).get("content_type")
    texts = []
    where = 0
    while where < len(raw):
        start = where + _LENGTH
        where = start + int.from_bytes(raw[start - _LENGTH : start], "little")
        if where > len(raw) or start > len(raw):
            raise BadRequest(f"The texts of the tensor {tensor['name']} are longer than its raw bytes.")
        value = bytes(raw[start:where])
        texts.append(value if content == "base64" else value.decode())
    return np.array(texts, dtype=object).reshape(tensor["shape"])


def _numpy(kind: Any) -> str:
    if kind not in _TO_NUMPY:
        raise BadRequest(f"The datatype {kind!r} is not supported. Use {', '.join(_TO_NUMPY)} or BYTES.")
    return _TO_NUMPY[kind]


def outputs(raw: Any) -> tuple[list[Output], str]:
    """Return a prediction as tensors, with their content type (pd, dict or np).

    Raises:
        TypeError: if the protocol has no type for a value.
    """
    import pandas as pd

    if isinstance(raw, pd.Series):
        raw = raw.to_frame()
    if isinstance(raw, pd.DataFrame):
        return [_output(str(name), raw[name].to_numpy()) for name in raw], "pd"
    if isinstance(raw, dict):
        return [_output(str(name), np.asarray(value)) for name, value in raw.items()], "dict"
    return [_output("output-1", np.asarray(raw))], "np"


def _output(name: str, array: Any) -> Output:
    shape = [*array.shape, 1] if array.ndim == 1 else list(array.shape)
    kind = _FROM_NUMPY.get(str(array.dtype))
    if kind is not None:
        head = {"name": name, "shape": shape, "datatype": kind, "parameters": {"content_type": "np"}}
        return Output(head, array.reshape(-1))
    if array.dtype.kind not in "OUST":
        raise TypeError(f"{array.dtype} is not a type of the protocol")
    head = {"name": name, "shape": shape, "datatype": "BYTES", "parameters": {"content_type": "str"}}
    return Output(head, [_text(value) for value in array.reshape(-1).tolist()])


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if isinstance(value, str) else json.dumps(value)


def in_json(output: Output) -> dict[str, Any]:
    """Return a tensor with its values."""
    values = output.array if isinstance(output.array, list) else output.array.tolist()
    return {**output.head, "data": values}


def in_bytes(output: Output) -> tuple[dict[str, Any], bytes]:
    """Return a tensor without its values, and the values as raw bytes."""
    if isinstance(output.array, list):
        texts = [text.encode() for text in output.array]
        raw = b"".join(len(text).to_bytes(_LENGTH, "little") + text for text in texts)
    else:
        raw = output.array.astype(output.array.dtype.newbyteorder("<"), copy=False).tobytes()
    parameters = {**output.head["parameters"], "binary_data_size": len(raw)}
    return {**output.head, "parameters": parameters}, raw


def column(array: Any) -> Any:
    """Return a tensor as a column of a DataFrame."""
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    return array if array.ndim < 2 else list(array.tolist())


def metadata(schema: Any, prefix: str) -> list[dict[str, Any]]:
    """Return the inputs or outputs of a signature as the protocol's metadata."""
    if schema is None:
        return []
    entries = []
    for number, spec in enumerate(schema.inputs):
        name = getattr(spec, "name", None) or f"{prefix}{number}"
        if schema.is_tensor_spec():
            kind, shape = _FROM_NUMPY.get(str(spec.type), "BYTES"), list(spec.shape)
        else:
            kind, shape = _COLUMN_TYPES.get(getattr(spec.type, "name", ""), "BYTES"), [-1, 1]
        content = "np" if kind != "BYTES" else "str"
        entries.append({"name": name, "datatype": kind, "shape": shape, "parameters": {"content_type": content}})
    return entries
