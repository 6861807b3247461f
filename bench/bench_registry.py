"""Benchmark of the load that following models puts on a registry.

It counts the requests at rest and after every alias moves at once. The counts come from MLflow's access log.

    .venv/bin/python bench/bench_registry.py            2,000 followers of 200 models
    .venv/bin/python bench/bench_registry.py --quick    100 followers of 10 models, a short rest: a smoke test

SLUICEGATE_MLFLOW_PYTHON must name an interpreter with MLflow. `make bench` sets it to that of .venv-scorer.
bench/README.md describes how to read the results.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "operator"))

from sluicegate.adapters.mlflow.pool import RegistryPool  # noqa: E402
from sluicegate.api.resource import Key  # noqa: E402
from sluicegate.config.settings import build  # noqa: E402
from sluicegate.kube.client import KubeClient  # noqa: E402
from sluicegate.runtime.registry.context import PollContext  # noqa: E402
from sluicegate.runtime.registry.follower import Follower  # noqa: E402
from sluicegate.runtime.registry.registries import Registries  # noqa: E402
from sluicegate.runtime.registry.resolver import Resolver  # noqa: E402
from sluicegate.runtime.resources import Resources  # noqa: E402

OUT = REPOSITORY / "bench" / "out"
_LINE = re.compile(r'"(?:GET|POST) /api/2\.0/mlflow/([\w/-]+)')


@dataclass(frozen=True)
class Size:
    """The size of a benchmark run."""

    models: int
    followers: int
    """Total number of followers. They are distributed evenly over the models."""
    interval: float
    """Seconds between two polls of a model."""
    rest: int
    """Number of poll intervals at rest."""


@dataclass
class Found:
    """The results of a benchmark run."""

    rest: Counter[str] = field(default_factory=Counter)
    """Requests by path, in all intervals at rest."""
    rest_woken: int = 0
    rest_cpu: float = 0.0
    """CPU time of this process at rest, in seconds."""
    move: Counter[str] = field(default_factory=Counter)
    move_cpu: float = 0.0
    move_resolutions: int = 0
    """Number of times that a resource was enqueued and resolved."""
    move_seconds: float = 0.0
    """Seconds from the move of the last alias until the last follower has resolved it."""


class Mlflow:
    """An MLflow server and its access log."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log

    def requests(self) -> Counter[str]:
        """Return the requests since the server's start, by path."""
        return Counter(_LINE.findall(self._log.read_text(errors="replace")))

    def call(self, client: httpx.Client, path: str, **body: Any) -> None:
        """Send one POST request, as a training job would."""
        client.post(f"{self.url}/api/2.0/mlflow/{path}", json=body).raise_for_status()


