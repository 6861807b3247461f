"""Predictions from an array, for each flavor.

They equal those of MLflow's wrapper on a DataFrame.
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sluicegate_scorer.server.fast import conversions
from sluicegate_scorer.server.fast.shape import Matrix, NotFast, Shape

Jsonable = Any
_LIBRARIES = ("sklearn.", "xgboost.", "lightgbm.")
_BY_COLUMN = {"ColumnTransformer", "FunctionTransformer"}
"""These select their columns by name, or run the user's code."""
_ELEMENTWISE = {"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "Binarizer", "PolynomialFeatures"}
_TREES = ("sklearn.tree.", "sklearn.ensemble._forest", "sklearn.ensemble._gb", "sklearn.ensemble._hist_gradient")


class Predictor(NamedTuple):
    """Two ways to call a model.

    Attributes:
        dtype: element type of the array that the model's library makes of a DataFrame.
        request: returns the predictions of one request, ready for JSON.
        singles: returns those of many requests of one row each from one call. It is None if rows could change each
            other's last digit.
        confidence: returns the continuous values behind the predictions, if the predictions are labels. The start-up
            comparison uses it, with an array or a DataFrame.
        unbatched: the reason why there is no batching, or an empty text.
    """

    dtype: np.dtype[Any]
    request: Callable[[Matrix], Jsonable]
    singles: Callable[[Matrix], list[Jsonable]] | None
    confidence: Callable[[Any], Any] | None = None
    unbatched: str = ""


def predictor(model: Any, shape: Shape) -> Predictor:
    """Return the predictor of a loaded pyfunc model.

    Raises:
        NotFast: if the model cannot have one.
    """
    loader = model.loader_module
    build = _FLAVORS.get(loader)
    if build is None:
        raise NotFast(f"models of {loader} have no fast path")
    if model.metadata.get_params_schema() is not None:
        raise NotFast("the signature has params")
    return build(model, shape)


def _sklearn(model: Any, shape: Shape) -> Predictor:
    estimator = model._model_impl.sklearn_model
    name = model.metadata.flavors["python_function"].get("predict_fn", "predict")
    if name not in ("predict", "predict_proba", "predict_log_proba"):
        raise NotFast(f"the predict function {name} has no fast path")
    _check_estimator(estimator)
    _check_names(estimator, shape)
    if shape.mixed and not _takes_one_type(estimator):
        raise NotFast("its columns have several types, which a pipeline may treat differently")
    # A DataFrame's values are stored column by column, and BLAS adds them up in another order.
    order: Any = "C" if shape.tensor else "F"
    first = _first(estimator)
    dtype = conversions.of_sklearn(shape, first, [] if type(first).__name__ in _ELEMENTWISE else _parts(estimator))
    call = getattr(estimator, name)
    # Otherwise each call with an array would log a warning, if the model was fitted with names.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")

    def request(matrix: Matrix) -> Jsonable:
        return array(call(np.asarray(matrix, order=order)))

    shares = getattr(estimator, "predict_proba", None)
    confidence = None
    if shares is not None:

        def confidence(data: Any) -> Any:
            return shares(np.asarray(data, order=order) if isinstance(data, np.ndarray) else data)

    stacked = linear(estimator, name)
    if stacked is not None:  # its scores are those of single rows by construction
        return Predictor(dtype, request, stacked)
    singles = _by_rows(estimator, call)
    unbatched = (
        "" if singles else f"{type(_final(estimator)).__name__} may predict other last digits for rows of a batch"
    )
    return Predictor(dtype, request, singles, confidence, unbatched)


def _by_rows(estimator: Any, call: Callable[[Matrix], Any]) -> Callable[[Matrix], list[Jsonable]] | None:
    """Return a function that predicts many one-row requests, for models of trees.

    Trees compare and add for each row alone, in the same order whatever the other rows are. For other models the result
    is None.
    """
    final = _final(estimator)
    module = type(final).__module__
    if not module.startswith((*_TREES, "xgboost.", "lightgbm.")) or not _elementwise_before(estimator):
        return None
    return lambda matrix: [[prediction] for prediction in array(call(matrix))]


def linear(estimator: Any, name: str) -> Callable[[Matrix], list[Jsonable]] | None:
    """Return a function that predicts many one-row requests, for linear models.

    It stacks products of one row each, because BLAS adds up a row of a larger product in another order. For other
    models the result is None.
    """
    base = sys.modules.get("sklearn.linear_model._base")
    if base is None or name != "predict" or not _elementwise_before(estimator):
        return None
    final = _final(estimator)
    kind = type(final)
    regression = getattr(
        kind, "_decision_function", None
    ) is base.LinearModel._decision_function and kind.predict.__module__.startswith("sklearn.linear_model.")
    classes = (
        kind.predict is base.LinearClassifierMixin.predict
        and kind.decision_function is base.LinearClassifierMixin.decision_function
    )
    coefficients = getattr(final, "coef_", None)
    if not (regression or classes) or not isinstance(coefficients, np.ndarray):
        return None
    prepare = estimator[:-1].transform if final is not estimator and len(estimator.steps) > 1 else None
    right = coefficients.T if coefficients.ndim == 2 else coefficients

    def scores(matrix: Matrix) -> Matrix:
        prepared = prepare(matrix) if prepare is not None else matrix
        if not np.isfinite(prepared).all():
            raise ValueError("not finite")
        values: Matrix = (prepared[:, None, :] @ right)[:, 0] + final.intercept_
        return values

    def singles(matrix: Matrix) -> list[Jsonable]:
        return [[score] for score in scores(matrix).tolist()]

    def labels(matrix: Matrix) -> list[Jsonable]:
        values = scores(matrix)
        if values.ndim > 1 and values.shape[1] == 1:
            values = values.reshape(-1)
        chosen = (values > 0).astype(np.intp) if values.ndim == 1 else values.argmax(axis=1)
        return [[label] for label in final.classes_.take(chosen, axis=0).tolist()]

    return singles if regression else labels


def _xgboost(model: Any, shape: Shape) -> Predictor:
    import xgboost

    booster = model._model_impl.xgb_model
    if isinstance(booster, xgboost.Booster):
        names = booster.feature_names

        def call(matrix: Matrix) -> Any:
            return booster.predict(xgboost.DMatrix(matrix, feature_names=names), validate_features=True)

    elif isinstance(booster, xgboost.XGBModel):
        names = booster.get_booster().feature_names

        def call(matrix: Matrix) -> Any:
            return booster.predict(matrix, validate_features=False)

    else:
        raise NotFast(f"{type(booster).__name__} has no fast path")
    if not shape.tensor and names is not None and list(names) != shape.names:
        raise NotFast("the model's features are not the signature's columns in their order")
    return _trees(conversions.of_xgboost(shape), call, getattr(booster, "predict_proba", None))


def _lightgbm(model: Any, shape: Shape) -> Predictor:
    booster = model._model_impl.lgb_model
    if not type(booster).__module__.startswith("lightgbm."):
        raise NotFast(f"{type(booster).__name__} has no fast path")
    inner = booster if hasattr(booster, "feature_name") else booster.booster_
    if getattr(inner, "pandas_categorical", None):
        raise NotFast("the model has categorical columns")
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    return _trees(conversions.of_lightgbm(shape, inner), booster.predict, getattr(booster, "predict_proba", None))


def _onnx(model: Any, shape: Shape) -> Predictor:
    wrapper = model._model_impl
    session = wrapper.rt
    if len(wrapper.inputs) != 1:
        raise NotFast("the graph has several inputs")
    name, _ = wrapper.inputs[0]
    if shape.tensor and shape.names and shape.names != [name]:
        raise NotFast("the name of the signature's tensor is not that of the graph's input")
    output_names = list(wrapper.output_names)

    def run(matrix: Matrix) -> list[Any]:
        outputs: list[Any] = session.run(output_names, wrapper._cast_float64_to_float32({name: matrix}))
        return outputs

    def records(matrix: Matrix) -> list[Jsonable]:
        columns = [np.asarray(output).reshape(-1) for output in run(matrix)]
        if any(len(column) != len(columns[0]) for column in columns):
            raise NotFast("its outputs differ in length")
        values = [column.tolist() for column in columns]
        return [dict(zip(output_names, row, strict=True)) for row in zip(*values, strict=True)]

    def tensors(matrix: Matrix) -> Jsonable:
        return dict(zip(output_names, run(matrix), strict=True))

    def singles_of_records(matrix: Matrix) -> list[Jsonable]:
        predictions = records(matrix)
        if len(predictions) % len(matrix):
            raise NotFast("its outputs do not have one part per row")
        size = len(predictions) // len(matrix)
        return [predictions[start : start + size] for start in range(0, len(predictions), size)]

    def singles_of_tensors(matrix: Matrix) -> list[Jsonable]:
        outputs = run(matrix)
        if any(len(output) != len(matrix) for output in outputs):
            raise NotFast("its outputs do not have one part per row")
        return [
            {name: output[row : row + 1] for name, output in zip(output_names, outputs, strict=True)}
            for row in range(len(matrix))
        ]

    dtype = conversions.of_frame(shape)
    if shape.tensor:
        return Predictor(dtype, tensors, singles_of_tensors)
    return Predictor(dtype, records, singles_of_records)


def _trees(dtype: np.dtype[Any], call: Callable[[Matrix], Any], confidence: Callable[[Any], Any] | None) -> Predictor:
    return Predictor(
        dtype,
        lambda matrix: array(call(matrix)),
        lambda matrix: [[prediction] for prediction in array(call(matrix))],
        confidence,
    )


def array(raw: Any) -> list[Any]:
    """Return what MLflow makes of an array of numbers or strings."""
    if type(raw) is not np.ndarray or raw.dtype.kind not in "fiubUO":
        raise NotFast(f"its predictions are of type {type(raw).__name__}")
    predictions: list[Any] = raw.tolist()
    return predictions


def _final(estimator: Any) -> Any:
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _first(estimator: Any) -> Any:
    """Return the step of a pipeline that receives the DataFrame."""
    steps = [step for _, step in getattr(estimator, "steps", []) if step is not None and step != "passthrough"]
    return steps[0] if steps else estimator


def _elementwise_before(estimator: Any) -> bool:
    steps = [step for _, step in getattr(estimator, "steps", [])[:-1]]
    return all(type(step).__name__ in _ELEMENTWISE or step in (None, "passthrough") for step in steps)


def _parts(estimator: Any) -> list[Any]:
    nested = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else []
    return [estimator, *(part for part in nested if hasattr(part, "get_params"))]


def _check_estimator(estimator: Any) -> None:
    for part in _parts(estimator):
        kind = type(part)
        if not kind.__module__.startswith(_LIBRARIES) or kind.__name__ in _BY_COLUMN:
            raise NotFast(f"{kind.__name__} may need a DataFrame")


def _check_names(estimator: Any, shape: Shape) -> None:
    fitted = getattr(estimator, "feature_names_in_", None)
    if fitted is not None and not shape.tensor and list(fitted) != shape.names:
        raise NotFast("the model's features are not the signature's columns in their order")


def _takes_one_type(estimator: Any) -> bool:
    """Tell whether every step converts the whole DataFrame to one type first.

    Only the steps that receive the DataFrame count.
    """
    first = _first(estimator)
    return type(first).__name__ in _ELEMENTWISE or type(first).__module__.startswith(
        (*_TREES[:3], "sklearn.linear_model.", "lightgbm.")
    )


_FLAVORS: dict[str, Callable[[Any, Shape], Predictor]] = {
    "mlflow.sklearn": _sklearn,
    "mlflow.xgboost": _xgboost,
    "mlflow.lightgbm": _lightgbm,
    "mlflow.onnx": _onnx,
}
