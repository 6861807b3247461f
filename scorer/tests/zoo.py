"""Small real models of each flavor, each with matching requests.

Each model is saved once per test session.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scorer.tests.traffic import Column, Traffic

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import infer_signature
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
    from mlflow.pyfunc import PythonModel

NUMBERS = [Column("a"), Column("b"), Column("c")]
"""The columns of most models."""
REQUIREMENTS: dict[str, Any] = {"pip_requirements": ["mlflow"]}
CHAT = [
    '{"messages": [{"role": "user", "content": "hello"}]}',
    '{"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5, "max_tokens": 7}',
    '{"messages": [{"role": "user", "content": "hello"}], "stream": true}',
    '{"messages": [{"role": "user", "content": "hello"}], "custom_inputs": {"a": "b"}}',
    '{"messages": [{"role": "user"}]}',
    '{"messages": [{"role": "user", "content": 5}]}',
    '{"messages": [{"role": "nobody", "content": "x", "other": 1}]}',
    '{"messages": [{"role": "user", "content": "x"}], "temperature": "hot"}',
    '{"messages": []}',
    '{"messages": null}',
    '{"messages": "hello"}',
    '{"messages": [{"role": "user", "content": "x"}], "inputs": [[1]], "params": {"temperature": 1}}',
    '{"prompt": "once upon a time"}',
    '{"input": ["embed me", "and me"]}',
    '{"dataframe_split": {"columns": ["messages"], "data": [[[{"role": "user", "content": "x"}]]]}}',
]


class Kept(NamedTuple):
    """One model: its folder, and requests for it."""

    path: Path
    traffic: Traffic


class Texts(PythonModel):
    """A model with params of each type."""

    def predict(self, context, model_input, params=None):  # Type hints would become the signature of the model.
        params = params or {}
        if (model_input["a"] < -2).any():
            raise RuntimeError("a secret of the model")
        scaled = model_input["a"] * params.get("factor", 1.0) + params.get("shift", 0)
        return pd.DataFrame(
            {"text": params.get("prefix", "") + model_input["b"], "sum": scaled + sum(params.get("list", ()))}
        )


class Frames(PythonModel):
    """A model that returns the frame that it was given.

    It fails in every possible way, selected by its first value.
    """

    def predict(self, context, model_input, params=None):
        ending = repr(float(model_input.iloc[0, 0]))[-1]
        if ending == "1":
            raise RuntimeError("a secret of the model")
        if ending == "3":
            raise MlflowException("not that one", error_code=INVALID_PARAMETER_VALUE)
        if ending == "5":
            return object()  # This is not serializable as JSON.
        kinds = [str(kind) for kind in model_input.dtypes]
        labels = [type(model_input.index).__name__, type(model_input.columns).__name__, str(model_input.columns.dtype)]
        return {"values": model_input.to_dict("list"), "kinds": kinds, "labels": labels}


class Anything(PythonModel):
    """A model without a signature, which returns what it was given."""

    def predict(self, context, model_input, params=None):
        if isinstance(model_input, pd.DataFrame):
            return {"columns": [str(name) for name in model_input.columns], "rows": len(model_input)}
        return {"type": type(model_input).__name__, "value": str(model_input), "params": params}


class Hinted(PythonModel):
    """A model whose signature comes from type hints."""

    def predict(self, model_input: list[dict[str, float]]) -> list[float]:
        return [sum(each.values()) for each in model_input]


def frame() -> tuple[pd.DataFrame, pd.Series]:
    """Return features of three columns, and a target."""
    random = np.random.default_rng(3)
    made = pd.DataFrame(random.normal(size=(160, 3)) * [1, 10, 100], columns=["a", "b", "c"])
    return made, made.a * 2 + made.b - 0.1 * made.c


def sklearn(folder: Path) -> Iterator[tuple[str, Traffic]]:
    """Save the scikit-learn models, and yield each with its requests.

    They cover both ways of batching, strings, columns of several types, a tensor, and probabilities.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def save(name: str, model: Any, inputs: Any, outputs: Any, **options: Any) -> str:
        signature = infer_signature(inputs, outputs)
        options = {"serialization_format": "cloudpickle", **REQUIREMENTS, **options}
        mlflow.sklearn.save_model(model, str(folder / name), signature=signature, **options)
        return name

    features, target = frame()
    linear = make_pipeline(StandardScaler(), LinearRegression()).fit(features, target)
    yield save("linear", linear, features, target, input_example=features.head(2)), Traffic(NUMBERS, "linear")
    whole = features.assign(b=features.b.round().astype(np.int64))
    trees = GradientBoostingRegressor(n_estimators=10).fit(whole, target)
    yield save("trees", trees, whole, target), Traffic([Column("a"), Column("b", "long"), Column("c")], "trees")
    forest = RandomForestClassifier(n_estimators=5).fit(features.to_numpy(), target > 0)
    shares = forest.predict_proba(features.to_numpy())
    saved = save("shares", forest, features.to_numpy(), shares, pyfunc_predict_fn="predict_proba")
    yield saved, Traffic(NUMBERS, "shares", tensor="")
    mixed = features.assign(c=np.where(features.c > 0, "red", "blue"), d=features.a > 0)
    encode = make_column_transformer((OneHotEncoder(), ["c"]), remainder="passthrough")
    labels = make_pipeline(encode, LogisticRegression()).fit(mixed, np.where(target > 0, "yes", "no"))
    described = [Column("a"), Column("b"), Column("c", "string", ("red", "blue", "none")), Column("d", "boolean")]
    yield save("labels", labels, mixed, labels.predict(mixed)), Traffic(described, "labels")


