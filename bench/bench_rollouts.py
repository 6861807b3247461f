"""Benchmark of many concurrent rollouts: how exact holds are, and what is written.

One run has no analysis. In the other run, the operator judges each step by the pods' counters.

    .venv/bin/python bench/bench_rollouts.py           500 rollouts at once, steps of two minutes: about half an hour
    .venv/bin/python bench/bench_rollouts.py --quick   30 rollouts, steps of 20 seconds: a smoke test

The benchmark runs in its own network namespace (unshare), in which one server responds for all pods.
bench/README.md describes how to read the results.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # neither e2e nor bench is an installed package

from bench.controlplane import gate, pace, report, rollouts  # noqa: E402
from tools.localcluster import addons  # noqa: E402
from tools.localcluster.lifecycle import prepare  # noqa: E402

OUT = REPOSITORY / "bench" / "out"
INSIDE = "SLUICEGATE_BENCH_NETWORK"
Json = dict[str, Any]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("rollouts", nargs="?", type=int, help="how many rollouts at once (default: 500)")
    parser.add_argument("--hold", type=float, help="seconds of each step (default: 120)")
    parser.add_argument("--spread", type=float, help="seconds over which they are started (default: as --hold)")
    parser.add_argument("--only", choices=("plain", "judged"), help="one of the two runs")
    parser.add_argument("--quick", action="store_true", help="30 rollouts with steps of 20 seconds")
    parser.add_argument("--cluster", default=f"bench-{os.getpid()}", help="name of the control plane that is made")
    return parser.parse_args()


def _plans(options: argparse.Namespace) -> list[rollouts.Plan]:
    count, hold = (30, 20.0) if options.quick else (500, 120.0)
    hold = options.hold or hold
    return [
        rollouts.Plan(options.rollouts or count, options.cluster, hold, options.spread or hold, judged=name == "judged")
        for name in ("plain", "judged")
        if options.only in (None, name)
    ]


def _go_inside() -> None:
    """Replace this process with the same program in a new network namespace.

    All downloads happen before, because the new namespace has no network.
    """
    prepare("control-plane", addons.choose(("kwok", "gateway-crds"), "control-plane"))
    os.environ[INSIDE] = "1"
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    os.execvp("unshare", ["unshare", "--net", *user, sys.executable, *sys.argv])


def main() -> int:
    """Run the benchmark, print the table, and write the JSON file."""
    options = _options()
    if INSIDE not in os.environ:
        _go_inside()
    gate.own_network()
    began, results = time.strftime("%Y%m%dT%H%M%S"), []
    for plan in _plans(options):
        print(f"{plan.rollouts} rollouts, {_name(plan)}", file=sys.stderr, flush=True)
        results.append(asyncio.run(rollouts.run(plan)))
    print(table(results))
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / f"rollouts-{began}.json"
    target.write_text(json.dumps(as_json(results), indent=1) + "\n")
    print(f"\n{target.relative_to(REPOSITORY)}")
    return 0


def _name(plan: rollouts.Plan) -> str:
    return "judged by the pods' counters" if plan.judged else "without an analysis"


def table(results: Sequence[rollouts.Result]) -> str:
    """Return all results as a text table."""
    at = report.machine()
    lines = [
        f"{at['date']}  {at['cpu']}, {at['cores']} cores, {at['memoryGiB']} GiB",
        f"sluicegate {at['sluicegate']}, Kubernetes {at['kubernetes']}, etcd {at['etcd']}, kwok {at['kwok']},"
        f" Python {at['python']}",
        "",
    ]
    columns = [_column(result) for result in results]
    rows = [["", *(_name(result.plan) for result in results)]]
    rows += [[key, *(column.get(key, "-") for column in columns)] for key in _keys(columns)]
    return "\n".join([*lines, *report.grid(rows)])


def _keys(columns: Sequence[dict[str, str]]) -> list[str]:
    return sorted(
        {key for column in columns for key in column}, key=lambda key: min(_place(column, key) for column in columns)
    )


def _place(column: dict[str, str], key: str) -> int:
    return list(column).index(key) if key in column else len(column)


def _column(result: rollouts.Result) -> dict[str, str]:
    plan, found, phase = result.plan, result.pace, result.phase
    holds, wholes, minutes = found.holds(), found.wholes(), found.minutes()
    met = pace.on_time(holds, plan.hold)
    column = {
        "rollouts (at once, at most)": f"{plan.rollouts} ({found.at_once()})",
        "steps, planned": f"{len(holds)}, {plan.hold:g} s each",
        "held: p50, p95, max": ", ".join(f"{each:.2f} s" for each in _spread(holds)),
        "held / planned: p50, p95, max": ", ".join(f"{each / plan.hold:.3f}" for each in _spread(holds)),
        f"steps held within {pace.TOLERANCE:.0%} of their time (target: all)": f"{met:.1%}",
        "with pods and gateway: p50, p95, max": ", ".join(f"{each:.2f} s" for each in _spread(wholes)),
        "rollout-minutes": f"{minutes:.0f}",
    }
    for kind, count in sorted(found.writes().items()):
        column[f"writes a rollout-minute: {kind}"] = f"{count / minutes:.2f}"
    column["writes a rollout-minute: all"] = f"{found.writes().total() / minutes:.2f}"
    column[f"writes in the first {pace.SETTLING:g} s of a hold, a step"] = _counted(
        found.writes_in_holds(settling=True), len(holds)
    )
    column["writes while holding (target: 0, but a new outcome)"] = _counted(found.writes_in_holds(settling=False), 1)
    column["operator: CPU, of one core"] = f"{phase.cpu / phase.seconds:.1%}"
    column["operator: CPU a rollout"] = f"{phase.cpu / plan.rollouts * 1000:.0f} ms"
    column["operator: memory, at most"] = f"{phase.memory:.0f} MB"
    column["load average before, after"] = ", ".join(f"{each:.1f}" for each in result.load)
    return column


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return (values[0],) * 3 if values else (0.0, 0.0, 0.0)
    return statistics.median(values), statistics.quantiles(values, n=20)[-1], max(values)


def _counted(writes: dict[str, int], by: int) -> str:
    shown = (f"{count / by:.2f} {kind}" if by > 1 else f"{count} {kind}" for kind, count in sorted(writes.items()))
    return ", ".join(shown) or "0"


def as_json(results: Sequence[rollouts.Result]) -> Json:
    """Return all results as a JSON object."""
    return {"machine": report.machine(), "runs": [_run(result) for result in results]}


def _run(result: rollouts.Result) -> Json:
    plan, found, phase = result.plan, result.pace, result.phase
    holds, wholes = found.holds(), found.wholes()
    return {
        "judged": plan.judged,
        "rollouts": plan.rollouts,
        "atOnce": found.at_once(),
        "steps": len(holds),
        "planned": plan.hold,
        "held": dict(zip(("p50", "p95", "max"), _spread(holds), strict=True)) | {"min": min(holds, default=0.0)},
        "whole": dict(zip(("p50", "p95", "max"), _spread(wholes), strict=True)),
        "onTime": pace.on_time(holds, plan.hold),
        "rolloutMinutes": found.minutes(),
        "writes": dict(found.writes()),
        "writesSettling": dict(found.writes_in_holds(settling=True)),
        "writesHolding": dict(found.writes_in_holds(settling=False)),
        "seconds": phase.seconds,
        "cpuSeconds": phase.cpu,
        "memoryMB": phase.memory,
        "load": result.load,
    }


if __name__ == "__main__":
    sys.exit(main())