@contextmanager
def mlflow_server(folder: Path) -> Iterator[Mlflow]:
    """Run the stock MLflow server on loopback, with one worker and SQLite."""
    python = os.environ.get("SLUICEGATE_MLFLOW_PYTHON", str(REPOSITORY / ".venv-scorer/bin/python"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "server.log"
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    options += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    environment["PATH"] = f"{Path(python).parent}{os.pathsep}{environment.get('PATH', '')}"
    with log.open("wb") as out:
        command = [python, "-m", "mlflow", "server", *options]
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=folder, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 90
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"MLflow does not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield Mlflow(url, log)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(15)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


class Followers:
    """Resources that follow a model, and a substitute for the reconciler.

    The substitute runs the real resolver and updates the status of a resource in the local store.
    """

    def __init__(self, url: str, size: Size) -> None:
        self._size = size
        self._woken: asyncio.Queue[Key] = asyncio.Queue()
        self._versions: Counter[Key] = Counter()
        self._progress = asyncio.Event()
        self.resources = Resources(lambda _: None)
        settings = build([("bench", {"registries": {"default": {"trackingUri": url}}})])
        registries = Registries(cast(KubeClient, None), settings)
        self.pool = RegistryPool()
        self.follower = Follower(PollContext(self.resources, registries, self.pool, self._woken.put_nowait))
        self._resolver = Resolver(registries, settings, self.pool, self.follower)
        self.resolutions = 0
        for number in range(size.followers):
            self._put(("bench", f"r{number}"), f"models:/m{number % size.models}@champion", "1")

    def _put(self, key: Key, uri: str, version: str) -> None:
        self._versions[key] += 1
        model = {"uri": uri, "registry": "default", "source": f"s3://bench/{version}", "version": version}
        metadata = {"namespace": key[0], "name": key[1], "uid": key[1], "generation": 1}
        metadata["resourceVersion"] = str(self._versions[key])
        raw = {"metadata": metadata, "spec": {"model": {"uri": uri}}, "status": {"model": model}}
        self.resources.streamed(raw, deleted=False)

    async def work(self) -> None:
        """Resolve enqueued resources forever, as one worker of the reconciler does."""
        while True:
            key = await self._woken.get()
            resource = self.resources.get(key)
            assert resource is not None
            found = await self._resolver.resolve(resource)
            self.resolutions += 1
            self._put(key, found.model.uri, found.model.version or "")
            self._progress.set()

    async def all_at(self, version: str) -> None:
        """Wait until every follower has resolved `version`."""
        while any(
            resource.status.model is None or resource.status.model.version != version
            for resource in self.resources.items()
        ):
            self._progress.clear()
            await self._progress.wait()


async def measure(server: Mlflow, size: Size) -> Found:
    """Measure the registry's load at rest, then after a move of every alias."""
    found, followers = Found(), Followers(server.url, size)
    tasks = [asyncio.create_task(followers.work()) for _ in range(8)]
    tasks.append(asyncio.create_task(followers.follower.run(size.interval)))
    try:
        await asyncio.sleep(1.5 * size.interval)  # the first poll of every model
        before, cpu = server.requests(), time.process_time()
        await asyncio.sleep(size.rest * size.interval)
        found.rest, found.rest_cpu = server.requests() - before, time.process_time() - cpu
        found.rest_woken = followers.resolutions
        before, cpu, moved = server.requests(), time.process_time(), 0.0
        await asyncio.to_thread(move, server, size, "2")
        moved = time.monotonic()
        await followers.all_at("2")
        found.move_seconds = time.monotonic() - moved
        found.move, found.move_cpu = server.requests() - before, time.process_time() - cpu
        found.move_resolutions = followers.resolutions
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await followers.pool.aclose()
    return found


def seed(server: Mlflow, size: Size) -> None:
    """Register the models with two versions each, and set the alias to the first version."""
    with httpx.Client(timeout=30) as client:
        for number in range(size.models):
            server.call(client, "registered-models/create", name=f"m{number}")
            for version in ("1", "2"):
                server.call(client, "model-versions/create", name=f"m{number}", source=f"s3://bench/{version}")
    move(server, size, "1")


def move(server: Mlflow, size: Size, version: str) -> None:
    """Set the alias of every model to `version`."""
    with httpx.Client(timeout=30) as client:
        for number in range(size.models):
            server.call(client, "registered-models/alias", name=f"m{number}", alias="champion", version=version)


def table(size: Size, found: Found) -> str:
    """Return the results as a text table."""
    polls = found.rest["registered-models/get"]
    asked = found.move - Counter({"registered-models/alias": size.models})
    each = found.rest_cpu / (size.rest * size.interval)
    lines = [
        f"{size.followers} followers of {size.models} models, polled every {size.interval:g} s",
        "",
        f"at rest, {size.rest} intervals",
        f"  requests an interval             {found.rest.total() / size.rest:8.1f}"
        f"   at most {size.models} (one a followed model)",
        f"  of these polls                   {polls / size.rest:8.1f}",
        f"  against one a follower           {found.rest.total() / size.rest / size.followers:8.2f} x",
        f"  resources woken                  {found.rest_woken:8d}   none",
        f"  our processor time               {each:8.1%}   of one core",
        "every alias moved at once",
        f"  resources resolved anew          {found.move_resolutions:8d}   {size.followers}",
        f"  questions about the new versions {asked.total() - asked['registered-models/get']:8d}"
        "   one a model and kind",
        "  against one a follower           "
        f"{(asked.total() - asked['registered-models/get']) / size.followers:8.2f} x",
        f"  from the last move to all known  {found.move_seconds:8.1f}   s; one interval is {size.interval:g}",
        f"  our processor time               {found.move_cpu:8.2f}   s",
        f"  requests by kind                 {dict(asked)}",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark, print the table, and write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="100 followers of 10 models, three seconds an interval")
    options = parser.parse_args()
    size = Size(10, 100, 3.0, 2) if options.quick else Size(200, 2000, 30.0, 4)
    began = time.strftime("%Y%m%dT%H%M%S")
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as folder, mlflow_server(Path(folder)) as server:
        seed(server, size)
        found = asyncio.run(measure(server, size))
    print(table(size, found))
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / f"registry-{began}.json"
    target.write_text(json.dumps({"size": vars(size), "found": vars(found)}, indent=1) + "\n")
    print(f"\n{target.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
