"""The Open Inference Protocol, version 2, over REST.

A tensor a column for models whose signature has columns, tensors by name or a single one otherwise: as MLServer
answers for MLflow models, so that its clients need no change.
"""

import base64
import json
from typing import Any

import numpy as np

from sluicegate_scorer import __version__
from sluicegate_scorer.server.asgi import Answer
from sluicegate_scorer.server.general import General

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


class _BadRequest(Exception):
    """What is wrong with a request, for its sender."""


class OpenInference:
    """The protocol's endpoints for one model.

    Args:
        general: predicts.
        name: the model's name; a path with another is 404.
        version: its version, empty where unknown.
    """

    def __init__(self, general: General, name: str, version: str) -> None:
        self._general = general
        self._name = name
        self._version = version
        signature = general.model.metadata.signature
        params = general.model.metadata.get_params_schema()
        self._params = {spec.name for spec in params.params} if params is not None else set()
        self._inputs = _tensors(getattr(signature, "inputs", None), "input-")
        self._outputs = _tensors(getattr(signature, "outputs", None), "output-")
        self._content_type = _content_type(general.schema)

    def route(self, method: str, path: str) -> Answer | None:
        """The answer to anything but a request to infer, for which it is None."""
        parts = path.strip("/").split("/")[1:]
        if method == "POST" and parts[:1] == ["models"] and parts[-1] == "infer":
            return self._model(parts[1:-1])[1]
        if method != "GET":
            return _error(405, "Method Not Allowed")
        if not parts:
            return _json({"name": "sluicegate-scorer", "version": __version__, "extensions": []})
        if parts in (["health", "live"], ["health", "ready"]):
            return _json({parts[1]: True})
        if parts[0] != "models":
            return _error(404, "Not Found")
        ready = parts[-1] == "ready" and len(parts) > 2
        _, unknown = self._model(parts[1:-1] if ready else parts[1:])
        if unknown is not None:
            return unknown
        return _json({"name": self._name, "ready": True}) if ready else _json(self._metadata())

    def infer(self, body: bytes) -> Answer:
        """Answers one request to infer; runs in a thread."""
        try:
            request = _request(body)
            data, params = self._decode(request)
        except _BadRequest as error:
            return _error(400, str(error), "client")
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            return _error(400, f"The tensors cannot be read: {error}", "client")
        try:
            raw = self._general.predict(data, params)
        except Exception as error:
            answer = self._general.failure(error)
            said = json.loads(answer.body)["message"] if answer.body.startswith(b"{") else "Internal Server Error"
            return _error(answer.status, said, answer.error)
        try:
            return _json(self._response(request, raw))
        except (TypeError, ValueError, KeyError) as error:
            return _error(500, f"The model's answer cannot be put into tensors: {error}", "model")

    def _model(self, parts: list[str]) -> tuple[str, Answer | None]:
        """Whether a path names this model: NAME, or NAME/versions/VERSION."""
        name = parts[0] if parts else ""
        known = name == self._name and (
            len(parts) == 1 or (len(parts) == 3 and parts[1] == "versions" and parts[2] == (self._version or "1"))
        )
        return name, None if known else _error(404, f"Model {'/'.join(parts)} not found", "client")

    def _metadata(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "versions": [self._version] if self._version else [],
            "platform": "mlflow",
            "inputs": self._inputs,
            "outputs": self._outputs,
        }

    def _decode(self, request: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
        parameters = request.get("parameters") or {}
        kind = parameters.get("content_type") or self._content_type
        params = {name: value for name, value in parameters.items() if name in self._params}
        tensors = {tensor["name"]: _array(tensor) for tensor in request["inputs"]}
        if kind == "np":
            return next(iter(tensors.values())), params or None
        if kind == "dict":
            return tensors, params or None
        if kind != "pd":
            raise _BadRequest(f"The content type {kind!r} is not known; there are pd, np and dict.")
        import pandas as pd

        return pd.DataFrame({name: _column(array) for name, array in tensors.items()}), params or None

    def _response(self, request: dict[str, Any], raw: Any) -> dict[str, Any]:
        wanted = {output.get("name") for output in request.get("outputs") or []}
        outputs, kind = _outputs(raw)
        response: dict[str, Any] = {"model_name": self._name}
        if self._version:
            response["model_version"] = self._version
        if "id" in request:
            response["id"] = request["id"]
        response["parameters"] = {"content_type": kind}
        response["outputs"] = [output for output in outputs if not wanted or output["name"] in wanted]
        return response


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise _BadRequest("The body is not JSON; the protocol's binary extension is not supported.") from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list) or not request["inputs"]:
        raise _BadRequest('The body must be an object with a list "inputs" of at least one tensor.')
    for tensor in request["inputs"]:
        if not isinstance(tensor, dict) or not {"name", "shape", "datatype", "data"} <= tensor.keys():
            raise _BadRequest("Every tensor needs name, shape, datatype and data.")
    return request


