"""The Open Inference Protocol, version 2, over REST.

Models whose signature has columns use one tensor for each column. Other models use named tensors, or a single one.
MLServer responds in the same way for MLflow models, so its clients need no change.
"""

import json
from typing import Any

from sluicegate_scorer import __version__
from sluicegate_scorer.server import tensors
from sluicegate_scorer.server.asgi import Response
from sluicegate_scorer.server.general import General
from sluicegate_scorer.server.tensors import BadRequest

LENGTH_HEADER = b"inference-header-content-length"
"""The header with the length of the JSON of a body, if raw values follow the JSON."""
_BINARY = b"application/octet-stream"


class OpenInference:
    """The protocol's endpoints for one model.

    Args:
        general: runs the predictions.
        name: the model's name. The server responds with 404 to a path with another name.
        version: the model version, empty if unknown.
    """

    def __init__(self, general: General, name: str, version: str) -> None:
        self._general = general
        self._name = name
        self._version = version
        signature = general.model.metadata.signature
        params = general.model.metadata.get_params_schema()
        self._params = {spec.name for spec in params.params} if params is not None else set()
        self._inputs = tensors.metadata(getattr(signature, "inputs", None), "input-")
        self._outputs = tensors.metadata(getattr(signature, "outputs", None), "output-")
        self._content_type = _content_type(general.schema)

    def route(self, method: str, path: str) -> Response | None:
        """Return the response to a request that does not infer.

        For a request to infer the result is None.
        """
        parts = path.strip("/").split("/")[1:]
        if method == "POST" and parts[:1] == ["models"] and parts[-1] == "infer":
            return self._model(parts[1:-1])[1]
        if method != "GET":
            return _error(405, "Method Not Allowed")
        if not parts:
            return _json({"name": "sluicegate-scorer", "version": __version__, "extensions": ["binary_tensor_data"]})
        if parts in (["health", "live"], ["health", "ready"]):
            return _json({parts[1]: True})
        if parts[0] != "models":
            return _error(404, "Not Found")
        ready = parts[-1] == "ready" and len(parts) > 2
        _, unknown = self._model(parts[1:-1] if ready else parts[1:])
        if unknown is not None:
            return unknown
        return _json({"name": self._name, "ready": True}) if ready else _json(self._metadata())

    def infer(self, body: bytes, length: bytes | None) -> Response:
        """Respond to one request to infer. The call runs in a thread.

        Args:
            body: the body.
            length: the value of `LENGTH_HEADER`, if the client sent it.
        """
        try:
            request, arrays = tensors.parse(body, length)
            _check_outputs(request)
            data, params = self._decode(request, arrays)
        except BadRequest as error:
            return _error(400, str(error))
        except Exception as error:  # only the request decides what this code does, so each error is the client's
            return _error(400, f"The tensors cannot be read: {error}")
        try:
            raw = self._general.predict(data, params)
        except Exception as error:
            failure = self._general.failure(error)
            message = json.loads(failure.body)["message"] if failure.body.startswith(b"{") else "Internal Server Error"
            return _error(failure.status, message, failure.error)
        try:
            return self._response(request, raw)
        except BadRequest as error:
            return _error(400, str(error))
        except (TypeError, ValueError, KeyError) as error:
            return _error(500, f"The prediction cannot be encoded as tensors: {error}", "model")

    def _model(self, parts: list[str]) -> tuple[str, Response | None]:
        """Check whether a path names this model: NAME, or NAME/versions/VERSION.

        Returns:
            The name in the path, and the response for an unknown model or version; None if the path names this model.
        """
        name = parts[0] if parts else ""
        matches = name == self._name and (
            len(parts) == 1 or (len(parts) == 3 and parts[1] == "versions" and parts[2] == (self._version or "1"))
        )
        return name, None if matches else _error(404, f"Model {'/'.join(parts)} not found")

    def _metadata(self) -> dict[str, Any]:
        return {
            "name": self._name,
            "versions": [self._version] if self._version else [],
            "platform": "mlflow",
            "inputs": self._inputs,
            "outputs": self._outputs,
        }

    def _decode(self, request: dict[str, Any], arrays: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
        parameters = request.get("parameters") or {}
        kind = parameters.get("content_type") or self._content_type
        params = {name: value for name, value in parameters.items() if name in self._params}
        if kind == "np":
            return next(iter(arrays.values())), params or None
        if kind == "dict":
            return arrays, params or None
        if kind != "pd":
            raise BadRequest(f"The content type {kind!r} is not supported. Use pd, np or dict.")
        import pandas as pd

        return pd.DataFrame({name: tensors.column(array) for name, array in arrays.items()}), params or None

    def _response(self, request: dict[str, Any], raw: Any) -> Response:
        """Return the response, followed by raw values if the client asked for them."""
        outputs, kind = tensors.outputs(raw)
        binary_by_name = _requested_outputs(request, [output.head["name"] for output in outputs])
        fields: dict[str, Any] = {"model_name": self._name}
        if self._version:
            fields["model_version"] = self._version
        if "id" in request:
            fields["id"] = request["id"]
        fields["parameters"] = {"content_type": kind}
        heads = []
        values = []
        for output in outputs:
            binary = binary_by_name.get(output.head["name"])
            if binary is None:
                continue
            if not binary:
                heads.append(tensors.in_json(output))
                continue
            head, raw_values = tensors.in_bytes(output)
            heads.append(head)
            values.append(raw_values)
        fields["outputs"] = heads
        if not values:
            return _json(fields)
        head_bytes = json.dumps(fields).encode()
        length = (LENGTH_HEADER, str(len(head_bytes)).encode())
        return Response(200, head_bytes + b"".join(values), _BINARY, headers=(length,))


def _check_outputs(request: dict[str, Any]) -> None:
    """Check the form of the outputs that a request asks for. Their names are known only after the prediction.

    Raises:
        BadRequest: if they are not a list of objects with a name.
    """
    requested = request.get("outputs")
    if requested is not None and not isinstance(requested, list):
        raise BadRequest(f'"outputs" must be a list of objects with a name, not {_short(requested)}.')
    for output in requested or ():
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise BadRequest(f'Every item of "outputs" must be an object with a name, not {_short(output)}.')
    for parameters in (holder.get("parameters") for holder in requested or ()):
        if parameters is not None and not isinstance(parameters, dict):
            raise BadRequest(f'"parameters" must be an object, not {_short(parameters)}.')


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _requested_outputs(request: dict[str, Any], names: list[str]) -> dict[str, bool]:
    """Return the outputs to send, and whether to send each one as raw bytes.

    Raises:
        BadRequest: if the client asks for an output that does not exist.
    """
    binary_default = (request.get("parameters") or {}).get("binary_data_output") is True
    requested = request.get("outputs")
    if not requested:
        return dict.fromkeys(names, binary_default)
    binary_by_name = {}
    for output in requested:
        name = output["name"]
        if name not in names:
            raise BadRequest(f"The model has no output {name!r}. Its outputs are: {', '.join(names) or 'none'}.")
        binary = (output.get("parameters") or {}).get("binary_data", binary_default)
        binary_by_name[name] = binary is True
    return binary_by_name


def _content_type(schema: Any) -> str:
    if schema is None or not schema.is_tensor_spec():
        return "pd"
    return "dict" if schema.has_input_names() else "np"


def _json(value: Any) -> Response:
    return Response(200, json.dumps(value).encode())


def _error(status: int, message: str, failed: str | None = "client") -> Response:
    return Response(status, json.dumps({"error": message}).encode(), error=failed)
