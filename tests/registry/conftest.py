"""A real MLflow server with real models, in subprocesses.

The subprocesses use the mlflow of this interpreter.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.core.snapshot.facts import PodFacts

from tests.registry.scorers import ROOT, VERSIONS, save_versions, scorer

SEED = Path(__file__).with_name("seed.py")
WEBHOOKS = {
    "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": "aHR0cHM6Ly9zbHVpY2VnYXRlLmRldi93ZWJob29rcy4=",
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    "MLFLOW_WEBHOOK_CACHE_TTL": "1",
}
"""Lets MLflow send webhooks to loopback. MLflow keeps its list of webhooks for 1s, not for its default of a minute."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def mlflow_python() -> str:
    """Return the interpreter whose mlflow serves.

    This is SLUICEGATE_MLFLOW_PYTHON, or this interpreter where the variable is not set.
    """
    python = os.environ.get("SLUICEGATE_MLFLOW_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import mlflow"], capture_output=True).returncode:
        pytest.skip(f"{python} has no mlflow; set SLUICEGATE_MLFLOW_PYTHON to one that has")
    return python


def serve(python: str, folder: Path, *options: str) -> Iterator[str]:
    """Run `mlflow server` until the generator is closed, and yield its URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", *options]
    log = folder / "server.log"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", **WEBHOOKS}
    environment["PATH"] = f"{Path(python).parent}{os.pathsep}{environment.get('PATH', '')}"
    with log.open("wb") as out:
        # The server starts in its own session. It has child processes, and all of them must end.
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=folder, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 300
        while True:
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-4000:]
            try:
                if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(5)


@pytest.fixture(scope="session")
def server(mlflow_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    yield from serve(mlflow_python, folder, "--artifacts-destination", str(folder / "artifacts"))


@pytest.fixture(scope="session")
def seeded(mlflow_python: str, server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what `seed.py` logged and registered with the stock client."""
    folder = tmp_path_factory.mktemp("seed")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    done = subprocess.run(
        [mlflow_python, str(SEED), server], capture_output=True, text=True, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-4000:]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


@pytest.fixture
def endpoint(server: str) -> RegistryEndpoint:
    return RegistryEndpoint("default", server)


@pytest.fixture(scope="session")
def pods(mlflow_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, PodFacts]]:
    """Yield the pods by UID. `VERSIONS` lists them."""
    folder = tmp_path_factory.mktemp("versions")
    save_versions(mlflow_python, folder)
    with contextlib.ExitStack() as running:
        yield {
            uid: running.enter_context(scorer(mlflow_python, folder / model, uid, free_port()))
            for uid, model in VERSIONS.items()
        }


@pytest.fixture(scope="session")
def prometheus_program() -> str:
    """Return the path of Prometheus.

    This is SLUICEGATE_PROMETHEUS, or the program that `make build/prometheus` fetches.
    """
    found = Path(os.environ.get("SLUICEGATE_PROMETHEUS", ROOT / "build/prometheus/usr/bin/prometheus"))
    if not found.is_file():
        pytest.skip(f"{found} is not there: run make build/prometheus")
    return str(found)
