"""The general path: MLflow's own code parses, enforces the signature, predicts and serialises.

What a client sees is therefore MLflow's by construction. This module adds only the class of an error, and
keeps stack traces inside.
"""

import functools
import json
import logging
import threading
from collections.abc import Callable
from io import StringIO
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from sluicegate_scorer.server import trace
from sluicegate_scorer.server.asgi import JSON, TEXT, Answer
from sluicegate_scorer.server.drift import Drift
from sluicegate_scorer.server.frames import Frames
from sluicegate_scorer.server.settings import Policy

log = logging.getLogger("sluicegate_scorer.serve")

MODEL_ERROR = "INTERNAL_ERROR"


class ModelWatch:
    """Knows whether this thread's request has entered the model, and whether it left it by an exception.

    MLflow reports a request that does not fit the signature and a model that raises in the same way; a canary
    has to tell them apart.
    """

    def __init__(self) -> None:
        self._thread = threading.local()
        self.drift: Drift | None = None

    def reset(self) -> None:
        """Begins a request."""
        self._thread.failed = False
        self._thread.done = False

    @property
    def failed(self) -> bool:
        """Whether the model raised an exception of its own."""
        return bool(self._thread.failed)

    @property
    def done(self) -> bool:
        """Whether the model has answered."""
        return bool(self._thread.done)

    def wrap(self, predict: Callable[..., Any]) -> Callable[..., Any]:
        """Watches a model's predict function; MLflow still finds the original's signature."""

        @functools.wraps(predict)
        def watched(*args: Any, **kwargs: Any) -> Any:
            drift = self.drift
            counted = drift is not None and bool(args) and drift.frame(args[0])
            try:
                result = predict(*args, **kwargs)
            except MlflowException:  # says its own status
                raise
            except Exception:
                self._thread.failed = True
                raise
            except SystemExit as error:  # would otherwise take the thread, and its answer, with it
                self._thread.failed = True
                raise RuntimeError("the model called sys.exit") from error
            self._thread.done = True
            if drift is not None and counted:
                drift.predicted(result)
            return result

        return watched


class General:
    """Answers a request as MLflow's server does.

    Args:
        model: a loaded pyfunc model.
        policy: what clients are told of errors.
    """

    def __init__(self, model: Any, policy: Policy) -> None:
        self.model = model
        self.schema = model.metadata.get_input_schema()
        self._policy = policy
        self._watch = ModelWatch()
        self.frames: Frames | None = None
        """Makes the frames of bodies of type application/json; what it does not take, MLflow's code parses."""
        if hasattr(model, "_predict_fn"):
            model._predict_fn = self._watch.wrap(model._predict_fn)

    def count_into(self, drift: Drift) -> None:
        """From now on, what the model sees and answers is counted."""
        self._watch.drift = drift

    def answer(self, body: bytes, content_type: str | None) -> Answer:
        """Answers one request; runs in a thread and takes as long as the model does."""
        self._watch.reset()
        try:
            result = self._invocations(body, content_type)
        except MlflowException as error:
            return self.mlflow_error(error)
        except Exception as error:
            return self._bare_error(error)
        # Starlette adds the charset to what it sends as text.
        media = TEXT if result.mimetype == "text/plain" else result.mimetype.encode("latin-1")
        failed = "client" if result.status >= 400 else None
        return Answer(result.status, result.response.encode(), media, failed)

    def _invocations(self, body: bytes, content_type: str | None) -> Any:
        """MLflow's function of this name; of a frame that is made here, what it does once it has parsed."""
        model = self.model
        frame = self.frames.parse(body) if self.frames is not None and content_type == "application/json" else None
        if frame is not None:
            try:
                predictions = model.predict(frame, params=None)
            except Exception as error:
                model = _Failed(model, error)
            else:
                text = StringIO()
                scoring_server.predictions_to_json(predictions, text)  # type: ignore[no-untyped-call]
                return scoring_server.InvocationsResponse(text.getvalue(), 200, "application/json")
        return scoring_server.invocations(body, content_type, model, self.schema)  # type: ignore[no-untyped-call]

    def predict(self, data: Any, params: dict[str, Any] | None) -> Any:
        """Predicts what another protocol has parsed; an exception is for `failure`."""
        self._watch.reset()
        return self.model.predict(data, params=params)

    def failure(self, error: Exception) -> Answer:
        """The answer for an exception of `predict`."""
        if isinstance(error, MlflowException):
            return self.mlflow_error(error)
        if not self._watch.failed:
            return self._bare_error(error)
        log.error("the model raised an exception%s", trace.said(), exc_info=error)
        wrapped = MlflowException("Encountered an unexpected error while evaluating the model.")
        body = wrapped.serialize_as_json().encode()  # type: ignore[no-untyped-call]
        return Answer(self._policy.model_error_status, body, JSON, "model")

    def mlflow_error(self, error: MlflowException) -> Answer:
        """MLflow's error body, less the stack trace, with the class that a canary counts."""
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
        if self._watch.failed:
            log.error("the model raised an exception%s", trace.said(), exc_info=error.__context__ or error)
            status = self._policy.model_error_status
        fields = json.loads(error.serialize_as_json())  # type: ignore[no-untyped-call]
        if not self._policy.stack_traces:
            fields.pop("stack_trace", None)
        if self._watch.failed and status >= 500:
            fields["error_code"] = MODEL_ERROR
        failed = "model" if self._watch.failed or status >= 500 else "client"
        return Answer(status, json.dumps(fields).encode(), JSON, failed)

    def _bare_error(self, error: Exception) -> Answer:
        """What MLflow's server does not catch: a bare 500.

        Before the model was reached that is a request which its parsers cannot take (no content type, nesting
        without end); after it, an answer that is not JSON.
        """
        failed = "model" if self._watch.failed or self._watch.done else "client"
        if failed == "model":
            log.error("the model's answer cannot be sent%s", trace.said(), exc_info=error)
        else:
            log.info("a request could not be parsed: %s%s", type(error).__name__, trace.said())
        return Answer(500, b"Internal Server Error", TEXT, failed)


class _Failed:
    """A model that has failed already: asked again by MLflow's code, whose words the answer has, it fails in the same way."""

    def __init__(self, model: Any, error: Exception) -> None:
        self.metadata = model.metadata
        self._error = error

    def predict(self, data: Any, params: Any = None) -> Any:
        del data, params
        raise self._error