def xgboost(folder: Path) -> Iterator[tuple[str, Traffic]]:
    """Save the XGBoost models, and yield each with its requests.

    They cover the scikit-learn interface, a Booster, classes, and a narrower column type.
    """
    import xgboost as library

    def save(name: str, model: Any, inputs: Any, outputs: Any) -> str:
        mlflow.xgboost.save_model(model, str(folder / name), signature=infer_signature(inputs, outputs), **REQUIREMENTS)
        return name

    features, target = frame()
    options: dict[str, Any] = {"n_estimators": 10, "max_depth": 3, "n_jobs": 1}
    model = library.XGBRegressor(**options).fit(features, target)
    yield save("regressor", model, features, target), Traffic(NUMBERS, "regressor")
    classes = library.XGBClassifier(**options).fit(features, (target > 0).astype(int))
    yield save("classifier", classes, features, classes.predict(features)), Traffic(NUMBERS, "classifier")
    booster = library.train({"max_depth": 3, "nthread": 1}, library.DMatrix(features, target), 10)
    narrow = features.astype(np.float32)
    yield (
        save("booster", booster, narrow, target.astype(np.float32)),
        Traffic([Column(name, "float") for name in "abc"], "booster"),
    )


def lightgbm(folder: Path) -> Iterator[tuple[str, Traffic]]:
    """Save the LightGBM models, and yield each with its requests.

    They cover the scikit-learn interface, a Booster, classes, and columns of integers.
    """
    import lightgbm as library

    def save(name: str, model: Any, inputs: Any, outputs: Any) -> str:
        mlflow.lightgbm.save_model(
            model, str(folder / name), signature=infer_signature(inputs, outputs), **REQUIREMENTS
        )
        return name

    features, target = frame()
    options: dict[str, Any] = {"n_estimators": 10, "verbose": -1, "n_jobs": 1, "min_child_samples": 5}
    model = library.LGBMRegressor(**options).fit(features, target)
    yield save("regressor", model, features, target), Traffic(NUMBERS, "lgbm")
    classes = library.LGBMClassifier(**options).fit(features, np.where(target > 0, "yes", "no"))
    yield save("classifier", classes, features, classes.predict(features)), Traffic(NUMBERS, "lgbm classes")
    whole = features.round().astype(np.int64)
    booster = library.train({"verbose": -1, "num_threads": 1}, library.Dataset(whole, target), 10)
    yield save("booster", booster, whole, target), Traffic([Column(name, "long") for name in "abc"], "lgbm booster")


