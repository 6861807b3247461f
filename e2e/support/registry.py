"""The demo's MLflow registry, for tests.

Small changes use the REST API. Training runs the example's script in the server's own pod.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2e.support.kube import PATIENCE
from tools.localcluster import Cluster

MANY = """
import sys
for each in %(options)r:
    sys.argv = ["train.py", *each]
    exec(compile(%(source)r, "train.py", "exec"), {"__name__": "__main__"})
"""
"""Runs the training script several times in one process.

Importing MLflow takes most of the script's time.
"""
TRAIN = Path(__file__).resolve().parents[2] / "examples/mlflow/train.py"
MODEL = "recommendation-engine"


class Registry:
    """The registry `default` of the operator's settings."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        service: Any = cluster.get("service", "mlflow", "mlflow")
        self.url = f"http://{service['spec']['clusterIP']}:5000"

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Send one request to /api/2.0/mlflow/PATH, and return the response.

        Raises:
            AssertionError: MLflow returned an error. The exception has MLflow's message.
        """
        asked = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{path}", None if body is None else json.dumps(body).encode(), method=method
        )
        # The server rejects host names that are not in its configuration.
        asked.add_header("Host", "mlflow.mlflow.svc:5000")
        asked.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"{method} {path}: {refused.code} {refused.read().decode(errors='replace')}") from None

    def answers(self) -> bool:
        """Tell whether the registry answers a new connection within two seconds."""
        try:
            urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def set_alias(self, alias: str, version: int | str, model: str = MODEL) -> None:
        """Point an alias to a version."""
        self.call("POST", "registered-models/alias", {"name": model, "alias": alias, "version": str(version)})

    def delete_alias(self, alias: str, model: str = MODEL) -> None:
        """Delete an alias."""
        self.call("DELETE", "registered-models/alias", {"name": model, "alias": alias})

    def move_stage(self, version: int, stage: str, model: str = MODEL) -> None:
        """Move a version to a stage."""
        asked = {"name": model, "version": str(version), "stage": stage, "archive_existing_versions": False}
        self.call("POST", "model-versions/transition-stage", asked)

    def versions(self, model: str = MODEL) -> list[int]:
        """List the versions of the model, smallest first."""
        query = urllib.parse.urlencode({"filter": f"name='{model}'"})
        model_versions = self.call("GET", f"model-versions/search?{query}").get("model_versions", [])
        return sorted(int(each["version"]) for each in model_versions)

    def train(self, *options: str, model: str = MODEL) -> int:
        """Register a version with the example's training script, and return its number.

        It moves no alias unless an option says so.

        Args:
            options: options of the script, such as `--broken` or `--slow`.
            model: the registered model.
        """
        return self.train_all(options, model=model)[-1]

    def train_all(self, *calls: Sequence[str], model: str = MODEL) -> list[int]:
        """Register one version for each set of options, in order.

        Returns:
            All versions of the model.
        """
        usual = ("--tracking-uri=http://localhost:5000", f"--name={model}", "--alias=")
        options = [[*usual, *each] for each in calls]
        self._cluster.kubectl(
            *("-n", "mlflow", "exec", "-i", "deploy/mlflow", "--", "python3", "-"),
            input=MANY % {"options": options, "source": TRAIN.read_text()},
            timeout=240 * PATIENCE,
        )
        return self.versions(model)
