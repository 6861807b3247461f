"""The fast path of a model that needs a DataFrame.

MLflow's own code predicts, from a DataFrame that is made without MLflow's parsing. Rows of several requests become one
DataFrame if the model treats each row alone. A scikit-learn pipeline is predicted from the values themselves (`plan`).
"""

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import scoring_server

from sluicegate_scorer.server.fast import plan as plans
from sluicegate_scorer.server.fast import rowwise
from sluicegate_scorer.server.fast.blocks import Table
from sluicegate_scorer.server.fast.path import response_body
from sluicegate_scorer.server.fast.shape import NotFast, Rows
from sluicegate_scorer.server.frames import Frames

log = logging.getLogger("sluicegate_scorer.serve")

Jsonable = Any


class FramePath:
    """Predicts rows of requests from a DataFrame, or by a plan.

    Args:
        model: a loaded pyfunc model.
        frames: makes its DataFrames.
        row: a row that the model predicts.

    Attributes:
        names: of the columns.
        several: whether the path takes requests of several rows.
        seconds: time that a request of one row took at start-up.
        batch: how many requests of one row may be predicted together.
        forms: the keys of bodies that the path takes.
        threads: whether predictions run in threads only, because the model runs code of its author.
        plan: predicts a scikit-learn pipeline, or is None.
        unbatched: the reason why there is no batching, or an empty text.
        confidence: returns the continuous values behind the predictions for a DataFrame, if they are labels.
    """

    def __init__(self, model: Any, frames: Frames, row: tuple[Any, ...]) -> None:
        metadata = model.metadata
        if metadata.get_params_schema() is not None:
            raise NotFast("the signature has params")
        if getattr(metadata, "_is_type_hint_from_example", lambda: False)():
            raise NotFast("the signature comes from type hints")
        self.names: list[str] = list(metadata.get_input_schema().input_names())
        self.frames = frames
        self.several = True
        self.seconds = 0.0
        self.batch = 1
        declared = rowwise.declared(model)
        self.threads = model.loader_module not in _LIBRARIES
        if self.threads and not declared:
            raise NotFast(f"models of {model.loader_module} may depend on other rows ({rowwise.DECLARATION})")
        self._predict = _Prediction(model, bool(getattr(frames, "enforced", False)))
        self.plan: plans.Plan | None = None
        self.confidence: Callable[[pd.DataFrame], Any] | None = None
        self.unbatched = "" if declared or rowwise.flavor(model) else "the model may depend on other rows"
        self._unbatched_without_plan = self.unbatched
        if model.loader_module == "mlflow.sklearn":
            self._of_sklearn(model, row, declared)
        elif hasattr(model._model_impl, "get_raw_model"):
            self.confidence = getattr(model._model_impl.get_raw_model(), "predict_proba", None)

    def _of_sklearn(self, model: Any, row: tuple[Any, ...], declared: bool) -> None:
        name = model.metadata.flavors["python_function"].get("predict_fn", "predict")
        if name not in ("predict", "predict_proba", "predict_log_proba"):
            raise NotFast(f"the predict function {name} has no fast path")
        pipeline = rowwise.unwrapped(model._model_impl.sklearn_model)
        parts = rowwise.steps(pipeline)
        obstacle = next(filter(None, map(rowwise.obstacle, parts[:-1])), None)
        if obstacle is None:
            try:
                self.plan = plans.Plan(pipeline, name, Table(self.names, row, self.frames.frame))
            except Exception as error:  # scikit-learn's internals differ from what this code expects
                log.info("scikit-learn's own pipeline predicts: %s", error)
        self.confidence = getattr(pipeline, "predict_proba", None)
        if obstacle is not None:
            reason = f"{obstacle} may depend on other rows"
        elif rowwise.together(parts[-1], False):
            reason = ""
        else:
            reason = f"{type(parts[-1]).__name__} may predict other last digits for rows of a batch"
        self._unbatched_without_plan = "" if declared else reason
        self.unbatched = "" if self.plan is not None else self._unbatched_without_plan

    def drop_plan(self) -> None:
        """Let the pipeline's own code predict."""
        self.plan = None
        self.unbatched = self._unbatched_without_plan

    @property
    def forms(self) -> set[str]:
        """Return the keys of bodies that the path takes."""
        return self.frames.forms

    def parse(self, body: bytes) -> Rows | None:
        """Return the rows of a body, or None if MLflow's own code has to read it."""
        return self.frames.rows(body)

    def request(self, rows: Rows) -> bytes:
        """Return the response body of a single request."""
        if self.plan is not None and len(rows) <= plans.MOST:
            try:
                return response_body(self.plan.request(rows))
            except Exception:
                log.debug("scikit-learn's own pipeline predicts a request", exc_info=True)
        return self.framed(rows)

    def framed(self, rows: Rows) -> bytes:
        """Return the response body of a single request, predicted from a DataFrame."""
        return response_body(_jsonable(self._predict(self.frames.frame(rows))))

    def singles(self, rows: Rows) -> list[bytes]:
        """Return the response bodies of one-row requests that are predicted together.

        Args:
            rows: one row for each request.
        """
        if self.plan is not None:
            return [response_body(predictions) for predictions in self.plan.singles(rows)]
        return [
            response_body(predictions) for predictions in _by_row(self._predict(self.frames.frame(rows)), len(rows))
        ]


