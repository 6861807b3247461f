"""Save the models of the benchmark, each with the request that is sent to it.

Run it with an interpreter that has the packages of all flavors.

python bench/scorer/models.py FOLDER              all
python bench/scorer/models.py FOLDER tiny mixed   some
python bench/scorer/models.py FOLDER --profiled   tiny, and a copy of it with a reference profile
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from catboost import CatBoostRegressor
from lightgbm import LGBMRegressor
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

CUSTOM = """
import mlflow

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return 2 * model_input["f0"] + model_input["f1"] - 0.5 * model_input["f2"]

mlflow.models.set_model(Model())
"""
HEAVY = """
import time
import mlflow
import numpy as np

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        end = time.thread_time() + 0.05  # work, not waiting: threads side by side do not get it sooner
        found = np.asarray(model_input, dtype=np.float64)
        while time.thread_time() < end:
            found = np.tanh(found)
        return found.sum(axis=1)

mlflow.models.set_model(Model())
"""


def data(columns: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return synthetic features and a target that depends on them."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame(random.normal(size=(2000, columns)), columns=[f"f{number}" for number in range(columns)])
    return frame, frame.to_numpy() @ random.normal(size=columns) + random.normal(size=2000)


REQUIREMENTS: dict[str, Any] = {"pip_requirements": ["mlflow"]}
"""Given, because MLflow needs seconds to find out what a model imports."""
PICKLED: dict[str, Any] = {"serialization_format": "cloudpickle", **REQUIREMENTS}
CITIES = ("Berlin", "Paris", "Rome", "Madrid", "Vienna", "Prague", "Warsaw", "Oslo")
WORDS = (
    "model",
    "order",
    "late",
    "good",
    "broken",
    "box",
    "small",
    "refund",
    "thanks",
    "again",
    "never",
    "fast",
    "blue",
)
SIZES = (1, 100, 1_000, 10_000)
"""Rows of the bodies."""
LARGE = 32 << 20
"""Bytes of the largest body, about."""
WITH_BODIES = ("boosting", "mixed", "categories", "text")


def columns(rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a text, an integer and a float column, and a target that depends on them."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "city": random.choice(CITIES, size=rows),
            "visits": random.integers(0, 100, size=rows),
            "spend": random.normal(100.0, 20.0, size=rows),
        }
    )
    score = frame["visits"] * 0.5 + frame["spend"] + frame["city"].str.len() * 3.0
    return frame, score.to_numpy() + random.normal(size=rows)


def texts(rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a column of twenty words a row, and a label that depends on them."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame({"text": [" ".join(random.choice(WORDS, size=20)) for _ in range(rows)]})
    return frame, frame["text"].str.contains("broken refund").to_numpy().astype(np.int64)


def tiny(folder: Path) -> pd.DataFrame:
    """Save a linear regression over three columns."""
    few, score = data(3)
    model = LinearRegression().fit(few, score)
    mlflow.sklearn.save_model(model, folder, signature=infer_signature(few, model.predict(few)), **REQUIREMENTS)
    return few


def boosting(folder: Path) -> pd.DataFrame:
    """Save LightGBM over thirty columns."""
    many, score = data(30)
    model = LGBMRegressor(n_estimators=200, verbose=-1, n_jobs=1).fit(many, score)
    mlflow.lightgbm.save_model(model, folder, signature=infer_signature(many, model.predict(many)), **REQUIREMENTS)
    return many


def onnx(folder: Path) -> None:
    """Save a small network, which takes a tensor."""
    many, score = data(30)
    numbers = many.to_numpy().astype(np.float32)
    network = MLPRegressor(hidden_layer_sizes=(64, 32), max_iter=20).fit(numbers, score)
    converted = to_onnx(network, numbers[:1])
    answer = network.predict(numbers[:2]).astype(np.float32).reshape(-1, 1)
    signature = infer_signature(numbers[:2], {"variable": answer})
    mlflow.onnx.save_model(converted, folder, signature=signature, **REQUIREMENTS)
    (folder / "request.json").write_text(json.dumps({"inputs": numbers[:1].tolist()}))


def pyfunc(folder: Path, text: str) -> pd.DataFrame:
    """Save a pyfunc, from its code, over three columns."""
    few, score = data(3)
    code = folder.with_suffix(".py")
    code.write_text(text)
    mlflow.pyfunc.save_model(folder, python_model=str(code), signature=infer_signature(few, score), **REQUIREMENTS)
    return few


def heavy(folder: Path) -> pd.DataFrame:
    """Save a pyfunc that computes for 50 ms, and the duration of a direct call."""
    few = pyfunc(folder, HEAVY)
    loaded = mlflow.pyfunc.load_model(str(folder))
    times = []
    for _ in range(20):
        began = time.perf_counter()
        loaded.predict(few.head(1))
        times.append(time.perf_counter() - began)
    (folder.parent / "direct.json").write_text(json.dumps(sorted(times)[len(times) // 2]))
    return few


def mixed(folder: Path) -> pd.DataFrame:
    """Save a pipeline over a text, an integer and a float column."""
    frame, score = columns(2000)
    encoder = ColumnTransformer([("city", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough")
    model = make_pipeline(encoder, LinearRegression()).fit(frame, score)
    signature = infer_signature(frame, model.predict(frame))
    mlflow.sklearn.save_model(model, folder, signature=signature, input_example=frame.head(2), **PICKLED)
    return frame


def categories(folder: Path) -> pd.DataFrame:
    """Save CatBoost over the same columns. The text column is a category."""
    frame, score = columns(2000)
    model = CatBoostRegressor(iterations=200, depth=6, cat_features=["city"], verbose=False, allow_writing_files=False)
    model.fit(frame, score)
    signature = infer_signature(frame, model.predict(frame))
    mlflow.catboost.save_model(model, folder, signature=signature, input_example=frame.head(2), **REQUIREMENTS)
    return frame


def text(folder: Path) -> pd.DataFrame:
    """Save a classifier of texts: TF-IDF and a logistic regression."""
    frame, label = texts(2000)
    words = ColumnTransformer([("text", TfidfVectorizer(ngram_range=(1, 2)), "text")])
    model = make_pipeline(words, LogisticRegression()).fit(frame, label)
    signature = infer_signature(frame, model.predict(frame))
    mlflow.sklearn.save_model(model, folder, signature=signature, input_example=frame.head(2), **PICKLED)
    return frame


SAVES: dict[str, Callable[[Path], pd.DataFrame | None]] = {
    "tiny": tiny,
    "boosting": boosting,
    "onnx": onnx,
    "custom": lambda folder: pyfunc(folder, CUSTOM),
    "heavy": heavy,
    "mixed": mixed,
    "categories": categories,
    "text": text,
}


def main(folder: Path, models: list[str], profiled: bool) -> None:
    """Save models, each in a folder of its name under `folder`.

    With `profiled`, save only `tiny` and a copy of it with a reference profile, called `profiled`.
    """
    for name in ["tiny"] if profiled else models or list(SAVES):
        frame = SAVES[name](folder / name)
        if frame is not None:
            _write(folder / name / "request.json", frame.head(1))
        if frame is not None and name in WITH_BODIES and not profiled:
            bodies(folder / name / "bodies", frame)
    if profiled:
        from sluicegate_scorer.profile import log_profile

        few, _ = data(3)
        shutil.copytree(folder / "tiny", folder / "profiled")
        predictions = mlflow.pyfunc.load_model(str(folder / "tiny")).predict(few)
        log_profile(few, predictions, folder / "profiled")


def bodies(folder: Path, frame: pd.DataFrame) -> None:
    """Write the same rows in each form, and one large body."""
    folder.mkdir()
    for size in SIZES:
        rows = _rows(frame, size)
        _write(folder / f"split-{size}.json", rows)
        (folder / f"records-{size}.json").write_text(json.dumps({"dataframe_records": rows.to_dict(orient="records")}))
        rows.to_csv(folder / f"csv-{size}.csv", index=False)
    row = (folder / f"split-{SIZES[-1]}.json").stat().st_size / SIZES[-1]
    _write(folder / "split-32MiB.json", _rows(frame, int(LARGE / row)))


def _rows(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    return frame.iloc[np.arange(count) % len(frame)].reset_index(drop=True)


def _write(file: Path, frame: pd.DataFrame) -> None:
    """Write rows in the format that most clients use."""
    file.write_text(json.dumps({"dataframe_split": frame.to_dict(orient="split")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [each for each in sys.argv[2:] if each in SAVES], "--profiled" in sys.argv)
