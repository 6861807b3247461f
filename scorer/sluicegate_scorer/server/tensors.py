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
FROM_NUMPY = {value: key for key, value in _TO_NUMPY.items()}
_LENGTH = 4
"""Bytes of the length before each text."""


class BadRequest(Exception):
    """An error in a request. The text is the message for its client."""


class Tensor(NamedTuple):
    """One tensor of a request.

    Attributes:
        name: its name.
        kind: its datatype.
        content: the content type that the request names for it, or None.
        array: its values in its shape. The values of BYTES are texts, or bytes that followed the JSON.
    """

    name: str
    kind: str
    content: str | None
    array: Any


class Output(NamedTuple):
    """One tensor of a prediction.

    Attributes:
        head: its description.
        values: its flat values: a numpy array, or a list of texts, of bytes or of numbers in which None is missing.
    """

    head: dict[str, Any]
    values: Any


def parse(body: bytes, length: bytes | None) -> tuple[dict[str, Any], list[Tensor]]:
    """Return a request, and its tensors.

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
    tensors: dict[str, Tensor] = {}
    raw = memoryview(body)[end:]
    for tensor in request["inputs"]:
        if not isinstance(tensor, dict) or not {"name", "shape", "datatype"} <= tensor.keys():
            raise BadRequest("Every tensor needs name, shape and datatype, and data or binary_data_size.")
        name, parameters = tensor["name"], tensor.get("parameters") or {}
        size = parameters.get("binary_data_size")
        if name in tensors:
            raise BadRequest(f"The request has two tensors {name!r}.")
        if size is not None:
            if not isinstance(size, int) or not 0 <= size <= len(raw):
                raise BadRequest(
                    f"binary_data_size of the tensor {name} is {size!r}. Use an integer from 0 to {len(raw)}."
                )
            values = _from_bytes(tensor, raw[:size])
            raw = raw[size:]
        elif tensor.get("data") is not None:
            values = _from_json(tensor)
        else:
            raise BadRequest(f"The tensor {name} has neither data nor binary_data_size.")
        tensors[name] = Tensor(name, tensor["datatype"], parameters.get("content_type"), values)
    if len(raw):
        raise BadRequest(f"The body has {len(raw)} bytes after its last tensor.")
    return request, list(tensors.values())


def _from_json(tensor: dict[str, Any]) -> Any:
    kind = tensor["datatype"]
    if kind == "BYTES":
        return np.array(tensor["data"], dtype=object).reshape(tensor["shape"])
    if kind == "BOOL":
        return _booleans(tensor).reshape(tensor["shape"])
    values = np.array(tensor["data"], dtype=_numpy(kind))
    if values.dtype.kind in "iu":
        _check_whole(tensor, values)
    return values.reshape(tensor["shape"])


def _booleans(tensor: dict[str, Any]) -> Any:
    """Return booleans. With a missing value they are objects, because numpy makes False of None and True of texts."""
    values = np.array(tensor["data"])
    if values.dtype.kind == "b" or (values.dtype.kind in "iuf" and np.isin(values, (0, 1)).all()):
        return values.astype(bool)
    values = np.array(tensor["data"], dtype=object)
    wrong = next((value for value in values.reshape(-1) if value is not None and not isinstance(value, bool)), None)
    if wrong is not None:
        raise BadRequest(f"The tensor {tensor['name']} has the datatype BOOL, which cannot hold {wrong!r:.60}.")
    return values


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
    texts = []
    where = 0
    while where < len(raw):
        start = where + _LENGTH
        where = start + int.from_bytes(raw[start - _LENGTH : start], "little")
        if where > len(raw) or start > len(raw):
            raise BadRequest(f"The texts of the tensor {tensor['name']} are longer than its raw bytes.")
        texts.append(bytes(raw[start:where]))
    array = np.empty(len(texts), dtype=object)  # numpy would make a fixed width of bytes, and cut zeros at their end
    array[:] = texts
    return array.reshape(tensor["shape"])


def _numpy(kind: Any) -> str:
    if kind not in _TO_NUMPY:
        raise BadRequest(f"The datatype {kind!r} is not supported. Use {', '.join(_TO_NUMPY)} or BYTES.")
    return _TO_NUMPY[kind]


def in_json(output: Output) -> dict[str, Any]:
    """Return a tensor with its values. JSON has no NaN and no infinity, so those are null."""
    values = output.values
    if not isinstance(values, list):
        finite = np.isfinite(values) if values.dtype.kind == "f" else None
        if finite is not None and not finite.all():
            values = np.where(finite, values.astype(object), None)
        return {**output.head, "data": values.tolist()}
    if any(isinstance(value, bytes) for value in values):
        values = [base64.b64encode(value).decode() if isinstance(value, bytes) else value for value in values]
    return {**output.head, "data": values}


def in_bytes(output: Output) -> tuple[dict[str, Any], bytes]:
    """Return a tensor without its values, and the values as raw bytes.

    The binary form has no null. A tensor with missing values is therefore returned with its values, and no bytes. So
    is a text that UTF-8 cannot express.
    """
    head = dict(output.head)
    if isinstance(output.values, list):
        if head["datatype"] != "BYTES" or any(value is None for value in output.values):
            return in_json(output), b""
        try:
            texts = [value if isinstance(value, bytes) else value.encode() for value in output.values]
        except UnicodeEncodeError:
            return in_json(output), b""
        raw = b"".join(len(text).to_bytes(_LENGTH, "little") + text for text in texts)
    else:
        raw = output.values.astype(output.values.dtype.newbyteorder("<"), copy=False).tobytes()
    parameters = {**head.get("parameters", {}), "binary_data_size": len(raw)}
    if parameters.get("content_type") == "base64":
        del parameters["content_type"]  # these are the bytes themselves
    return {**head, "parameters": parameters}, raw
