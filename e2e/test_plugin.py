"""The stock MLflow command line against the whole thing: a deployment is made by it, and predicts through the gateway."""

import os
import subprocess
from pathlib import Path

import pytest

from e2e.support.load import BODY, version_of
from e2e.support.registry import MODEL

PYTHON = os.environ.get("SLUICEGATE_MLFLOW_PYTHON", "")
pytestmark = pytest.mark.skipif(
    not PYTHON, reason="SLUICEGATE_MLFLOW_PYTHON names no interpreter with MLflow and the plugin"
)


@pytest.fixture
def mlflow(workspace, cluster):
    """Runs `mlflow deployments WORD -t TARGET ...`; what it prints."""
    target = f"sluicegate:/{workspace.namespace}?kubeconfig={cluster.kubeconfig}"

    def run(word, *options):
        command = [str(Path(PYTHON).parent / "mlflow"), "deployments", word, "-t", target, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_stock_client_makes_a_deployment_that_predicts_through_the_gateway(workspace, mlflow, tmp_path):
    given = tmp_path / "request.json"
    given.write_bytes(BODY)
    mlflow("create", "-m", f"models:/{MODEL}/1", "--name", "shop")
    url = workspace.wait_ready("shop")["url"]
    assert version_of(mlflow("predict", "--name", "shop", "-I", str(given)).encode()) == 1
    mlflow("update", "-m", f"models:/{MODEL}/2", "--name", "shop")
    workspace.wait_answers("shop", 2)
    assert version_of(mlflow("predict", "--name", "shop", "-I", str(given)).encode()) == 2
    assert url in mlflow("get", "--name", "shop")
    mlflow("delete", "--name", "shop")
    assert workspace.get("mdep", "shop") is None