def _array(tensor: dict[str, Any]) -> Any:
    kind = tensor["datatype"]
    if kind == "BYTES":
        content = (tensor.get("parameters") or {}).get("content_type")
        values = np.array(tensor["data"], dtype=object)
        if content == "base64":
            values = np.array([base64.b64decode(value) for value in values.reshape(-1)], dtype=object)
    elif kind in _TO_NUMPY:
        values = np.array(tensor["data"], dtype=_TO_NUMPY[kind])
    else:
        raise _BadRequest(f"The datatype {kind!r} is not known; there are {', '.join(_TO_NUMPY)} and BYTES.")
    return values.reshape(tensor["shape"])


def _column(array: Any) -> Any:
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    return array if array.ndim < 2 else list(array.tolist())


def _outputs(raw: Any) -> tuple[list[dict[str, Any]], str]:
    import pandas as pd

    if isinstance(raw, pd.Series):
        raw = raw.to_frame()
    if isinstance(raw, pd.DataFrame):
        return [_tensor(str(name), raw[name].to_numpy()) for name in raw], "pd"
    if isinstance(raw, dict):
        return [_tensor(str(name), np.asarray(value)) for name, value in raw.items()], "dict"
    return [_tensor("output-1", np.asarray(raw))], "np"


def _tensor(name: str, array: Any) -> dict[str, Any]:
    shape = [*array.shape, 1] if array.ndim == 1 else list(array.shape)
    kind = _FROM_NUMPY.get(str(array.dtype))
    if kind is None:
        if array.dtype.kind not in "OUST":
            raise TypeError(f"{array.dtype} is not a type of the protocol")
        data = [_text(value) for value in array.reshape(-1).tolist()]
        return {"name": name, "shape": shape, "datatype": "BYTES", "parameters": {"content_type": "str"}, "data": data}
    data = array.reshape(-1).tolist()
    return {"name": name, "shape": shape, "datatype": kind, "parameters": {"content_type": "np"}, "data": data}


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if isinstance(value, str) else json.dumps(value)


def _tensors(schema: Any, prefix: str) -> list[dict[str, Any]]:
    """A signature's side as the protocol's metadata."""
    if schema is None:
        return []
    found = []
    for number, spec in enumerate(schema.inputs):
        name = getattr(spec, "name", None) or f"{prefix}{number}"
        if schema.is_tensor_spec():
            kind, shape = _FROM_NUMPY.get(str(spec.type), "BYTES"), list(spec.shape)
        else:
            kind, shape = _COLUMN_TYPES.get(getattr(spec.type, "name", ""), "BYTES"), [-1, 1]
        content = "np" if kind != "BYTES" else "str"
        found.append({"name": name, "datatype": kind, "shape": shape, "parameters": {"content_type": content}})
    return found


def _content_type(schema: Any) -> str:
    if schema is None or not schema.is_tensor_spec():
        return "pd"
    return "dict" if schema.has_input_names() else "np"


def _json(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode())


def _error(status: int, message: str, failed: str | None = "client") -> Answer:
    return Answer(status, json.dumps({"error": message}).encode(), error=failed)