class _Prediction:
    """What MLflow's `PyFuncModel.predict` does with a DataFrame.

    Args:
        model: a loaded pyfunc model.
        enforced: whether the DataFrames already are what MLflow's schema enforcement returns.
    """

    def __init__(self, model: Any, enforced: bool) -> None:
        self._model = model
        self._enforced = enforced
        self._schema = model.metadata.get_input_schema()
        name = model.metadata.flavors["python_function"].get("predict_fn", "predict")
        self._function = getattr(model._model_impl, name)
        parameter = inspect.signature(self._function).parameters.get("params")
        self._takes_params = parameter is not None and parameter.kind != inspect.Parameter.VAR_KEYWORD
        self._in_context = model.loader_module not in _LIBRARIES

    def __call__(self, frame: pd.DataFrame) -> Any:
        """Return the model's predictions."""
        params = None
        if not self._enforced:
            from mlflow.pyfunc import _validate_prediction_input

            frame, params = _validate_prediction_input(frame, None, self._schema, None, self._model.loader_module)
        with _context(self._model) if self._in_context else contextlib.nullcontext():
            return self._function(frame, params=params) if self._takes_params else self._function(frame)


@contextlib.contextmanager
def _context(model: Any) -> Iterator[None]:
    """Set the context of a prediction as `PyFuncModel.predict` does."""
    try:
        from mlflow.pyfunc import _get_dependencies_schema_from_model  # type: ignore[attr-defined]
        from mlflow.pyfunc.context import Context, set_prediction_context
    except ImportError:  # this version of MLflow has no such context
        yield
        return
    context = Context()
    with set_prediction_context(context):
        if schema := _get_dependencies_schema_from_model(model.metadata):
            context.update(**schema)  # type: ignore[no-untyped-call]
        if getattr(model, "model_id", None):
            context.update(model_id=model.model_id)  # type: ignore[no-untyped-call]
        yield


def _by_row(predictions: Any, count: int) -> list[Jsonable]:
    """Return what MLflow makes of the predictions for each row alone.

    Raises:
        NotFast: if they do not have one part for each row.
    """
    if not isinstance(predictions, np.ndarray | pd.DataFrame | pd.Series | list) or len(predictions) != count:
        raise NotFast("its predictions do not have one part per row")
    return [[part] for part in _jsonable(predictions)]


def _jsonable(predictions: Any) -> Jsonable:
    """Return what MLflow's `predictions_to_json` makes of predictions."""
    convert: Any = scoring_server.__dict__["_get_jsonable_obj"]
    return convert(predictions, pandas_orient="records")


_LIBRARIES = {"mlflow.sklearn", "mlflow.lightgbm", "mlflow.xgboost", "mlflow.catboost", "mlflow.onnx"}
"""Flavors that call a library and no code of the model's author."""
