"""The Open Inference Protocol, version 2, over REST.

Models whose signature has columns use one tensor for each column. Other models use named tensors, or a single one.
MLServer responds in the same way for MLflow models, so its clients need no change. docs/guide/scoring.md lists what is
different.
"""

import json
import logging
from io import StringIO
from typing import Any

from mlflow.pyfunc import scoring_server

from sluicegate_scorer import __version__
from sluicegate_scorer.server import tensor_metadata, tensors, trace
from sluicegate_scorer.server.asgi import JSON, Response
from sluicegate_scorer.server.general import General
from sluicegate_scorer.server.tensor_inputs import Inputs
from sluicegate_scorer.server.tensor_outputs import Inexpressible, Prediction
from sluicegate_scorer.server.tensors import BadRequest

log = logging.getLogger("sluicegate_scorer.serve")

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
        inputs = tensor_metadata.describe(getattr(signature, "inputs", None), "input-", 0)
        self._outputs = tensor_metadata.describe(getattr(signature, "outputs", None), "output-", 1)
        content = tensor_metadata.request_content(general.schema, _is_hinted(general.model))
        self._reader = Inputs(inputs, content)
        self._metadata = {
            "name": name,
            "versions": [version] if version else [],
            "platform": "mlflow",
            "inputs": tensor_metadata.as_json(inputs),
            "outputs": tensor_metadata.as_json(self._outputs),
            "parameters": {"content_type": content},
        }

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
        return _json({"name": self._name, "ready": True}) if ready else _json(self._metadata)

    def infer(self, body: bytes, length: bytes | None) -> Response:
        """Respond to one request to infer. The call runs in a thread.

        Args:
            body: the body.
            length: the value of `LENGTH_HEADER`, if the client sent it.
        """
        try:
            request, received = tensors.parse(body, length)
            _check_outputs(request)
            parameters = request.get("parameters") or {}
            data = self._reader.read(received, parameters.get("content_type"))
            params = {name: value for name, value in parameters.items() if name in self._params} or None
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
            prediction = Prediction(raw, self._outputs)
        except Exception as error:
            return _inexpressible(raw, error)
        try:
            return self._response(request, prediction)
        except BadRequest as error:
            return _error(400, str(error))

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

    def _response(self, request: dict[str, Any], prediction: Prediction) -> Response:
        """Return the response, followed by raw values if the client asked for them."""
        fields: dict[str, Any] = {"model_name": self._name}
        if self._version:
            fields["model_version"] = self._version
        if "id" in request:
            fields["id"] = request["id"]
        fields["parameters"] = {"content_type": prediction.content}
        heads = []
        values = []
        for output, binary in _requested_outputs(request, prediction):
            head, raw_values = tensors.in_bytes(output) if binary else (tensors.in_json(output), b"")
            heads.append(head)
            values.append(raw_values)
        fields["outputs"] = heads
        if not any("binary_data_size" in head.get("parameters", {}) for head in heads):
            return _json(fields)
        head_bytes = json.dumps(fields).encode()
        length = (LENGTH_HEADER, str(len(head_bytes)).encode())
        return Response(200, head_bytes + b"".join(values), _BINARY, headers=(length,))


def as_error(response: Response) -> Response:
    """Return an error of the server in the protocol's form: an object with `error`."""
    try:
        fields = json.loads(response.body)
    except ValueError:
        fields = {"message": response.body.decode("utf-8", "replace")}
    if "error" in fields:
        return response
    return response._replace(body=json.dumps({"error": fields.get("message", "")}).encode(), media=JSON)


def _inexpressible(raw: Any, error: Exception) -> Response:
    """Return the response for a prediction that is not a set of tensors.

    It is an error of the model only if MLflow's protocol cannot express the prediction either. Otherwise a caller that
    chose this protocol could fail the rollout of a model that works.
    """
    reason = str(error) if isinstance(error, Inexpressible) else f"{type(error).__name__}: {error}"
    try:
        scoring_server.predictions_to_json(raw, StringIO())  # type: ignore[no-untyped-call]
    except Exception:
        log.error("cannot encode the model's prediction%s", trace.log_suffix(), exc_info=error)
        return _error(500, f"The prediction cannot be encoded: {reason}", "model")
    return _error(
        400, f"The Open Inference Protocol cannot express this prediction: {reason}. Send the request to /invocations."
    )


def _is_hinted(model: Any) -> bool:
    """Tell whether the signature of a model comes from type hints."""
    hinted = getattr(model.metadata, "_is_signature_from_type_hint", None)
    return bool(hinted()) if hinted is not None else False


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


def _requested_outputs(request: dict[str, Any], prediction: Prediction) -> list[tuple[tensors.Output, bool]]:
    """Return the outputs to send, and whether to send each one as raw bytes.

    Raises:
        BadRequest: if the client asks for an output that does not exist.
    """
    binary_default = (request.get("parameters") or {}).get("binary_data_output") is True
    requested = request.get("outputs")
    if not requested:
        return [(output, binary_default) for output in prediction.outputs]
    outputs = []
    for item in requested:
        output = prediction.find(item["name"])
        if output is None:
            names = ", ".join(output.head["name"] for output in prediction.outputs) or "none"
            raise BadRequest(f"The model has no output {item['name']!r}. Its outputs are: {names}.")
        binary = (item.get("parameters") or {}).get("binary_data", binary_default)
        outputs.append((output, binary is True))
    return outputs


def _json(value: Any) -> Response:
    return Response(200, json.dumps(value).encode())


def _error(status: int, message: str, failed: str | None = "client") -> Response:
    return Response(status, json.dumps({"error": message}).encode(), error=failed)
