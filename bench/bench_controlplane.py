"""Benchmark of the cost of a resource: the operator against a bare client.

The bare client writes the same objects.

    .venv/bin/python bench/bench_controlplane.py                 200 and 1,000 resources, two pairs of passes each
    .venv/bin/python bench/bench_controlplane.py --quick         50 resources, one pair: a smoke test
    .venv/bin/python bench/bench_controlplane.py 3000 --pairs 1  another size

bench/README.md describes how to read the results.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # neither e2e nor bench is an installed package

from bench.controlplane import passes, profiler, report  # noqa: E402

OUT = REPOSITORY / "bench" / "out"


def measure(count: int, pairs: int, plan: passes.Plan) -> report.Size:
    """Run pairs of passes that alternate between the bare client and the operator.

    The last pass of the operator continues after all resources are created. It executes the whole of `plan`.
    """
    bare, ours = [], []
    for number in range(pairs):
        last = number == pairs - 1
        shorter = passes.Plan(count, plan.cluster, quiet=plan.quiet)
        print(f"{count} resources, pair {number + 1} of {pairs}", file=sys.stderr, flush=True)
        bare.append(asyncio.run(passes.bare_pass(shorter)))
        ours.append(asyncio.run(passes.operator_pass(plan if last else shorter)))
    return report.Size(count, bare, ours)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, help="numbers of resources (default: 200 1000)")
    parser.add_argument("--pairs", type=int, default=2, help="passes of each client, by turns (default: 2)")
    parser.add_argument("--rest", type=float, default=120.0, help="seconds at rest; 0 ends once the children exist")
    parser.add_argument("--quick", action="store_true", help="50 resources, one pair, 20 seconds at rest")
    parser.add_argument(
        "--profile", action="store_true", help="py-spy (in PATH) on the last pass's creating: distorts it"
    )
    parser.add_argument("--cluster", default=f"bench-{os.getpid()}", help="name of the control plane that is made")
    return parser.parse_args()


def main() -> int:
    """Run the benchmark, print the table, and write the JSON file."""
    options = _options()
    sizes = options.sizes or ([50] if options.quick else [200, 1000])
    pairs, rest = (1, 20.0) if options.quick else (options.pairs, options.rest)
    began, before = time.strftime("%Y%m%dT%H%M%S"), os.getloadavg()
    measured = []
    for count in sizes:
        folded = OUT / f"controlplane-{began}-{count}.folded" if options.profile else None
        measured.append(measure(count, pairs, passes.Plan(count, options.cluster, rest, profile=folded)))
    load = {"before": f"{before[0]:.1f}", "after": f"{os.getloadavg()[0]:.1f}"}
    print(report.table(measured, load))
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / f"controlplane-{began}.json"
    target.write_text(json.dumps(report.as_json(measured, load), indent=1) + "\n")
    print(f"\n{target.relative_to(REPOSITORY)}")
    for folded in sorted(OUT.glob(f"controlplane-{began}-*.folded")):
        print(f"\n{folded.relative_to(REPOSITORY)}: share of samples with the function on the stack")
        for frame, share in profiler.summary(folded):
            print(f"{share:6.1%}  {frame}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
