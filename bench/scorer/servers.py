"""The servers of the benchmark: how to start each one, and its resource usage."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = REPOSITORY / ".venv-scorer/bin/python"
MLSERVER = REPOSITORY / "build/mlserver/bin/mlserver"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # In an image, the code of every server is compiled. A server that compiles its own at each start seems slower.
    "PYTHONDONTWRITEBYTECODE": "",
}
MEDIA = {".json": "application/json", ".csv": "text/csv"}
"""Content type of a body, by the suffix of its file."""


@dataclass(frozen=True)
class Command:
    """The command that starts a server, and the paths of its endpoints."""

    argv: list[str]
    env: dict[str, str]
    health: str
    path: str = "/invocations"


Make = Callable[[Path, int, Path], Command]
"""A function that returns the command for the model's folder, a port, and a folder for the server's own files."""


def ours(model: Path, port: int, _: Path) -> Command:
    """Return the command of the scoring image's program."""
    argv = [str(PYTHON), "-m", "sluicegate_scorer", "serve", str(model), "--host", "127.0.0.1", "-p", str(port)]
    return Command(argv, {"PYTHONPATH": str(REPOSITORY / "scorer")}, "/health")


def models_serve(model: Path, port: int, _: Path) -> Command:
    """Return the command that MLflow's documentation recommends."""
    argv = [str(PYTHON), "-m", "mlflow", "models", "serve", "-m", str(model), "-h", "127.0.0.1", "-p", str(port)]
    path = f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"
    return Command([*argv, "--env-manager", "local", "--workers", "1"], {"PATH": path}, "/health")


def stock(model: Path, port: int, _: Path) -> Command:
    """Return a command that runs MLflow's application in the fastest single process.

    That is uvicorn with uvloop and httptools, and without an access log.
    """
    argv = [str(PYTHON), "-m", "uvicorn", "mlflow.pyfunc.scoring_server.app:app", *_uvicorn(port)]
    return Command(argv, {"__pyfunc_model_path__": model.as_uri()}, "/health")


def mlserver(model: Path, port: int, own: Path) -> Command:
    """Return the command of MLServer with its MLflow runtime, in one process.

    MLServer supports MLflow's path /invocations too.
    """
    ports = {"http_port": port, "grpc_port": _free_port(), "metrics_port": _free_port()}
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, "access_logging_enabled": False}
    (own / "settings.json").write_text(json.dumps({**settings, **ports}))
    runtime = {"name": "model", "implementation": "mlserver_mlflow.MLflowRuntime", "parameters": {"uri": str(model)}}
    (own / "model-settings.json").write_text(json.dumps(runtime))
    return Command([str(MLSERVER), "start", str(own)], {}, "/v2/health/ready")


def hello(_: Path, port: int, __: Path) -> Command:
    """Return the command of an ASGI application that computes nothing.

    Its throughput is the upper bound.
    """
    argv = [str(PYTHON), "-m", "uvicorn", "bench.scorer.hello:app", *_uvicorn(port)]
    return Command(argv, {"PYTHONPATH": str(REPOSITORY)}, "/")


SERVERS: dict[str, Make] = {
    "mlflow models serve": models_serve,
    "stock, best": stock,
    "MLServer": mlserver,
    "sluicegate-scorer": ours,
}


def _uvicorn(port: int) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    return [*options, "--no-access-log", "--log-level", "warning"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    url: str
    path: str
    start: float
    """Seconds from the command until the first successful health check."""

    def memory(self) -> float:
        """Return the memory of the process and its descendants in MB (10^6 bytes).

        Shared memory counts once (PSS).
        """
        total = 0
        for pid in _family(self.pid):
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
            total += int(match[1]) * 1024 if match else 0
        return total / 1e6

    def cpu(self) -> float:
        """Return the CPU time that the process has used, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def post(self, body: bytes, media: str = MEDIA[".json"]) -> bytes:
        """Post `body`, and return the body of the response.

        Raises:
            HTTPError: the response has an error status.
        """
        asked = urllib.request.Request(self.url + self.path, body, {"Content-Type": media})
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return bytes(answer.read())

    def health_seconds(self) -> float:
        """Return the duration of a health check, in seconds."""
        began = time.monotonic()
        with urllib.request.urlopen(f"{self.url}/ping" if self.path == "/invocations" else self.url, timeout=30):
            return time.monotonic() - began


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        found = [int(part) for part in children.read_text().split()]
    except OSError:
        return []
    return [pid, *(each for child in found for each in _family(child))]


@contextmanager
def running(make: Make, model: Path, own: Path) -> Iterator[Server]:
    """Run a server while the context is open.

    Args:
        make: returns the command
        model: folder of the model
        own: folder for the server's own files; its output goes to the file `log` there

    Raises:
        RuntimeError: the server does not start within 120 seconds.
    """
    port = _free_port()
    command = make(model, port, own)
    log = own / "log"
    began = time.monotonic()
    with log.open("wb") as out:
        env = {**os.environ, **QUIET, **command.env}
        process = subprocess.Popen(command.argv, stdout=out, stderr=out, env=env, cwd=own, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        while not _healthy(f"{url}{command.health}"):
            if process.poll() is not None or time.monotonic() - began > 120:
                raise RuntimeError(f"{command.argv} does not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)
        yield Server(process.pid, url, command.path, time.monotonic() - began)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
