"""The general path, which is MLflow's own code.

MLflow's code parses the body, enforces the signature, predicts, and serializes the predictions. Responses are therefore
those of MLflow's server by construction. This module adds only the class of an error, and removes stack traces from
responses.
"""

import contextlib
import csv
import functools
import json
import logging
import threading
from collections.abc import Callable, Iterator
from io import BytesIO, StringIO, TextIOWrapper
from itertools import islice
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc import scoring_server

from sluicegate_scorer.errors import first_line
from sluicegate_scorer.server import bad_data, categories, trace
from sluicegate_scorer.server.asgi import JSON, TEXT, Response, json_error
from sluicegate_scorer.server.csv_frames import CsvFrames
from sluicegate_scorer.server.drift import Drift
from sluicegate_scorer.server.frames import Frames
from sluicegate_scorer.server.large import data_frame
from sluicegate_scorer.server.settings import Policy

log = logging.getLogger("sluicegate_scorer.serve")

MODEL_ERROR = "INTERNAL_ERROR"
_COLUMNS = 100_000
"""Columns of a CSV that pandas reads within the time limit. It takes 0.2 ms for each, and no thread can be stopped."""
_HEAD = 64 << 10
"""Bytes that hold the first two rows of most CSVs. They hold fewer columns than _COLUMNS."""
_UTF8 = ("", *(f";{space}charset={name}" for space in ("", " ") for name in ("utf-8", "UTF-8")))
JSON_TYPES = frozenset(scoring_server.CONTENT_TYPE_JSON + charset for charset in _UTF8)
_CSV_TYPES = frozenset(scoring_server.CONTENT_TYPE_CSV + charset for charset in _UTF8)
"""Content types that MLflow reads as JSON or CSV. MLflow itself reads requests with any other type."""

_LOADERS = "mlflow.pyfunc.loaders."
"""The modules of MLflow that load a ChatModel, a ChatAgent or a ResponsesAgent."""
_CONVERT = "_convert_input"