def onnx(folder: Path) -> Iterator[tuple[str, Traffic]]:
    """Save the ONNX models, and yield each with its requests.

    They cover a tensor without a name and one with a name, columns, and a graph with two outputs.
    """
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPRegressor

    def save(name: str, model: Any, inputs: Any, outputs: Any) -> str:
        mlflow.onnx.save_model(model, str(folder / name), signature=infer_signature(inputs, outputs), **REQUIREMENTS)
        return name

    features, target = frame()
    numbers = features.to_numpy().astype(np.float32)
    network = MLPRegressor(hidden_layer_sizes=(8,), max_iter=30).fit(numbers, target)
    answer = {"variable": network.predict(numbers[:3]).astype(np.float32).reshape(-1, 1)}
    floats = [Column(name, "float") for name in "abc"]
    graph = to_onnx(network, numbers[:1])
    yield save("tensor", graph, numbers, answer), Traffic(floats, "tensor", tensor="")
    yield save("named", graph, {"X": numbers}, answer), Traffic(floats, "named", tensor="X")
    yield save("columns", graph, features, features[["a"]]), Traffic(NUMBERS, "onnx columns")
    classes = LogisticRegression().fit(numbers, (target > 0).astype(int))
    pair = {"label": classes.predict(numbers), "probabilities": classes.predict_proba(numbers).astype(np.float32)}
    both = to_onnx(classes, numbers[:1], options={"zipmap": False})
    yield save("pair", both, numbers, pair), Traffic(floats, "pair", tensor="")


def pyfunc(folder: Path) -> Iterator[tuple[str, Traffic]]:
    """Save the pyfunc models, and yield each with its requests.

    They cover params of each type, no signature, type hints, and the bare payloads of chat models.
    """

    def save(name: str, model: Any, **options: Any) -> str:
        mlflow.pyfunc.save_model(str(folder / name), python_model=model, **REQUIREMENTS, **options)
        return name

    data = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    defaults = {"factor": 1.0, "shift": 0, "prefix": "", "flag": False, "list": [1.0]}
    values = {
        "factor": ["2.5", "3", "-0.0", "1e400", '"2"', "true", "null", "[1.0]"],
        "shift": ["5", "-7", "5.0", "9223372036854775808", '"5"', "null"],
        "prefix": ['"p"', '"caf\\u00e9"', '"\\ud800"', "5", "null", '["p"]'],
        "flag": ["true", "false", "1", '"yes"'],
        "list": ["[1.5, 2]", "[]", "[null]", '["x"]', "1", "[[1]]"],
    }
    signature = infer_signature(data, pd.DataFrame({"text": ["x"], "sum": [1.0]}), params=defaults)
    columns = [Column("a"), Column("b", "string", ("x", "", "é", "\U0001f600", '"'))]
    yield save("params", Texts(), signature=signature), Traffic(columns, "params", params=values, further=CHAT)
    numbers = pd.DataFrame({"a": [1.0, 2.0], "b": [1, 2], "c": [0.5, 1.5]})
    wide = [Column("a"), Column("b", "long"), Column("c")]
    yield save("frames", Frames(), signature=infer_signature(numbers)), Traffic(wide, "frames")
    yield save("anything", Anything()), Traffic(columns, "anything", params=values, further=CHAT)
    hints = [
        f'{{"inputs": [{{"a": {number}, "b": 2.5}}]}}'
        for number in (1, -0.0, 2.0, -7.25, 1e300, 0.1, "1e400", "NaN", '"1"')
    ] * 2
    hints += [
        '{"inputs": [{"a": 1.0}], "params": {"b": 1}}',
        '{"inputs": []}',
        '{"inputs": [{"a": "x"}]}',
        '{"inputs": 5}',
        '{"inputs": [1]}',
    ]
    yield save("hinted", Hinted()), Traffic(NUMBERS, "hinted", further=[*hints, *CHAT], share=0.9)
    yield save("chat", _chat()), Traffic(columns, "chat", further=CHAT, share=0.9)


def _chat() -> Any:
    from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage

    class Chat(mlflow.pyfunc.ChatModel):
        def predict(self, context, messages, params=None):
            said = messages[-1].content.upper() + f" {params.temperature} {params.max_tokens}"
            choices = [ChatChoice(index=0, message=ChatMessage(role="assistant", content=said))]
            return ChatCompletionResponse(choices=choices, model="loud", created=1700000000, id="fixed")

    return Chat()


FLAVORS: dict[str, Callable[[Path], Iterator[tuple[str, Traffic]]]] = {
    "sklearn": sklearn,
    "xgboost": xgboost,
    "lightgbm": lightgbm,
    "onnx": onnx,
    "pyfunc": pyfunc,
}


def make(flavor: str, folder: Path) -> list[Kept]:
    """Save all models of a flavor in a folder."""
    return [Kept(folder / name, traffic) for name, traffic in FLAVORS[flavor](folder)]
