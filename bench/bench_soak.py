"""Benchmark of the scoring server's memory use and of the cost of its counters.

The memory is measured over a million requests.

    make bench-soak                                       everything: about five minutes on two cores
    .venv/bin/python bench/bench_soak.py --requests 20000 --rounds 1 --seconds 1

It needs wrk in PATH and the virtual environment that `make venv-scorer` creates.
bench/README.md describes how to read the results.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # bench is not an installed package

from bench.bench_scorer import OUT  # noqa: E402
from bench.scorer import servers  # noqa: E402
from bench.scorer.loads import wrk  # noqa: E402

GENERAL_SHARE = 0.02
"""The number of requests that MLflow's own code answers, as a share of the requests that the fast path answers.

The share is small because these requests are far slower. A million of them would take an hour.
"""


class Side(NamedTuple):
    """The results of one load: requests per second, and the server's CPU time per request in microseconds."""

    rate: float
    cpu: float


def counted(model: Path, port: int, own: Path) -> servers.Command:
    """Return the command of the scoring server, unchanged.

    Its model has a reference profile.
    """
    return servers.ours(model, port, own)


def uncounted(model: Path, port: int, _: Path) -> servers.Command:
    """Return the command of the scoring server without request counters.

    Its model has no reference profile.
    """
    argv = [
        str(servers.PYTHON),
        "-m",
        "bench.scorer.uncounted",
        "serve",
        str(model),
        "--host",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    return servers.Command(argv, {"PYTHONPATH": f"{REPOSITORY}/scorer:{REPOSITORY}"}, "/health")


def soak(model: Path, requests: int, seconds: float) -> list[tuple[int, float, str]]:
    """Send requests to one server, and read its memory after each slice of `seconds`.

    Returns:
        For each slice: the number of requests so far, the server's memory in MB, and the code path.

    Raises:
        RuntimeError: a request of the fast path failed.
    """
    bodies = {"fast path": model / "request.json", "MLflow's own code": model / "null.json"}
    asked = json.loads((model / "request.json").read_text())
    asked["dataframe_split"]["data"][0][0] = None  # only MLflow's own code accepts a null
    bodies["MLflow's own code"].write_text(json.dumps(asked))
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="sluicegate-soak-") as own,
        servers.running(servers.ours, model, Path(own)) as server,
    ):
        total = 0
        for name, body in bodies.items():
            limit = total + (requests if name == "fast path" else int(requests * GENERAL_SHARE))
            server.post(body.read_bytes()) if name == "fast path" else None
            while total < limit:
                load = wrk(server.url + server.path, body, 16, seconds)
                if load.failed and name == "fast path":
                    raise RuntimeError(f"{load.failed} requests failed")
                total += round(load.rate * seconds)
                found.append((total, server.memory(), name))
                print(f"{total} requests, {found[-1][1]:.1f} MB, {name}", file=sys.stderr, flush=True)
    return found


def cost(plain: Path, profiled: Path, rounds: int, seconds: float) -> tuple[list[Side], list[Side]]:
    """Run loads that alternate between the servers with and without counters.

    Returns:
        The loads with counters, and those without.
    """
    both: tuple[list[Side], list[Side]] = ([], [])
    with tempfile.TemporaryDirectory(prefix="sluicegate-cost-") as own:
        first, second = Path(own, "counted"), Path(own, "uncounted")
        first.mkdir()
        second.mkdir()
        with servers.running(counted, profiled, first) as one, servers.running(uncounted, plain, second) as other:
            for number in range(rounds):
                # The order alternates too, because the machine may get warm or busy between the two loads.
                for side in (0, 1) if number % 2 else (1, 0):
                    server, model = ((one, profiled), (other, plain))[side]
                    before = server.cpu()
                    load = wrk(server.url + server.path, model / "request.json", 16, seconds)
                    both[side].append(Side(load.rate, (server.cpu() - before) / (load.rate * seconds) * 1e6))
                print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return both


def main() -> int:
    """Run the benchmark, print the results, and write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the soak (default a million)")
    parser.add_argument("--rounds", type=int, default=8, help="of the counters' cost (default 8)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load (default 4)")
    options = parser.parse_args()
    began, load = time.strftime("%Y%m%dT%H%M%S"), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="sluicegate-models-") as name:
        env = {**os.environ, **servers.QUIET, "PYTHONPATH": str(REPOSITORY / "scorer")}
        script = [str(servers.PYTHON), str(REPOSITORY / "bench/scorer/models.py"), name, "--profiled"]
        subprocess.run(script, check=True, capture_output=True, env=env)
        plain, profiled = Path(name, "tiny"), Path(name, "profiled")
        counts = cost(plain, profiled, options.rounds, options.seconds)
        memory = soak(profiled, options.requests, options.seconds)
    print(f"load average {load:.1f} to {os.getloadavg()[0]:.1f}; wrk with one thread on the same machine\n")
    for number, (field, unit) in enumerate((("rate", "requests/s"), ("cpu", "us of processor time a request"))):
        with_, without = ([each[number] for each in side] for side in counts)
        ratios = sorted(one / other for one, other in zip(with_, without, strict=True))
        print(
            f"with counters and a profile {statistics.median(with_):.1f} {unit},"
            f" without {statistics.median(without):.1f};"
        )
        print(
            f"  ratio of {field}, pair by pair: median {statistics.median(ratios):.3f},"
            f" from {ratios[0]:.3f} to {ratios[-1]:.3f}"
        )
    print()
    fast = [each for each in memory if each[2] == "fast path"]
    tenth = next((each for each in fast if each[0] >= options.requests / 10), fast[-1])
    for total, size, kind in (fast[0], tenth, fast[-1], memory[-1]):
        print(f"{total:>9} requests  {size:6.1f} MB  {kind}")
    print(f"growth from a tenth of the requests to the end of the fast path: {fast[-1][1] - tenth[1]:+.1f} MB")
    OUT.mkdir(parents=True, exist_ok=True)
    result = {"memory": memory, "counted": counts[0], "uncounted": counts[1]}
    target = OUT / f"soak-{began}.json"
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{target.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
