"""The stock MLflow client and command line with the plugin.

One test gets predictions through the gateway. The other runs the Python code and the commands of the guide's page for
data scientists, in order.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from e2e.support.kube import wait_until
from e2e.support.load import BODY, version_of
from e2e.support.registry import MODEL

PAGE = Path(__file__).resolve().parents[1] / "docs/guide/data-scientists.md"
PYTHON = os.environ.get("SLUICEGATE_MLFLOW_PYTHON", "")
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="SLUICEGATE_MLFLOW_PYTHON names no interpreter with MLflow and the plugin"),
    pytest.mark.timeout(1500, func_only=True),
]


@pytest.fixture
def mlflow(workspace, cluster):
    """Return a function that runs `mlflow deployments WORD -t TARGET ...`.

    The function returns the output.
    """
    target = f"sluicegate:/{workspace.namespace}?kubeconfig={cluster.kubeconfig}"

    def run(word, *options):
        command = [str(Path(PYTHON).parent / "mlflow"), "deployments", word, "-t", target, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
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


@pytest.fixture
def page(workspace, registry):
    """Yield the page's code blocks as (language, text).

    The target and the model in them are the test's own.
    """
    own = workspace.namespace
    text = PAGE.read_text().replace("sluicegate:/shop", f"sluicegate:/{own}").replace('"churn"', f'"{own}"')
    text = text.replace("models:/churn@", f"models:/{own}@")
    yield re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    registry.call("DELETE", "registered-models/delete", {"name": own})


@pytest.fixture
def follow(cluster, kubectl, tmp_path):
    """Return a function for each language that runs a code block."""

    def python(code):
        """Run in the registry's pod, because it has MLflow and scikit-learn."""
        script = "import mlflow\nmlflow.set_tracking_uri('http://localhost:5000')\n" + code
        return kubectl("-n", "mlflow", "exec", "-i", "deploy/mlflow", "--", "python3", "-", input=script, timeout=180)

    def console(text):
        said = ""
        for line in text.splitlines():
            program, *words = shlex.split(line.removeprefix("$ "))
            assert program == "mlflow"
            command = [str(Path(PYTHON).parent / program), *words]
            environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=500, cwd=tmp_path, env=environment, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said = done.stdout
        return said

    def json(text):
        (tmp_path / "request.json").write_text(text)

    return {"python": python, "console": console, "json": json}


def test_the_page_works_as_it_is_written(page, follow, workspace):
    code = [text for language, text in page if language == "python"]
    train, first, release, back = code
    serve, stop = [text for language, text in page if language == "console"]
    (request,) = [text for language, text in page if language == "json"]
    follow["json"](request)
    assert follow["python"](train + first).split()[-1] == "1"
    said = follow["console"](serve)
    assert workspace.status("churn")["url"] in said
    assert follow["python"](train + release).split()[-1] == "2"
    wait_until("version 2 to serve", lambda: serving(workspace) == "2", 240)
    follow["python"]("from mlflow import MlflowClient\n" + back)
    wait_until("version 1 to serve", lambda: serving(workspace) == "1", 240)
    follow["console"](stop)
    assert workspace.get("mdep", "churn") is None


def serving(space):
    """Return the version that serves."""
    return next(
        (revision["version"] for revision in space.status("churn")["revisions"] if revision["role"] == "Stable"), None
    )
