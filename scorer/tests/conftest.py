"""One real MLflow server with one real model, and helpers that run the command.

All tests share the server.
"""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest

TRAIN = Path(__file__).parents[2] / "examples" / "mlflow" / "train.py"
API = "/api/2.0/mlflow-artifacts/artifacts"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the process ended with {process.returncode}"
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} did not answer in {seconds} s")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("mlflow")
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--host=0.0.0.0", f"--port={port}", "--workers=1"]
    command += [
        f"--backend-store-uri=sqlite:///{home}/mlflow.db",
        f"--artifacts-destination={home}/artifacts",
    ]
    env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, cwd=home, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"{url}/health", process)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


@pytest.fixture(scope="session")
def train(registry: str) -> Callable[..., str]:
    """Return a function that registers a version with the example's own script.

    The function returns the address of the version's artifacts.
    """

    def run(name: str, *options: str) -> str:
        command = [sys.executable, str(TRAIN), "--tracking-uri", registry, "--name", name, *options]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        query = {"name": name, "version": "1"}
        response = httpx.get(f"{registry}/api/2.0/mlflow/model-versions/get-download-uri", params=query)
        return str(response.json()["artifact_uri"])

    return run


@pytest.fixture
def scorer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs the command to its end.

    Its result has two more fields: `.termination_message` is the report or the failure message, and `.reason` is why
    the command failed.
    """

    def run(*arguments: object, **env: str) -> subprocess.CompletedProcess:
        termination = tmp_path / "termination-log"
        termination.write_text("")
        command = [sys.executable, "-m", "sluicegate_scorer", *map(str, arguments)]
        foreign = ("MLFLOW_", "AWS_", "AZURE_", "GOOGLE_", "STORAGE_", "SLUICEGATE_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        env = {**inherited, "TERMINATION_LOG": str(termination), **env}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
        written = termination.read_text()
        failure = json.loads(written) if done.returncode == 1 and written else None
        done.reason = failure["reason"] if failure is not None else None  # type: ignore[attr-defined]
        done.termination_message = failure["message"] if failure is not None else written  # type: ignore[attr-defined]
        return done

    return run


@pytest.fixture
def serving() -> Callable[..., contextlib.AbstractContextManager]:
    """Return a function that runs the server in a process of its own.

    HOME is a path that does not exist, so the server cannot write there.
    """

    @contextlib.contextmanager
    def serving(model, *options, program=("-m", "sluicegate_scorer")):
        url = f"http://127.0.0.1:{(port := free_port())}"
        command = [sys.executable, *program, "serve", str(model)]
        command += ["--host", "127.0.0.1", "--port", str(port), *options]
        env = {**os.environ, "HOME": "/nonexistent"}
        process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(f"{url}/health", process)
            yield url, process
        finally:
            process.kill()
            process.wait(10)
            process.stderr.close()

    return serving


class FaultyProxy:
    """A server that replaces the proxy where a real one cannot be made to fail.

    `fault` may respond to a request instead of the proxy.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {"MLmodel": b"flavors: {}\n", "data/model.bin": os.urandom(3 << 20)}
        self.sizes: dict[str, int] = {}
        self.fault: Callable[[BaseHTTPRequestHandler, str], bool] = lambda handler, path: False
        self.requests: list[tuple[str, str | None]] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                proxy.requests.append((self.path, self.headers.get("Range")))
                path = unquote(url.path.removeprefix(API)).removeprefix("/root").strip("/")
                if not proxy.fault(self, path):
                    if path:
                        proxy.file(self, path)
                    else:
                        proxy.listing(self, parse_qs(url.query)["path"][0].removeprefix("root").strip("/"))

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if tls is not None:
            # Do not print the traceback of a rejected handshake.
            self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def listing(self, handler: BaseHTTPRequestHandler, folder: str) -> None:
        below = {name[len(folder) + 1 if folder else 0 :]: name for name in self.files if name.startswith(folder)}
        files = [
            {"path": short, "is_dir": False, "file_size": self.sizes.get(name, len(self.files[name]))}
            for short, name in below.items()
            if "/" not in short or ".." in short
        ]
        folders = {short.partition("/")[0] for short in below if "/" in short and ".." not in short}
        files += [{"path": name, "is_dir": True} for name in sorted(folders)]
        self.respond(handler, 200, json.dumps({"files": files}).encode(), "application/json")

    def file(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        offset = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        self.respond(handler, 206 if offset else 200, self.files[path][offset:], "application/octet-stream")

    def respond(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str) -> bool:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True


@contextlib.contextmanager
def proxy_at(port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[FaultyProxy]:
    made = FaultyProxy(port, tls)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def proxy() -> Iterator[FaultyProxy]:
    with proxy_at() as made:
        yield made
