"""Save the models of the benchmark, each with the request that is sent to it.

Run it with an interpreter that has the packages of all flavors.

python bench/scorer/models.py FOLDER              tiny, boosting, onnx, custom and heavy
python bench/scorer/models.py FOLDER --profiled   tiny, and a copy of it with a reference profile
"""

import json
import shutil
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from lightgbm import LGBMRegressor
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor

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


def main(folder: Path, profiled: bool) -> None:
    """Save each model in a folder of its name under `folder`.

    With `profiled`, save only `tiny` and a copy of it with a reference profile, called `profiled`.
    """
    few, score = data(3)
    tiny = LinearRegression().fit(few, score)
    mlflow.sklearn.save_model(tiny, folder / "tiny", signature=infer_signature(few, tiny.predict(few)))
    request(folder / "tiny", few)
    if profiled:
        from sluicegate_scorer.profile import log_profile

        shutil.copytree(folder / "tiny", folder / "profiled")
        log_profile(few, tiny.predict(few), folder / "profiled")
        return
    many, score = data(30)
    boosting = LGBMRegressor(n_estimators=200, verbose=-1, n_jobs=1).fit(many, score)
    mlflow.lightgbm.save_model(boosting, folder / "boosting", signature=infer_signature(many, boosting.predict(many)))
    request(folder / "boosting", many)
    numbers = many.to_numpy().astype(np.float32)
    network = MLPRegressor(hidden_layer_sizes=(64, 32), max_iter=20).fit(numbers, score)
    converted = to_onnx(network, numbers[:1])
    answer = network.predict(numbers[:2]).astype(np.float32).reshape(-1, 1)
    mlflow.onnx.save_model(converted, folder / "onnx", signature=infer_signature(numbers[:2], {"variable": answer}))
    (folder / "onnx" / "request.json").write_text(json.dumps({"inputs": numbers[:1].tolist()}))
    for name, text in (("custom", CUSTOM), ("heavy", HEAVY)):
        code = folder / f"{name}.py"
        code.write_text(text)
        mlflow.pyfunc.save_model(folder / name, python_model=str(code), signature=infer_signature(few, score))
        request(folder / name, few)
    loaded = mlflow.pyfunc.load_model(str(folder / "heavy"))
    times = []
    for _ in range(20):
        began = time.perf_counter()
        loaded.predict(few.head(1))
        times.append(time.perf_counter() - began)
    (folder / "direct.json").write_text(json.dumps(sorted(times)[len(times) // 2]))


def request(model: Path, frame: pd.DataFrame) -> None:
    """Write a request with the first row of `frame`, in the format that most clients use."""
    (model / "request.json").write_text(json.dumps({"dataframe_split": frame.head(1).to_dict(orient="split")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--profiled" in sys.argv)
