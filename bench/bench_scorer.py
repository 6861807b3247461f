"""Benchmark of the scoring server against MLflow's server and MLServer.

All servers get the same models and the same requests from the same client.

    make bench-scorer                                  everything: about 20 minutes on two cores
    .venv/bin/python bench/bench_scorer.py --quick     one second for each load: a smoke test
    .venv/bin/python bench/bench_scorer.py tiny heavy  some of the models

It needs wrk in PATH and the virtual environments that `make bench-scorer` creates.
bench/README.md describes how to read the results.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # bench is not an installed package

from bench.scorer import servers  # noqa: E402

OUT = REPOSITORY / "bench" / "out"
MODELS = ("tiny", "boosting", "onnx", "custom", "heavy")
CONNECTIONS = (1, 16)
CEILING = "ASGI hello"
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    """The results of one run of wrk, with latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    failed: int


@dataclass
class Result:
    """The results of one server with one model."""

    server: str
    model: str
    start: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    """Latency of the slowest health check under load, in milliseconds, for each round."""
    loads: dict[int, list[Load]] = field(default_factory=dict)

    def rate(self, connections: int) -> float:
        """Return the median of the runs' requests per second."""
        return statistics.median(load.rate for load in self.loads[connections])

    def p50(self, connections: int) -> float:
        """Return the median of the runs' median latencies, in milliseconds."""
        return statistics.median(load.p50 for load in self.loads[connections])

    def p99(self, connections: int) -> float:
        """Return the median of the runs' p99 latencies, in milliseconds."""
        return statistics.median(load.p99 for load in self.loads[connections])


def wrk(url: str, body: Path, connections: int, seconds: float) -> Load:
    """Run wrk, which posts the same body over and over.

    Args:
        url: where to post
        body: file with the JSON body
        connections: number of connections
        seconds: duration of the run

    Raises:
        RuntimeError: the output of wrk cannot be parsed.
    """
    script = body.with_suffix(".lua")
    script.write_text(
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'local file = io.open("{body}", "rb")\nwrk.body = file:read("*a")\nfile:close()\n'
    )
    options = ["-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "30s", "-s", str(script)]
    said = subprocess.run(["wrk", *options, url], capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    latency = {
        int(match_[0]): float(match_[1]) * _UNITS[match_[2]]
        for match_ in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)", said)
    }
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if rate is None or not {50, 99} <= set(latency):
        raise RuntimeError(f"wrk says:\n{said}")
    return Load(float(rate[1]), latency[50], latency[99], int(failed[1]) if failed else 0)


def measure(make: servers.Make, model: Path, result: Result, seconds: float) -> None:
    """Start one server, run each load, and append the measurements to `result`.

    Health checks run at the same time as the loads.
    """
    body = model / "request.json"
    with (
        tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as own,
        servers.running(make, model, Path(own)) as server,
    ):
        for _ in range(20):
            server.post(body.read_bytes())
        result.start.append(server.start)
        for connections in CONNECTIONS:
            slowest: list[float] = [0.0]
            done = threading.Event()
            watch = threading.Thread(target=_watch, args=(server, done, slowest), daemon=True)
            watch.start()
            load = wrk(server.url + server.path, body, connections, seconds)
            done.set()
            watch.join()
            result.loads.setdefault(connections, []).append(load)
        result.health.append(slowest[0] * 1e3)
        result.memory.append(server.memory())


def _watch(server: servers.Server, done: threading.Event, slowest: list[float]) -> None:
    """Send health checks every 0.2s, and keep the duration of the slowest one.

    A failed health check counts as 30 seconds.
    """
    while not done.wait(0.2):
        try:
            slowest[0] = max(slowest[0], server.health_seconds())
        except OSError:
            slowest[0] = max(slowest[0], 30.0)


def table(results: list[Result], direct: float) -> str:
    """Return the results as a text table.

    `direct` is the duration of a direct call of the model `heavy`, in seconds.
    """
    lines = []
    for model in MODELS:
        mine = [result for result in results if result.model == model]
        if not mine:
            continue
        stock = next(each for each in mine if each.server == "stock, best")
        lines += [
            "",
            f"== {model} ==",
            "server               req/s c1  p50 ms  p99 ms   req/s c16  p50 ms  p99 ms"
            "   x stock c16  p50/stock c1  health ms  start s  MB  failed",
        ]
        for each in mine:
            failed = sum(load.failed for loads in each.loads.values() for load in loads)
            lines.append(
                f"{each.server:20} {each.rate(1):8.0f} {each.p50(1):7.2f} {each.p99(1):7.2f} "
                f"{each.rate(16):11.0f} {each.p50(16):7.2f} {each.p99(16):7.2f} "
                f"{each.rate(16) / stock.rate(16):13.2f} {each.p50(1) / stock.p50(1):13.2f} "
                f"{max(each.health):10.1f} {statistics.median(each.start):8.1f} "
                f"{statistics.median(each.memory):4.0f} {failed:6}"
            )
        if model == "heavy":
            lines.append(f"a direct call takes {direct * 1e3:.2f} ms")
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark, print the table, and write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=2, help="starts of each server, by turns (default 2)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load (default 8)")
    parser.add_argument("--quick", action="store_true", help="one round of a second each")
    options = parser.parse_args()
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
    began, load = time.strftime("%Y%m%dT%H%M%S"), os.getloadavg()[0]
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="sluicegate-models-") as name:
        folder = Path(name)
        saving = [str(servers.PYTHON), str(REPOSITORY / "bench/scorer/models.py"), name]
        subprocess.run(saving, check=True, capture_output=True, env={**os.environ, **servers.QUIET})
        for model in options.models or MODELS:
            makes = dict(servers.SERVERS) | ({CEILING: servers.hello} if model == "tiny" else {})
            mine = {server: Result(server, model) for server in makes}
            for number in range(rounds):
                for server, make in makes.items():
                    print(f"{model}, {server}, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                    measure(make, folder / model, mine[server], seconds)
            results += mine.values()
        direct = json.loads((folder / "direct.json").read_text())
    print(f"load average {load:.1f} to {os.getloadavg()[0]:.1f}; wrk with one thread on the same machine")
    print(table(results, direct))
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / f"scorer-{began}.json"
    target.write_text(
        json.dumps({"direct": direct, "results": [asdict(result) for result in results]}, indent=1) + "\n"
    )
    print(f"\n{target.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
