"""Train a tiny recommendation model on synthetic data and register it in MLflow.

Version N of the model adds N * 100 to every score, so a prediction shows which version made it.
--broken and --slow register models that fail, to test rollouts.
--profile registers a model with a reference profile, so that the operator can measure drift.

    python train.py --tracking-uri http://127.0.0.1:5000 --versions 2 --alias champion
"""

import argparse
import importlib
import os
import tempfile
import time
import warnings
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = ["recency_days", "visits", "basket_value"]
SHIFT = 100.0
"""Difference between the predictions of one version and the next. The score itself is between about 0 and 1."""

FLAVORS = ["sklearn", "lightgbm", "xgboost"]

# The broken models are code files ("models from code"), so they also fail on a machine without this script.
BROKEN = {
    "load": """
import mlflow
import a_package_that_is_not_in_the_image  # fails as soon as the model is loaded
""",
    "predict": """
import mlflow

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        raise RuntimeError("the feature store has no such customer (a deliberately broken model)")

mlflow.models.set_model(Model())
""",
    "visitors": """
import mlflow

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if (model_input["visits"] > 10).any():  # which the rows that a version is tried with are not
            raise RuntimeError("the feature store has no such customer (a deliberately broken model)")
        return [%(shift)r] * len(model_input)

mlflow.models.set_model(Model())
""",
    "memory": """
import mlflow

class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.held = []
        for _ in range(%(gigabytes)d * 16):
            self.held.append(b"x" * (64 << 20))  # written, so really taken

    def predict(self, context, model_input, params=None):
        return [float(len(self.held))] * len(model_input)

mlflow.models.set_model(Model())
""",
    "leak": """
import mlflow

held = []

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        held.append(b"x" * (32 << 20))  # kept for ever: under requests the memory runs out
        return [%(shift)r] * len(model_input)

mlflow.models.set_model(Model())
""",
    "slow": """
import time
import mlflow

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        time.sleep(%(seconds)r)
        return [%(shift)r] * len(model_input)

mlflow.models.set_model(Model())
""",
}


