"""Models with text, integer, float and boolean columns, in memory.

Each kind has the encoders and the estimator of its name. No model is saved, which would take longer than its test.
"""

import json
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from sklearn import (
    compose,
    ensemble,
    feature_extraction,
    feature_selection,
    linear_model,
    model_selection,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from mlflow.models import Model, infer_signature
    from mlflow.pyfunc import PyFuncModel
    from mlflow.sklearn import _SklearnModelWrapper
    from mlflow.types.schema import ColSpec, DataType, Schema

CITIES = ["Berlin", "Oslo", "Paris", "Rome", "", "Zürich"]
WORDS = ["good", "bad", "model", "a", "slow", "fast", "über", "the"]
_ROWS = 160
EXAMPLE_ROWS = 3

TYPES = {
    "city": DataType.string,
    "text": DataType.string,
    "age": DataType.long,
    "income": DataType.double,
    "score": DataType.double,
    "member": DataType.boolean,
}


def training_data() -> pd.DataFrame:
    """Return features of each type."""
    made = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "city": made.choice(CITIES, _ROWS, p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.05]),
            "text": [" ".join(made.choice(WORDS, made.integers(1, 6))) for _ in range(_ROWS)],
            "age": made.integers(18, 90, _ROWS),
            "income": made.normal(30, 10, _ROWS),
            "score": np.where(made.random(_ROWS) < 0.2, np.nan, made.normal(size=_ROWS)),
            "member": made.random(_ROWS) < 0.5,
        }
    )


