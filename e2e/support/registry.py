"""The demo's MLflow registry, for tests: REST for what is small, and the training script in the server's own pod."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.localcluster import Cluster

MANY = """
import sys
for each in %(options)r:
    sys.argv = ["train.py", *each]
    exec(compile(%(source)r, "train.py", "exec"), {"__name__": "__main__"})
"""
"""Runs the training script several times in one process: what takes its time is to import MLflow."""
TRAIN = Path(__file__).resolve().parents[2] / "examples/mlflow/train.py"
MODEL = "recommendation-engine"


class Registry:
    """The registry `default` of the operator's settings."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        service: Any = cluster.get("service", "mlflow", "mlflow")
        self.url = f"http://{service['spec']['clusterIP']}:5000"

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One request to /api/2.0/mlflow/PATH; an error is raised with MLflow's own words."""
        asked = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{path}", None if body is None else json.dumps(body).encode(), method=method
        )
        asked.add_header("Host", "mlflow.mlflow.svc:5000")  # the server refuses names that it was not told of
        asked.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{method} {path}: {refused.code} {refused.read().decode(errors='replace')}") from None

    def set_alias(self, alias: str, version: int | str, model: str = MODEL) -> None:
        """Points an alias to a version."""
        self.call("POST", "registered-models/alias", {"name": model, "alias": alias, "version": str(version)})

    def delete_alias(self, alias: str, model: str = MODEL) -> None:
        """Takes an alias away."""
        self.call("DELETE", "registered-models/alias", {"name": model, "alias": alias})

    def move_stage(self, version: int, stage: str, model: str = MODEL) -> None:
        """Moves a version to a stage."""
        asked = {"name": model, "version": str(version), "stage": stage, "archive_existing_versions": False}
        self.call("POST", "model-versions/transition-stage", asked)

    def versions(self, model: str = MODEL) -> list[int]:
        """The versions there are, smallest first."""
        query = urllib.parse.urlencode({"filter": f"name='{model}'"})
        found = self.call("GET", f"model-versions/search?{query}").get("model_versions", [])
        return sorted(int(each["version"]) for each in found)

    def train(self, *options: str, model: str = MODEL) -> int:
        """Registers one more version by the example's own script (--broken, --slow, ...), moves no alias unless asked to; its number."""
        return self.train_all(options, model=model)[-1]

    def train_all(self, *calls: Sequence[str], model: str = MODEL) -> list[int]:
        """Registers a version by each call's options, in order, and gives back all versions there are of the model."""
        usual = ("--tracking-uri=http://localhost:5000", f"--name={model}", "--alias=")
        options = [[*usual, *each] for each in calls]
        self._cluster.kubectl(
            *("-n", "mlflow", "exec", "-i", "deploy/mlflow", "--", "python3", "-"),
            input=MANY % {"options": options, "source": TRAIN.read_text()},
            timeout=240,
        )
        return self.versions(model)
