"""Benchmark of the scoring server against MLflow's server and MLServer.

All servers get the same models and the same requests from the same client.

    make bench-scorer                                       everything: about 40 minutes on two cores
    .venv/bin/python bench/bench_scorer.py --quick          one second for each load: a smoke test
    .venv/bin/python bench/bench_scorer.py --only mixed     one model; may be repeated

It needs wrk in PATH and the virtual environments that `make bench-scorer` creates.
bench/README.md describes how to read the results.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # bench is not an installed package

from bench.scorer import loads, report, servers  # noqa: E402
from bench.scorer.report import CEILING, OURS, STOCK, Result  # noqa: E402

OUT = REPOSITORY / "bench" / "out"
MODELS = ("tiny", "boosting", "onnx", "custom", "heavy", "mixed", "categories", "text")
WITH_BODIES = ("boosting", "mixed", "categories", "text")
"""Models that also get bodies of several rows, as JSON and CSV."""
QUICK_BODIES = ("split-1", "split-1000", "records-1000", "csv-1000")


def measure(make: servers.Make, model: Path, result: Result, seconds: float, bodies: list[Path]) -> None:
    """Start one server, run each load, and append the measurements to `result`.

    Health checks run at the same time as the loads.
    """
    one = model / "request.json"
    with (
        tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as own,
        servers.running(make, model, Path(own)) as server,
    ):
        result.start.append(server.start)
        result.start_cpu.append(server.cpu())
        for _ in range(20):
            server.post(one.read_bytes())
        for connections in (1, 16):
            load = loads.measure(server, one, connections, seconds)
            result.loads.setdefault(str(connections), []).append(load)
        result.memory.append(server.memory())
        for body in bodies:
            load = loads.measure(server, body, 1, seconds / 4)
            result.loads.setdefault(body.stem, []).append(load)
        if bodies:
            result.memory_after_bodies.append(server.memory())


def servers_of(model: str, quick: bool) -> dict[str, servers.Make]:
    """Return the servers to measure with a model.

    All of them run with `tiny`. In the quick size, the others run only against the fastest stock command. MLServer's
    environment has no CatBoost.
    """
    makes = dict(servers.SERVERS)
    if model == "categories":
        del makes["MLServer"]
    if quick and model != "tiny":
        makes = {name: makes[name] for name in (STOCK, OURS)}
    return makes | ({CEILING: servers.hello} if model == "tiny" else {})


def bodies_of(model: Path, server: str, quick: bool) -> list[Path]:
    """Return the files of the bodies that a server gets, the smallest first."""
    if server not in (STOCK, OURS) or model.name not in (WITH_BODIES if not quick else ("mixed",)):
        return []
    files = sorted((model / "bodies").iterdir(), key=lambda file: (file.stem.partition("-")[0], file.stat().st_size))
    return [file for file in files if file.suffix in servers.MEDIA and (not quick or file.stem in QUICK_BODIES)]


def main() -> int:
    """Run the benchmark, print the tables, and write the JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=MODELS, metavar="NAME", help=f"one of {', '.join(MODELS)}")
    parser.add_argument("--rounds", type=int, default=2, help="starts of each server, by turns (default 2)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load (default 8)")
    parser.add_argument("--quick", action="store_true", help="one round of a second each")
    options = parser.parse_args()
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.seconds)
    models = [model for model in MODELS if model in (options.only or MODELS)]
    file, load = OUT / f"scorer-{time.strftime('%Y%m%dT%H%M%S')}.json", os.getloadavg()[0]
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="sluicegate-models-") as name:
        folder = Path(name)
        saving = [str(servers.PYTHON), str(REPOSITORY / "bench/scorer/models.py"), name, *models]
        subprocess.run(saving, check=True, capture_output=True, env={**os.environ, **servers.QUIET})
        direct = json.loads((folder / "direct.json").read_text()) if "heavy" in models else 0.0
        for model in models:
            makes = servers_of(model, options.quick)
            mine = {server: Result(server, model) for server in makes}
            for number in range(rounds):
                for server, make in makes.items():
                    print(f"{model}, {server}, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
                    bodies = bodies_of(folder / model, server, options.quick)
                    measure(make, folder / model, mine[server], seconds, bodies)
            results += mine.values()
            write(file, results, direct, (load, os.getloadavg()[0]))
    print(f"load average {load:.1f} to {os.getloadavg()[0]:.1f}; wrk with one thread on the same machine")
    print(report.tables(results, direct))
    print()
    for target, found, met in report.targets(results, direct):
        print(f"{'met   ' if met else 'MISSED'} {target}: {found}")
    print(f"\n{file.relative_to(REPOSITORY)}")
    return 0


def write(file: Path, results: list[Result], direct: float, load: tuple[float, float]) -> None:
    """Write the results so far, with the load averages at the start and now."""
    OUT.mkdir(parents=True, exist_ok=True)
    content = {
        "load_average": load,
        "direct": direct,
        "targets": report.targets(results, direct),
        "results": [asdict(each) for each in results],
    }
    file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