def targets(features: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return a number and a label for each row."""
    number = features.age * 0.1 + features.income + (features.city == "Rome") * 5 + features.score.fillna(0)
    return number, pd.Series(np.where(number > 36, "high", np.where(number > 30, "middle", "low")))


class Kind(NamedTuple):
    """What a model consists of.

    Attributes:
        encode: makes the first step, of the columns that are named.
        columns: of the signature.
        final: makes the estimator.
        name: of the predict function.
        before: the steps between the first and the last.
    """

    encode: Callable[[], Any]
    columns: tuple[str, ...]
    final: Callable[[], Any]
    name: str = "predict"
    before: Callable[[], list[Any]] = list


def _columns(*parts: Any, **options: Any) -> Any:
    return compose.ColumnTransformer([(str(number), *part) for number, part in enumerate(parts)], **options)


ENCODERS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "one-hot": (
        lambda: _columns((preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough"),
        ("city", "age", "income"),
    ),
    "one-hot of all": (
        lambda: _columns(
            (preprocessing.OneHotEncoder(drop="if_binary", sparse_output=False), ["member", "city"]),
            (preprocessing.StandardScaler(), ["income", "age"]),
        ),
        ("city", "age", "income", "member"),
    ),
    "infrequent": (
        lambda: _columns(
            (preprocessing.OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20), ["city", "age"]),
            ("passthrough", ["income"]),
            sparse_threshold=1.0,
        ),
        ("income", "city", "age"),
    ),
    "ordinal": (
        lambda: _columns(
            (preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["city", "text"]),
            remainder="passthrough",
        ),
        ("city", "age", "text", "member", "income"),
    ),
    "target": (
        lambda: _columns(
            (preprocessing.TargetEncoder(random_state=1), ["city"]), (preprocessing.MinMaxScaler(), ["age", "income"])
        ),
        ("city", "age", "income"),
    ),
    "imputed": (
        lambda: _columns(
            (pipeline.make_pipeline(SimpleImputer(add_indicator=True), preprocessing.RobustScaler()), ["score", "age"]),
            (
                pipeline.make_pipeline(
                    SimpleImputer(strategy="constant", fill_value="none", missing_values=np.nan),
                    preprocessing.OneHotEncoder(handle_unknown="ignore"),
                ),
                ["city"],
            ),
            remainder="drop",
        ),
        ("city", "age", "income", "score"),
    ),
    "bins": (
        lambda: _columns(
            (preprocessing.KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), ["age", "income"]),
            (preprocessing.FunctionTransformer(np.log1p), ["age"]),
            (preprocessing.PolynomialFeatures(2), ["income", "age"]),
            (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ),
        ("age", "income", "city"),
    ),
    "tf-idf": (
        lambda: _columns(
            (feature_extraction.text.TfidfVectorizer(), "text"),
            (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city"]),
            (preprocessing.MaxAbsScaler(), ["income"]),
        ),
        ("text", "city", "income"),
    ),
    "words": (lambda: _columns((feature_extraction.text.CountVectorizer(), "text")), ("text",)),
    "hashes": (
        lambda: _columns((feature_extraction.text.HashingVectorizer(n_features=64, ngram_range=(1, 2)), "text")),
        ("text",),
    ),
    "numbers": (lambda: SimpleImputer(), ("score", "income")),
    "union": (
        lambda: pipeline.FeatureUnion(
            [
                ("city", _columns((preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city"]))),
                ("age", _columns((preprocessing.QuantileTransformer(n_quantiles=20), ["age"]))),
            ]
        ),
        ("city", "age"),
    ),
}
FINALS: dict[str, tuple[Callable[[], Any], str]] = {
    "linear": (linear_model.LinearRegression, "predict"),
    "ridge": (linear_model.Ridge, "predict"),
    "logistic": (lambda: linear_model.LogisticRegression(max_iter=50), "predict"),
    "logistic shares": (lambda: linear_model.LogisticRegression(max_iter=50), "predict_proba"),
    "support vectors": (svm.SVC, "predict"),
    "tree": (lambda: tree.DecisionTreeRegressor(max_depth=6), "predict"),
    "forest": (lambda: ensemble.RandomForestClassifier(5, random_state=1), "predict_proba"),
    "boosting": (lambda: ensemble.GradientBoostingClassifier(n_estimators=5), "predict"),
    "histogram": (lambda: ensemble.HistGradientBoostingRegressor(max_iter=10), "predict"),
    "neighbors": (lambda: neighbors.KNeighborsRegressor(algorithm="kd_tree"), "predict"),
    "all neighbors": (lambda: neighbors.KNeighborsClassifier(algorithm="brute"), "predict_proba"),
    "network": (lambda: neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=20), "predict"),
    "bayes": (lambda: naive_bayes.GaussianNB(), "predict_proba"),
}


def _lightgbm(name: str) -> Any:
    import lightgbm

    return getattr(lightgbm, name)(n_estimators=8, min_child_samples=5, n_jobs=1, verbose=-1)


def _xgboost(name: str) -> Any:
    import xgboost

    return getattr(xgboost, name)(n_estimators=8, max_depth=3, n_jobs=1)


FINALS["lightgbm"] = (lambda: _lightgbm("LGBMClassifier"), "predict_proba")
FINALS["xgboost"] = (lambda: _xgboost("XGBRegressor"), "predict")

CROSSED = {
    "one-hot": [*FINALS],
    "one-hot of all": ["linear", "logistic", "histogram"],
    "infrequent": ["ridge", "logistic shares", "forest"],
    "ordinal": ["lightgbm", "tree", "linear"],
    "target": ["linear", "boosting", "neighbors"],
    "imputed": ["logistic", "xgboost"],
    "bins": ["linear", "tree"],
    "tf-idf": ["logistic", "ridge", "logistic shares", "boosting"],
    "words": ["logistic", "tree"],
    "hashes": ["logistic"],
    "numbers": ["linear", "forest"],
    "union": ["ridge", "tree"],
}
"""The estimators with which the encoders are combined."""
_NUMERIC_TARGET = {"linear", "ridge", "tree", "histogram", "neighbors", "network", "xgboost"}


def kinds() -> list[str]:
    """Return the names of all combinations."""
    return [f"{encoder} + {final}" for encoder, finals in CROSSED.items() for final in finals] + ["search", "selected"]


class Made(NamedTuple):
    """A loaded model, its input example as a request, and its features."""

    model: PyFuncModel
    example: bytes
    features: pd.DataFrame


def make(kind: str) -> Made:
    """Fit the model of a kind."""
    encoder, _, final = ("one-hot + ridge" if kind == "search" else "tf-idf + logistic").partition(" + ")
    if " + " in kind:
        encoder, _, final = kind.partition(" + ")
    encode, names = ENCODERS[encoder]
    estimate, predict = FINALS[final]
    features = training_data()[list(names)]
    number, label = targets(training_data())
    target = number if final in _NUMERIC_TARGET else label
    before = [feature_selection.SelectKBest(k=5)] if kind == "selected" else []
    estimator: Any = pipeline.make_pipeline(encode(), *before, estimate())
    if kind == "search":
        estimator = model_selection.GridSearchCV(estimator, {"ridge__alpha": [0.1, 1.0]}, cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(features, target.map({"low": 0, "middle": 1, "high": 2}) if final == "lightgbm" else target)
    return of_sklearn(estimator, features, predict)


def of_sklearn(estimator: Any, features: pd.DataFrame, name: str = "predict", **metadata: Any) -> Made:
    """Return a model as `mlflow.pyfunc.load_model` does."""
    return made("mlflow.sklearn", _SklearnModelWrapper(estimator), features, name, **metadata)


def made(loader: str, wrapper: Any, features: pd.DataFrame, name: str = "predict", **metadata: Any) -> Made:
    """Return a model of a flavor."""
    schema = Schema([ColSpec(TYPES[column], column) for column in features.columns])
    described = Model(signature=infer_signature(features.head(2)), metadata=metadata or None)
    described.signature.inputs = schema
    described.add_flavor("python_function", loader_module=loader, predict_fn=name)
    # A text column of missing values only is not read, and an example has none.
    example = features.dropna().head(EXAMPLE_ROWS)
    return Made(
        PyFuncModel(described, wrapper, name), body(example.columns, example.to_numpy(object).tolist()), features
    )


def body(names: Any, rows: list[list[Any]], form: str = "dataframe_split") -> bytes:
    """Return a request body."""
    if form == "dataframe_split":
        return json.dumps({form: {"columns": list(names), "data": rows}}, default=float).encode()
    return json.dumps({form: [dict(zip(names, row, strict=True)) for row in rows]}).encode()


_CELLS: dict[str, st.SearchStrategy[Any]] = {
    "city": st.sampled_from([*CITIES, *CITIES, "Madrid", "berlin", None]) | st.text(max_size=8),
    "text": st.lists(st.sampled_from([*WORDS, *WORDS, "unseen", "Good"]), max_size=6).map(" ".join) | st.text(),
    "age": st.integers(10, 95) | st.sampled_from([0, -1, 2**31, 2**53 + 1, -(2**63)]),
    "income": st.floats(-100, 100) | st.sampled_from([0.0, -0.0, 1e-300, 2.0**60, 1e30]) | st.integers(-3, 90),
    "score": st.floats(-3, 3) | st.none(),
    "member": st.booleans(),
}


def rows(names: Any, most: int) -> st.SearchStrategy[list[list[Any]]]:
    """Return a strategy for rows of the columns."""
    row = st.tuples(*(_CELLS[name] for name in names)).map(list)
    return st.lists(row, min_size=4, max_size=most)


def not_rowwise() -> Made:
    """Return a pipeline whose second step multiplies matrices."""
    features = training_data()[["city", "age", "income"]]
    estimator = pipeline.make_pipeline(ENCODERS["one-hot"][0](), PCA(2), linear_model.LinearRegression())
    return of_sklearn(estimator.fit(features, targets(training_data())[0]), features)
