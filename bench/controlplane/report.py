"""The report on passes: figures, targets, a table and JSON."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sluicegate

from bench.controlplane.passes import Pass, Phase
from tools.localcluster.tools import etcd, kubernetes, kwok

REPOSITORY = Path(__file__).resolve().parents[2]
RATIO, STATUS_WRITES, MEMORY, MEMORY_AT = 1.3, 3, 120.0, 1000
"""Targets from section 8 of the design."""
PHASES = ("created", "ready", "replicas changed", "env changed", "at rest", "restarted")
Json = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """All passes with the same number of resources, in pairs."""

    resources: int
    bare: Sequence[Pass]
    operator: Sequence[Pass]

    @property
    def full(self) -> Pass:
        """Return the last pass of the operator, which has all phases."""
        return self.operator[-1]

    def seconds(self, client: str) -> list[float]:
        """Return the duration of the phase `created` in seconds, for each pass."""
        passes = self.bare if client == "bare" else self.operator
        return [pass_.phases[0].seconds for pass_ in passes]

    def ratios(self) -> list[float]:
        """Return the ratio of the operator's duration to the bare client's, for each pair."""
        return [ours / bare for ours, bare in zip(self.seconds("operator"), self.seconds("bare"), strict=True)]


@dataclass(frozen=True)
class TargetResult:
    """The result for one target."""

    target: str
    found: str
    missed_by: str
    """By how much the target was missed; empty if it was met."""


def machine() -> Json:
    """Describe the machine, the time and the software versions of the measurement."""
    models = [
        x.partition(": ")[2] for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    head = subprocess.run(
        ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memoryGiB": round(memory, 1),
        "python": platform.python_version(),
        "sluicegate": f"{sluicegate.__version__} ({head.stdout.strip() or 'no git'})",
        "kubernetes": kubernetes.version,
        "etcd": etcd.version,
        "kwok": kwok.version,
    }


def target_results(size: Size) -> Iterator[TargetResult]:
    """Yield the results for all targets that these passes cover."""
    median = statistics.median(size.ratios())
    yield _limit("1 until all children exist, against the bare client", median, RATIO, "x")
    full, count = size.full, size.resources
    phases = {phase.name: phase for phase in full.phases}
    if "ready" in phases:
        new = (phases["created"], phases["ready"])
        yield _exactly(
            "2 new resource: writes of children", _each(count, new, "child_writes"), full.children, "a resource"
        )
        yield _limit("2 new resource: status writes", _each(count, new, "status_writes"), STATUS_WRITES, " a resource")
        yield _exactly("2 new resource: dry runs", sum(each.tally.dry for each in new), 0, "")
        yield _exactly("2 new resource: reads of single objects", sum(each.tally.gets() for each in new), 0, "")
    for name in ("replicas changed", "env changed"):
        if name in phases:
            found = _each(count, [phases[name]], "status_writes")
            yield _limit(f"3 {name}: status writes", found, STATUS_WRITES, " a resource")
    for name in ("at rest", "restarted"):
        if name in phases:
            yield _exactly(f"4 {name}: writes, leases aside", phases[name].tally.writes(), 0, "")
    if "ready" in phases and count == MEMORY_AT:
        yield _limit("5 memory with the pods, at most", phases["ready"].memory, MEMORY, " MB")


def _each(count: int, phases: Iterable[Phase], what: str) -> float:
    return sum(float(getattr(phase.tally, what)()) for phase in phases) / count


def _limit(target: str, value: float, limit: float, unit: str) -> TargetResult:
    over = value - limit
    return TargetResult(f"{target}: at most {limit:g}{unit}", f"{value:.2f}", f"{over:.2f}{unit}" if over > 0 else "")


def _exactly(target: str, value: float, wanted: float, unit: str) -> TargetResult:
    by = f"{value - wanted:+g} {unit}".strip() if value != wanted else ""
    return TargetResult(f"{target}: {wanted:g} {unit}".rstrip(), f"{value:g}", by)


def as_json(sizes: Sequence[Size], load: Json) -> Json:
    """Return all results as a JSON object."""
    return {
        "machine": machine(),
        "load": load,
        "sizes": [
            {
                "resources": size.resources,
                "children": size.full.children,
                "ratio": {"median": statistics.median(size.ratios()), "min": min(size.ratios()), "all": size.ratios()},
                "targets": [
                    {"target": result.target, "found": result.found, "missedBy": result.missed_by or None}
                    for result in target_results(size)
                ],
                "passes": [_pass(each) for each in (*size.bare, *size.operator)],
            }
            for size in sizes
        ],
    }


def _pass(each: Pass) -> Json:
    return {
        "client": each.client,
        "phases": [
            {
                "name": phase.name,
                "seconds": round(phase.seconds, 2),
                "cpuSeconds": round(phase.cpu, 2),
                "memoryMB": round(phase.memory, 1),
                "dryRuns": phase.tally.dry,
                "failed": phase.tally.failed,
                "requests": {f"{verb} {what}": n for (verb, what), n in sorted(phase.tally.requests.items())},
            }
            for phase in each.phases
        ],
    }


def table(sizes: Sequence[Size], load: Json) -> str:
    """Return all results as a text table."""
    at = machine()
    lines = [
        f"{at['date']}  {at['cpu']}, {at['cores']} cores, {at['memoryGiB']} GiB;"
        f" load average {load['before']} to {load['after']}",
        f"sluicegate {at['sluicegate']}, Kubernetes {at['kubernetes']}, etcd {at['etcd']}, kwok {at['kwok']},"
        f" Python {at['python']}",
    ]
    for size in sizes:
        lines += ["", f"== {size.resources} resources of {size.full.children} children ==", *_times(size)]
        lines += ["", *_phases(size), "", *_requests(size), "", *_targets(size)]
    return "\n".join(lines)


def grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows of cells as lines, with the first column aligned to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _times(size: Size) -> list[str]:
    def row(name: str, values: Sequence[float], unit: str) -> list[str]:
        shown = " ".join(f"{value:.2f}" for value in values)
        return [name, f"{min(values):.2f} {unit}", f"{statistics.median(values):.2f} {unit}", shown]

    return grid(
        [
            ["until all children exist", "min", "median", "each pass"],
            row("bare client", size.seconds("bare"), "s"),
            row("sluicegate", size.seconds("operator"), "s"),
            row("ratio", size.ratios(), "x"),
        ]
    )


def _phases(size: Size) -> list[str]:
    rows = [["phase", "seconds", "CPU s", "CPU ms each", "memory MB", "requests", "writes", "status", "events"]]
    bare = size.bare[-1].phases[0]
    for name, phase in [("created, bare client", bare), *((each.name, each) for each in size.full.phases)]:
        tally, count = phase.tally, size.resources
        numbers = [f"{phase.seconds:.1f}", f"{phase.cpu:.2f}", f"{phase.cpu / count * 1000:.1f}", f"{phase.memory:.0f}"]
        counts = (tally.total(), tally.child_writes(), tally.status_writes(), tally.events())
        rows.append([name, *numbers, *(f"{each / count:.2f}" for each in counts)])
    return [*grid(rows), "requests, writes (of children), status and events are per resource; leases are left out"]


def _requests(size: Size) -> list[str]:
    names = [phase.name for phase in size.full.phases]
    keys = sorted({key for phase in size.full.phases for key in phase.tally.requests})
    rows = [["requests per resource", *names]]
    for key in keys:
        counts = [phase.tally.requests[key] for phase in size.full.phases]
        rows.append([" ".join(key), *(f"{n / size.resources:.2f}" if n else "-" for n in counts)])
    return grid(rows)


def _targets(size: Size) -> list[str]:
    rows = [["target", "found", ""]]
    rows += [
        [result.target, result.found, f"missed by {result.missed_by}" if result.missed_by else "met"]
        for result in target_results(size)
    ]
    return grid(rows)