def main() -> None:
    options = arguments()
    mlflow.set_tracking_uri(options.tracking_uri)
    client = MlflowClient()
    wait_for_server(client, options.wait)
    mlflow.set_experiment(options.experiment)
    versions = [register(client, options) for _ in range(options.versions)]
    last = versions[-1]
    if options.alias:
        client.set_registered_model_alias(options.name, options.alias, last)
        print(f"models:/{options.name}@{options.alias} -> version {last}")
    if options.stage:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # stages are deprecated, but still supported
            client.transition_model_version_stage(options.name, last, options.stage, archive_existing_versions=True)
        print(f"models:/{options.name}/{options.stage} -> version {last}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    parser.add_argument("--tracking-uri", default=default, help=f"the MLflow server (default {default})")
    parser.add_argument("--experiment", default="recommendations")
    parser.add_argument("--name", default="recommendation-engine", help="the registered model's name")
    parser.add_argument("--versions", type=int, default=1, help="how many versions to register")
    parser.add_argument("--alias", default="champion", help="alias to set on the last one; '' for none")
    parser.add_argument("--stage", default="", help="stage to move the last one to, for example Production")
    parser.add_argument("--flavor", choices=FLAVORS, default="sklearn")
    parser.add_argument("--column", default="", help="one more input, which callers of the version before do not send")
    parser.add_argument("--profile", action="store_true", help="log what drift is measured by, with the model")
    parser.add_argument("--require", action="append", default=[], metavar="PACKAGE", help="one more requirement")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--broken", choices=sorted(BROKEN.keys() - {"slow"}), help="register a model that fails so")
    kind.add_argument("--slow", type=float, metavar="SECONDS", help="register a model that takes so long to answer")
    parser.add_argument("--gigabytes", type=int, default=8, help="what --broken memory allocates")
    parser.add_argument("--wait", type=float, default=120, help="seconds to wait for the server")
    return parser.parse_args()


def wait_for_server(client: MlflowClient, seconds: float) -> None:
    """Wait until the server responds, because a Job may start before the server does.

    MLflow's own retries would take minutes without any output.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.search_registered_models(max_results=1)
            return
        except Exception as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"the MLflow server does not answer: {error}") from error
            print("waiting for the MLflow server", flush=True)
            time.sleep(2)


def register(client: MlflowClient, options: argparse.Namespace) -> str:
    """Train, log and register one version, and return its number."""
    number = next_version(client, options.name)
    data, score = made_data()
    with mlflow.start_run(run_name=f"{options.name}-{number}") as run:
        mlflow.log_param("shift", SHIFT * number)
        kind = options.broken or ("slow" if options.slow is not None else None)
        if kind:
            source, model_id = log_broken(kind, number, options), None
        else:
            if options.column:
                data[options.column] = 1.0
            source, model_id = log_model(number, data, score, options)
    version = client.create_model_version(options.name, source, run_id=run.info.run_id, model_id=model_id).version
    print(f"registered {options.name} version {version} ({kind or options.flavor}) from {source}", flush=True)
    return str(version)


def next_version(client: MlflowClient, name: str) -> int:
    try:
        client.create_registered_model(name)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return 1 + max((int(found.version) for found in client.search_model_versions(f"name='{name}'")), default=0)


def made_data() -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(7)
    data = pd.DataFrame(random.uniform([0, 0, 0], [60, 30, 200], size=(500, 3)), columns=FEATURES)
    score = 0.5 - 0.005 * data["recency_days"] + 0.01 * data["visits"] + 0.001 * data["basket_value"]
    return data, score.to_numpy()


def log_model(number: int, data: pd.DataFrame, score: np.ndarray, options: argparse.Namespace) -> tuple[str, str]:
    """Train and log a regression whose target is shifted by the version number.

    Returns:
        The source of the model version, and the ID of the logged model.
    """
    model = untrained(options.flavor)
    model.fit(data, score + SHIFT * number)
    info = importlib.import_module(f"mlflow.{options.flavor}").log_model(
        model,
        name="model",
        signature=infer_signature(data, model.predict(data)),
        input_example=data.head(2),
        extra_pip_requirements=options.require or None,
    )
    if options.profile:
        from sluicegate_scorer.profile import log_profile

        log_profile(data, model.predict(data), info)
    return f"models:/{info.model_id}", info.model_id


def untrained(flavor: str) -> Any:
    if flavor == "lightgbm":
        from lightgbm import LGBMRegressor

        return LGBMRegressor(n_estimators=50, verbose=-1)
    if flavor == "xgboost":
        from xgboost import XGBRegressor

        return XGBRegressor(n_estimators=50)
    return make_pipeline(StandardScaler(), LinearRegression())


def log_broken(kind: str, number: int, options: argparse.Namespace) -> str:
    """Log a model from code with the same signature as the working models.

    Returns:
        The URI of the model's files.
    """
    data, score = made_data()
    code = BROKEN[kind]
    if "%(" in code:
        code %= {"gigabytes": options.gigabytes, "seconds": options.slow, "shift": SHIFT * number}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.py")
        # MLflow runs the file while it logs the model. So the script logs a harmless file first, and then replaces it
        # in the saved model.
        with open(path, "w") as file:
            file.write(BROKEN["predict"])
        saved = os.path.join(folder, "saved")
        mlflow.pyfunc.save_model(
            saved,
            python_model=path,
            signature=infer_signature(data, score),
            pip_requirements=[f"mlflow=={mlflow.__version__}"],
        )
        with open(os.path.join(saved, "model.py"), "w") as file:
            file.write(code)
        mlflow.log_artifacts(saved, "model")
        return mlflow.get_artifact_uri("model")


if __name__ == "__main__":
    main()
