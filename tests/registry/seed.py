"""Logs and registers models with the stock client, and prints JSON.

It runs in an interpreter that has mlflow.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402

CODE = """import mlflow
class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input
mlflow.models.set_model(Echo())
"""
UNICODE = "Naïve модель v2.1 %41@x"


def main(url: str) -> None:
    logging.disable(logging.CRITICAL)
    mlflow.set_tracking_uri(url)
    client = MlflowClient()
    Path("echo.py").write_text(CODE)
    with mlflow.start_run() as run:
        info = mlflow.pyfunc.log_model(name="model", python_model="echo.py")
        mlflow.log_artifact("echo.py", "classic/model")
    root = run.info.artifact_uri
    logged = f"models:/{info.model_id}"
    client.create_registered_model("iris")

    def version(source: str, *, name: str = "iris", run_id: str | None = None, model_id: str | None = None) -> str:
        made = client.create_model_version(name, source, run_id=run_id, model_id=model_id)
        return str(made.version)

    versions = {
        "logged": version(logged, run_id=run.info.run_id, model_id=info.model_id),
        "classic": version(f"{root}/classic/model", run_id=run.info.run_id),
        "s3": version("s3://bucket/some/model"),
        "chain": version("models:/iris/1"),
        "pvc": version("pvc://claim/model"),
        "last": str(mlflow.register_model(f"runs:/{run.info.run_id}/model", "iris").version),
    }
    client.set_registered_model_alias("iris", "champion", versions["classic"])
    client.set_registered_model_alias("iris", "Überholt_1", versions["s3"])
    client.transition_model_version_stage("iris", versions["classic"], "Production")
    client.transition_model_version_stage("iris", versions["s3"], "Production")
    client.transition_model_version_stage("iris", versions["chain"], "Archived")
    for name in (UNICODE, "with space"):
        client.create_registered_model(name)
        version(f"{root}/classic/model", name=name, run_id=run.info.run_id)
        client.set_registered_model_alias(name, "a", "1")
    client.create_registered_model("empty")
    gone = client.create_run("0")
    client.delete_run(gone.info.run_id)
    facts = {"run": run.info.run_id, "root": root, "model_id": info.model_id, "versions": versions}
    facts |= {"unicode": UNICODE, "deleted_run": gone.info.run_id}
    sys.stdout.write(json.dumps(facts) + "\n")


main(sys.argv[1])
