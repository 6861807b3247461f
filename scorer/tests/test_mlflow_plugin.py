"""The MLflow plugin's errors, as the command `mlflow deployments` shows them."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow.deployments.cli import commands

PLUGIN = Path(__file__).parents[2] / "integrations" / "mlflow"


def test_refusal_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    from sluicegate_mlflow import plugin

    monkeypatch.setattr("mlflow.deployments.cli.interface.get_deploy_client", plugin.SluicegateClient)
    arguments = ["create", "-t", "sluicegate", "--name", "churn", "-m", "models:/churn/1"]
    result = CliRunner().invoke(commands, arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), "click shows a message and no traceback"
    assert result.output.startswith("Error: the kubeconfig")
    assert len(result.output.splitlines()) == 1
    sys.modules.pop("sluicegate_mlflow.plugin", None)