class ModelWatch:
    """Records whether this thread's request has reached the model, and how it ended.

    MLflow reports a request that does not fit the signature in the same way as a model that raises an exception. The
    analysis of a canary has to tell them apart.

    Args:
        schema: the inputs of the model's signature, or None.
    """

    def __init__(self, schema: Any) -> None:
        self._thread = threading.local()
        self._optional = bad_data.optional_columns(schema)
        self._wrapped = False
        self.drift: Drift | None = None

    def reset(self) -> None:
        """Begin a request."""
        self._thread.reached = not self._wrapped
        self._thread.failed = False
        self._thread.done = False
        self._thread.cause = None

    @property
    def reached(self) -> bool:
        """Tell whether the request has reached the model."""
        return bool(self._thread.reached)

    @property
    def cause(self) -> str | None:
        """Describe what in the request's data explains the failure; None if nothing does."""
        cause: str | None = self._thread.cause
        return cause

    @property
    def failed(self) -> bool:
        """Tell whether the model raised an exception of its own."""
        return bool(self._thread.failed)

    @property
    def done(self) -> bool:
        """Tell whether the model has returned its predictions."""
        return bool(self._thread.done)

    def wrap(self, predict: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that watches a model's predict function.

        MLflow still finds the signature of the original function.
        """
        self._wrapped = True

        @functools.wraps(predict)
        def watched(*args: Any, **kwargs: Any) -> Any:
            drift = self.drift
            counted = drift is not None and bool(args) and drift.frame(args[0])
            with self._in_model(args):
                result = predict(*args, **kwargs)
            if drift is not None and counted:
                drift.predicted(result)
            return result

        return watched

    def wrap_stream(self, predict_stream: Callable[..., Any]) -> Callable[..., Any]:
        """Return a generator function that watches a model's `predict_stream`, as `wrap` watches `predict`."""

        @functools.wraps(predict_stream)
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self._in_model(args):
                yield from predict_stream(*args, **kwargs)

        return watched

    def wrap_conversion(self, convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function that watches how MLflow converts a request for a chat model or an agent.

        MLflow checks parts of such a request only there, inside the function that `wrap` watches.
        """

        @functools.wraps(convert)
        def watched(request: Any) -> Any:
            try:
                return convert(request)
            except Exception as error:
                self._thread.cause = f"the request does not have the model's schema: {first_line(error)}"
                raise

        return watched

    @contextlib.contextmanager
    def _in_model(self, args: tuple[Any, ...]) -> Iterator[None]:
        """Record that the request has reached the model, and how the model's call ended.

        Args:
            args: the arguments of the call, the first of which is the data.
        """
        self._thread.reached = True
        # A model may change its frame before it fails.
        data = args[0].copy(deep=False) if args and isinstance(args[0], pd.DataFrame) else args[:1]
        try:
            yield
        except MlflowException:  # it carries its own status
            self._thread.cause = self._thread.cause or self._cause(data)
            raise
        except Exception:
            self._thread.cause = self._thread.cause or self._cause(data)
            self._thread.failed = self._thread.cause is None
            raise
        except SystemExit as error:  # it would otherwise end the thread, and the client would get no response
            self._thread.failed = True
            raise RuntimeError("the model called sys.exit") from error
        self._thread.done = True

    def _cause(self, data: Any) -> str | None:
        try:
            return bad_data.find(data[0] if isinstance(data, tuple) and data else data, self._optional)
        except Exception:  # the data may be of any type, and its description must not replace the model's exception
            log.debug("cannot look at the data of a request", exc_info=True)
            return None


class General:
    """Responds to requests as MLflow's server does.

    Args:
        model: a loaded pyfunc model.
        policy: what responses say about errors.
    """

    def __init__(self, model: Any, policy: Policy) -> None:
        self.model = model
        self.schema = model.metadata.get_input_schema()
        self._policy = policy
        self._watch = ModelWatch(self.schema)
        self.frames: Frames | None = None
        """Makes the DataFrames of JSON bodies. MLflow's code parses the bodies that it does not take."""
        self.csv: CsvFrames | None = None
        """Makes the DataFrames of CSV bodies."""
        self.on_error: Callable[[BaseException], None] | None = None
        """Called with the exception behind a response, where the response itself does not name it."""
        if hasattr(model, "_predict_fn"):
            model._predict_fn = self._watch.wrap(categories.prepare(model, model._predict_fn))
        if str(getattr(model, "loader_module", "")).startswith(_LOADERS) and hasattr(model._model_impl, _CONVERT):
            implementation = model._model_impl
            setattr(implementation, _CONVERT, self._watch.wrap_conversion(getattr(implementation, _CONVERT)))

    @property
    def reached(self) -> bool:
        """Tell whether this thread's last request has reached the model."""
        return self._watch.reached

    def count_into(self, drift: Drift) -> None:
        """Count the features and predictions of each later request in `drift`."""
        self._watch.drift = drift

    def watch_stream(self) -> None:
        """Watch the model's `predict_stream` too."""
        self.model._predict_stream_fn = self._watch.wrap_stream(self.model._predict_stream_fn)

    def respond(self, body: bytes, content_type: str | None, model: Any = None) -> Response:
        """Respond to one request.

        The call runs in a thread, and takes as long as the model does.

        Args:
            body: its body.
            content_type: its content type.
            model: predicts in place of the served model.
        """
        self._watch.reset()
        if (refused := self._too_wide(body, content_type)) is not None:
            return refused
        try:
            result = self._invocations(body, content_type, model)
        except MlflowException as error:
            return self.mlflow_error(error)
        except Exception as error:
            return self._bare_error(error)
        # Starlette adds the charset to what it sends as text.
        media = TEXT if result.mimetype == "text/plain" else result.mimetype.encode("latin-1")
        failed = "client" if result.status >= 400 else None
        return Response(result.status, result.response.encode(), media, failed)

    def _too_wide(self, body: bytes, content_type: str | None) -> Response | None:
        """Return the response to a CSV with too many columns; None for any other request."""
        if content_type is None or content_type.partition(";")[0].strip() != scoring_server.CONTENT_TYPE_CSV:
            return None
        limit = max(_COLUMNS, 2 * len(self.schema.inputs) if self.schema is not None else 0)
        # Counting the commas of a body with many rows takes as long as an eighth of pandas' work.
        if len(body) < limit or _begins_with_two_rows(body) or body.count(b",") < limit:
            return None
        if (columns := _columns(body)) <= limit:
            return None
        text = (
            f"The CSV has {columns:,} columns. The limit is {limit:,}: send the columns of the model's signature only."
        )
        return Response(400, json_error("INVALID_PARAMETER_VALUE", text), JSON, "client")

    def _invocations(self, body: bytes, content_type: str | None, model: Any = None) -> Any:
        """Run MLflow's function of the same name.

        If `frames` or `csv` parses the body, do the steps of that function that follow its parsing.
        """
        if model is not None:
            return scoring_server.invocations(body, content_type, model, self.schema)  # type: ignore[no-untyped-call]
        model = self.model
        frame = None
        if content_type in JSON_TYPES:
            frame = data_frame(self.frames.parse, body) if self.frames is not None else None
        elif content_type in _CSV_TYPES:
            frame = self.csv.parse(body) if self.csv is not None else None
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
        """Predict for data that another protocol has parsed.

        The caller passes an exception to `failure`.
        """
        self._watch.reset()
        return self.model.predict(data, params=params)

    def failure(self, error: Exception) -> Response:
        """Return the response for an exception of `predict`."""
        if isinstance(error, MlflowException):
            return self.mlflow_error(error)
        if not (self._watch.failed or self._watch.cause is not None):
            return self._bare_error(error)
        wrapped = MlflowException("Encountered an unexpected error while evaluating the model.", BAD_REQUEST)
        if not self._watch.failed:
            return self.mlflow_error(wrapped)
        log.error("the model raised an exception%s", trace.log_suffix(), exc_info=error)
        body = wrapped.serialize_as_json().encode()  # type: ignore[no-untyped-call]
        return Response(self._policy.model_error_status, body, JSON, "model")

    def mlflow_error(self, error: MlflowException) -> Response:
        """Return MLflow's error body with the error class for the canary analysis.

        The stack trace is removed, unless the policy allows it.
        """
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
        if self._watch.failed or self._watch.cause is not None:
            self._report(error.__context__ or error)
        if self._watch.failed:
            log.error("the model raised an exception%s", trace.log_suffix(), exc_info=error.__context__ or error)
            status = self._policy.model_error_status
        fields = json.loads(error.serialize_as_json())  # type: ignore[no-untyped-call]
        if not self._policy.stack_traces:
            fields.pop("stack_trace", None)
        if self._watch.failed and status >= 500:
            fields["error_code"] = MODEL_ERROR
        return Response(status, json.dumps(fields).encode(), JSON, self._error_class(status))

    def _error_class(self, status: int) -> str:
        """Return the class of an error: `model`, or `client` if the content of the request caused it.

        This is the only place that decides it. The request caused each error before the model was called, and a
        failure of the model that the request's data explains.
        """
        watch = self._watch
        if watch.cause is not None:
            log.info("the model cannot predict the data of a request: %s%s", watch.cause, trace.log_suffix())
            return "client"
        if not watch.reached:
            return "client"
        return "model" if watch.failed or watch.done or status >= 500 else "client"

    def _bare_error(self, error: Exception) -> Response:
        """Return a bare 500 for an exception that MLflow's server does not catch.

        Before the model is reached, the cause is a request that MLflow's parsers cannot handle: it has no content type,
        or its nesting is too deep. After that, the cause is a prediction that JSON cannot represent.
        """
        failed = self._error_class(500)
        self._report(error)
        if failed == "model":
            log.error("cannot encode the model's prediction as JSON%s", trace.log_suffix(), exc_info=error)
        else:
            log.info("cannot parse a request: %s%s", type(error).__name__, trace.log_suffix())
        return Response(500, b"Internal Server Error", TEXT, failed)

    def _report(self, error: BaseException) -> None:
        if self.on_error is not None:
            self.on_error(error)


def _begins_with_two_rows(body: bytes) -> bool:
    """Tell whether the first rows of a CSV are too short for too many columns."""
    try:
        rows = csv.reader(TextIOWrapper(BytesIO(body[:_HEAD]), "utf-8", newline=""))
        return sum(1 for _ in islice(rows, 3)) == 3
    except (csv.Error, UnicodeDecodeError, ValueError):
        return False


def _columns(body: bytes) -> int:
    """Return the number of columns of a CSV: of its header, or of its first row if that is longer."""
    try:
        rows = csv.reader(TextIOWrapper(BytesIO(body), "utf-8", newline=""))
        return max(len(row) for row in islice(rows, 2))
    except (csv.Error, UnicodeDecodeError, ValueError):
        return 0  # MLflow's code responds to what is not a CSV


class _Failed:
    """A model that has already failed.

    MLflow's code calls it again to build the error body with MLflow's own message, and it fails in the same way.
    """

    def __init__(self, model: Any, error: Exception) -> None:
        self.metadata = model.metadata
        self._error = error

    def predict(self, data: Any, params: Any = None) -> Any:
        del data, params
        raise self._error
