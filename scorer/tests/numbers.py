"""Models whose predictions change with single units, and rows that test them.

There are models of each library that predicts from numbers. The columns lie where types end: days such as 20240101 are
above 2^24, seconds are above 2^31, and identifiers are near 2^53. The target changes with every unit, so a conversion
that rounds changes the prediction.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.models import infer_signature

STARTS = {
    "int32": [20240101, 2**31 - 40, -(2**31) + 8],
    "int64": [20240101, 2**31 - 12, 2**53 - 40],
    "float32": [2.0**24 - 16, -0.5, 2.0**31],
    "float64": [20240101.0, 2.0**53 - 40, 0.1],
}
"""The first value of the columns of each type in the training data. The values are consecutive."""
SIGNATURES: dict[str, dict[str, tuple[str, float]]] = {
    kind: {f"c{number}": (kind, start) for number, start in enumerate(starts)} for kind, starts in STARTS.items()
}
SIGNATURES["long and double"] = {"id": ("int64", 2**53 - 40), "x": ("float64", 0.25), "day": ("int32", 20240101)}
SIGNATURES["integer and float"] = {"day": ("int32", 20240101), "x": ("float32", 2.0**24 - 16)}
SIGNATURES["boolean and long"] = {"flag": ("bool", 0), "id": ("int64", 2**31 - 12)}
_ROWS = 32
_SPECIAL = {
    "int": [0, -1, 2**24 - 1, 2**24 + 1, 2**24 + 3, 2**31 - 1, -(2**31), 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1],
    "float": [-0.0, 5e-324, 0.1, 1e300, 3.4028234663852886e38, 2.0**24 + 1, 2.0**53 + 2, 1.5, float("nan"), None],
    "bool": [None, 1],
}


def training_data(signature: str) -> tuple[pd.DataFrame, pd.Series]:
    """Return columns of consecutive values, and their target.

    The target is 10 for odd rows and 0 for even rows, plus a sixteenth of the row's number.
    """
    rows = np.tile(np.arange(_ROWS), 8)
    columns = {}
    for name, (kind, start) in SIGNATURES[signature].items():
        columns[name] = rows % 2 == 0 if kind == "bool" else (np.array([start], dtype=kind) + rows).astype(kind)
    return pd.DataFrame(columns), pd.Series((rows % 2) * 10.0 + rows / 16)


def save(kind: str, signature: str, folder: Path) -> Path:
    """Fit and save one model with an example of two rows, unless it exists."""
    path = folder / f"{kind}-{signature}".replace(" ", "-")
    if path.exists():
        return path
    features, target = training_data(signature)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, model, predicted = MODELS[kind](features, target)
        options: dict[str, Any] = {"signature": infer_signature(features, predicted), "pip_requirements": ["mlflow"]}
        if module is mlflow.sklearn:
            options["serialization_format"] = "cloudpickle"
        module.save_model(model, str(path), **options)
    example = {"columns": list(features.columns), "data": features.head(2).to_numpy(dtype=object).tolist()}
    (path / "serving_input_example.json").write_text(json.dumps({"dataframe_split": example}))
    return path


def rows(signature: str) -> st.SearchStrategy[list[list[Any]]]:
    """Return a strategy for the rows of a request.

    Most values are next to those of the training data.
    """
    row = st.tuples(*(_values(kind, start) for kind, start in SIGNATURES[signature].values())).map(list)
    return st.lists(row, min_size=1, max_size=3)


def _values(kind: str, start: float) -> st.SearchStrategy[Any]:
    if kind == "bool":
        return st.booleans() | st.booleans() | st.sampled_from(_SPECIAL["bool"])
    if kind.startswith("int"):
        limits = np.iinfo(kind)
        near = st.integers(max(int(start) - 4, limits.min), min(int(start) + _ROWS + 4, limits.max))
        return st.one_of(*[near] * 15, st.sampled_from(_SPECIAL["int"]))
    near = st.integers(-4, _ROWS + 4).map(lambda step: start + step)
    beside = st.tuples(near, st.sampled_from([np.float32, np.float64]), st.sampled_from([-np.inf, np.inf]))
    neighbours = beside.map(lambda drawn: float(np.nextafter(drawn[1](drawn[0]), drawn[1](drawn[2]))))
    halves = near.map(lambda value: value + 0.5)
    return st.one_of(*[near] * 6, *[neighbours] * 6, *[halves] * 3, st.sampled_from(_SPECIAL["float"]))


def _lightgbm(name: str) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    def fit(features: Any, target: Any) -> tuple[Any, Any, Any]:
        import lightgbm

        options = {"n_estimators": 12, "min_child_samples": 2, "verbose": -1, "n_jobs": 1, "max_bin": 255}
        if name == "Booster":
            parameters = {"min_data_in_leaf": 2, "verbose": -1, "num_threads": 1}
            model = lightgbm.train(parameters, lightgbm.Dataset(features, target), 12)
        elif name == "LGBMClassifier":
            model = lightgbm.LGBMClassifier(**options).fit(features, target % 10 > 1)
        else:
            model = lightgbm.LGBMRegressor(**options).fit(features, target)
        return mlflow.lightgbm, model, model.predict(features)

    return fit


def _xgboost(name: str) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    def fit(features: Any, target: Any) -> tuple[Any, Any, Any]:
        import xgboost

        options = {"n_estimators": 12, "max_depth": 6, "n_jobs": 1}
        if name == "Booster":
            data = xgboost.DMatrix(features, target)
            model = xgboost.train({"max_depth": 6, "nthread": 1}, data, 12)
            return mlflow.xgboost, model, model.predict(data)
        if name == "XGBClassifier":
            model = xgboost.XGBClassifier(**options).fit(features, (target > 5).astype(int))
        else:
            model = xgboost.XGBRegressor(**options).fit(features, target)
        return mlflow.xgboost, model, model.predict(features)

    return fit


def _catboost(name: str) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    def fit(features: Any, target: Any) -> tuple[Any, Any, Any]:
        import catboost

        options = {"iterations": 12, "depth": 4, "verbose": False, "allow_writing_files": False, "thread_count": 1}
        labels = target > 5 if name == "CatBoostClassifier" else target
        model = getattr(catboost, name)(**options).fit(features, labels)
        return mlflow.catboost, model, model.predict(features)

    return fit


def _sklearn(name: str) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    def fit(features: Any, target: Any) -> tuple[Any, Any, Any]:
        from lightgbm import LGBMRegressor
        from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, VotingRegressor
        from sklearn.linear_model import LinearRegression, LogisticRegression
        from sklearn.neighbors import KNeighborsRegressor
        from sklearn.pipeline import Pipeline, make_pipeline
        from sklearn.preprocessing import MinMaxScaler, StandardScaler
        from sklearn.tree import DecisionTreeRegressor

        boosting = LGBMRegressor(n_estimators=12, min_child_samples=2, verbose=-1, n_jobs=1)
        models = {
            "tree": DecisionTreeRegressor(),
            "forest": RandomForestClassifier(n_estimators=5),
            "histogram": HistGradientBoostingRegressor(max_iter=8, min_samples_leaf=2),
            "linear": make_pipeline(StandardScaler(), LinearRegression()),
            "bare linear": LinearRegression(),
            "logistic": make_pipeline(MinMaxScaler(), LogisticRegression()),
            "neighbours": KNeighborsRegressor(1),
            "lightgbm": boosting,
            "pipeline of lightgbm": Pipeline([("nothing", "passthrough"), ("model", boosting)]),
            "scaled lightgbm": make_pipeline(MinMaxScaler(), boosting),
            "vote of lightgbm": VotingRegressor([("one", boosting), ("other", DecisionTreeRegressor())]),
        }
        labels = target > 5 if name in ("forest", "logistic") else target
        model = models[name].fit(features, labels)
        return mlflow.sklearn, model, model.predict(features)

    return fit


def _onnx(name: str) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    def fit(features: Any, target: Any) -> tuple[Any, Any, Any]:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType
        from sklearn.linear_model import LinearRegression
        from sklearn.tree import DecisionTreeRegressor

        types = {"float": FloatTensorType, "double": DoubleTensorType, "int64": Int64TensorType}
        estimator = DecisionTreeRegressor() if "tree" in name else LinearRegression()
        fitted = estimator.fit(features.to_numpy(dtype=np.float64), target)
        graph = to_onnx(fitted, initial_types=[("X", types[name.split()[0]]([None, features.shape[1]]))])
        return mlflow.onnx, graph, features.iloc[:, :1].astype(np.float32)

    return fit


_SOME = {
    "onnx float tree": ("float32", "float64", "long and double"),
    "onnx float linear": ("float32", "float64", "long and double"),
    "onnx double linear": ("float64", "long and double"),
    "onnx int64 linear": ("int64",),
    "sklearn bare linear": ("int32", "float32"),
    "sklearn lightgbm": ("int64", "long and double"),
    "sklearn pipeline of lightgbm": ("int32", "long and double"),
    "sklearn scaled lightgbm": ("int64", "float32"),
    "sklearn vote of lightgbm": ("int32", "float64"),
}
"""The signatures of some kinds of models: those that an ONNX graph accepts, and fewer for kinds that are alike."""


def signatures(kind: str) -> tuple[str, ...]:
    """Return the signatures with which to test a kind of model."""
    return _SOME.get(kind, (*STARTS, "long and double"))


MODELS: dict[str, Callable[[Any, Any], tuple[Any, Any, Any]]] = {
    **{f"lightgbm {name}": _lightgbm(name) for name in ("LGBMRegressor", "LGBMClassifier", "Booster")},
    **{f"xgboost {name}": _xgboost(name) for name in ("XGBRegressor", "XGBClassifier", "Booster")},
    **{f"catboost {name}": _catboost(name) for name in ("CatBoostRegressor", "CatBoostClassifier")},
    **{
        f"sklearn {name}": _sklearn(name)
        for name in (
            "tree", "forest", "histogram", "linear", "bare linear", "logistic", "neighbours", "lightgbm",
            "pipeline of lightgbm", "scaled lightgbm", "vote of lightgbm",
        )
    },
    **{name: _onnx(name.removeprefix("onnx ")) for name in _SOME if name.startswith("onnx ")},
}  # fmt: skip
