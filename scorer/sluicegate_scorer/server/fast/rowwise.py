"""The models whose prediction for a row cannot depend on other rows.

The server predicts rows of several requests together only for these. Every class is named with the reason why it treats
each row alone. The author of another model may declare it.
"""

import sys
from collections.abc import Iterator
from typing import Any

DECLARATION = "sluicegate.dev/rowwise"
"""A key of the model's metadata. With the value true, the author declares that each row is predicted alone."""

_SEARCHES = {"GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"}
"""These pass the data to the best pipeline that they found."""

_COMPOSED = {
    "Pipeline": "passes the data from step to step",
    "ColumnTransformer": "passes columns to transformers, and joins their outputs side by side",
    "FeatureUnion": "joins the outputs of transformers side by side",
}
_TRANSFORMERS = {
    "OneHotEncoder": "looks up each value in the categories of the training data",
    "OrdinalEncoder": "looks up each value in the categories of the training data",
    "TargetEncoder": "looks up each value in the averages of the training data",
    "SimpleImputer": "replaces a missing value by a value of the training data",
    "MissingIndicator": "tests each value alone",
    "StandardScaler": "calculates each value alone, with numbers of the training data",
    "MinMaxScaler": "calculates each value alone, with numbers of the training data",
    "MaxAbsScaler": "calculates each value alone, with numbers of the training data",
    "RobustScaler": "calculates each value alone, with numbers of the training data",
    "QuantileTransformer": "looks up each value in the quantiles of the training data",
    "KBinsDiscretizer": "looks up each value in the bins of the training data",
    "Binarizer": "compares each value alone",
    "PolynomialFeatures": "multiplies values of one row in a fixed order",
    "CountVectorizer": "counts the words of each text alone",
    "TfidfVectorizer": "counts the words of each text alone, and scales by the sum over that text",
    "TfidfTransformer": "scales each row by the sum over that row",
    "HashingVectorizer": "counts the words of each text alone, and scales by the sum over that text",
    "SelectKBest": "selects columns",
    "SelectPercentile": "selects columns",
    "SelectFpr": "selects columns",
    "SelectFdr": "selects columns",
    "SelectFwe": "selects columns",
    "SelectFromModel": "selects columns",
    "VarianceThreshold": "selects columns",
}
_FUNCTIONS = {
    *("sqrt", "square", "absolute", "negative", "sign", "floor", "ceil", "rint"),
    *("log", "log2", "log10", "log1p", "exp", "expm1"),
}
"""Functions of numpy that calculate each value alone, for FunctionTransformer."""

_TREES = (
    "sklearn.tree.",
    "sklearn.ensemble._forest",
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient",
    "lightgbm.",
    "xgboost.",
    "catboost.",
)
"""Modules of trees. Each row takes its own way through a tree, and the trees' values are added in a fixed order."""

_FLAVORS = {
    "mlflow.lightgbm": "adds the values of trees in a fixed order",
    "mlflow.xgboost": "adds the values of trees in a fixed order",
    "mlflow.catboost": "adds the values of trees in a fixed order",
    "mlflow.onnx": "has a graph whose first dimension is that of rows, which the comparison at start-up confirms",
}
"""Flavors whose models treat each row alone."""


def declared(model: Any) -> bool:
    """Tell whether the author of a loaded pyfunc model declares that it predicts each row alone."""
    metadata = getattr(model.metadata, "metadata", None)
    return isinstance(metadata, dict) and metadata.get(DECLARATION) is True


def unwrapped(estimator: Any) -> Any:
    """Return the pipeline that a search found, or the estimator itself."""
    while _of_sklearn(estimator) and type(estimator).__name__ in _SEARCHES and hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    return estimator


def steps(estimator: Any) -> list[Any]:
    """Return the steps of a pipeline that change data, or the estimator itself."""
    listed = [step for _, step in getattr(estimator, "steps", [])] if is_a(estimator, "Pipeline") else [estimator]
    flat = []
    for step in listed:
        if step is not None and not isinstance(step, str):
            flat += steps(step) if is_a(step, "Pipeline") else [step]
    return flat


def obstacle(transformer: Any) -> str | None:
    """Return the name of the part because of which a transformer is not row-wise; None if it is."""
    if transformer is None or isinstance(transformer, str):
        return None
    name = type(transformer).__name__
    if not _of_sklearn(transformer):
        return name
    if name in _COMPOSED:
        return next(filter(None, map(obstacle, _parts(transformer))), None)
    if name == "FunctionTransformer":
        return None if elementwise(transformer) else f"{name} with a function of the author"
    return None if name in _TRANSFORMERS else name


def elementwise(transformer: Any) -> bool:
    """Tell whether a FunctionTransformer calculates each value alone."""
    function = transformer.func
    if function is None or transformer.kw_args:
        return not transformer.kw_args
    name = getattr(function, "__name__", "")
    return name in _FUNCTIONS and getattr(sys.modules["numpy"], name) is function


def together(final: Any, sparse: bool) -> bool:
    """Tell whether an estimator may get rows of several requests in one array.

    Another estimator gets one row at a time. Most of them multiply matrices, and BLAS adds up in another order if there
    are more rows.

    Args:
        final: the last step of a pipeline.
        sparse: whether its input is a sparse matrix. scipy multiplies each row of such a matrix alone.
    """
    module = type(final).__module__
    if module.startswith(_TREES):
        return True
    if module.startswith("sklearn.neighbors."):
        # Of these trees each row is searched for alone. The other way multiplies matrices.
        return not sparse and getattr(final, "_fit_method", None) in ("kd_tree", "ball_tree")
    return sparse and module.startswith("sklearn.linear_model.")


def flavor(model: Any) -> bool:
    """Tell whether a loaded pyfunc model is of a flavor whose models treat each row alone."""
    return model.loader_module in _FLAVORS


def is_a(part: Any, name: str) -> bool:
    """Tell whether an object is of a class of scikit-learn."""
    return type(part).__name__ == name and _of_sklearn(part)


def _of_sklearn(part: Any) -> bool:
    return type(part).__module__.startswith("sklearn.")


def _parts(composed: Any) -> Iterator[Any]:
    if hasattr(composed, "steps"):
        yield from (step for _, step in composed.steps)
    elif hasattr(composed, "transformers_"):
        yield from (part[1] for part in composed.transformers_)
    else:
        yield from (part[1] for part in composed.transformer_list)
