"""The results of bench_scorer.py: tables, targets and JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bench.scorer.loads import Load

OURS = "sluicegate-scorer"
STOCK = "stock, best"
CEILING = "ASGI hello"
HEALTH_MS = 50.0
_HEAD = (
    "server               req/s c1  p50 ms  p99 ms   req/s c16  p50 ms  p99 ms   x stock c16  p50/stock c1"
    "  health p99  max ms  start s  CPU s   MB  failed"
)


@dataclass
class Result:
    """The results of one server with one model. Each list has one item a round."""

    server: str
    model: str
    start: list[float] = field(default_factory=list)
    start_cpu: list[float] = field(default_factory=list)
    """Processor time until the first successful health check, in seconds."""
    memory: list[float] = field(default_factory=list)
    """Megabytes after the loads of one row a request."""
    memory_after_bodies: list[float] = field(default_factory=list)
    loads: dict[str, list[Load]] = field(default_factory=dict)
    """By the number of connections (`1`, `16`), or by the name of a body."""

    def median(self, load: str, value: str) -> float:
        """Return the median over the rounds of `rate`, `p50` or `p99` of a load."""
        return statistics.median(float(getattr(each, value)) for each in self.loads[load])

    @property
    def health(self) -> list[float]:
        """Return the latencies of all health checks under load, in milliseconds."""
        return [latency for loads in self.loads.values() for load in loads for latency in load.health]

    @property
    def failed(self) -> int:
        """Return the number of failed requests."""
        return sum(load.failed for loads in self.loads.values() for load in loads)


def health_of(load: list[Load]) -> tuple[float, float]:
    """Return the p99 and the maximum of the health checks during a load, in milliseconds."""
    return _p99([latency for each in load for latency in each.health])


def _p99(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], ordered[-1]


def of(results: list[Result], model: str, server: str) -> Result | None:
    """Return the result of a server with a model, if it was measured."""
    return next((each for each in results if each.model == model and each.server == server), None)


def tables(results: list[Result], direct: float) -> str:
    """Return the results as text tables.

    `direct` is the duration of a direct call of the model `heavy`, in seconds.
    """
    lines: list[str] = []
    for model in dict.fromkeys(each.model for each in results):
        stock = of(results, model, STOCK)
        assert stock is not None
        lines += ["", f"== {model} ==", _HEAD]
        lines += [_line(each, stock) for each in results if each.model == model]
        if model == "heavy":
            lines.append(f"a direct call takes {direct * 1e3:.2f} ms")
        ours = of(results, model, OURS)
        if ours is not None:
            lines += _bodies(ours, stock)
    return "\n".join(lines)


def _line(each: Result, stock: Result) -> str:
    health, slowest = _p99([latency for name in ("1", "16") for load in each.loads[name] for latency in load.health])
    return (
        f"{each.server:20} {each.median('1', 'rate'):8.0f} {each.median('1', 'p50'):7.2f} "
        f"{each.median('1', 'p99'):7.2f} {each.median('16', 'rate'):11.0f} {each.median('16', 'p50'):7.2f} "
        f"{each.median('16', 'p99'):7.2f} {each.median('16', 'rate') / stock.median('16', 'rate'):13.2f} "
        f"{each.median('1', 'p50') / stock.median('1', 'p50'):13.2f} {health:11.1f} {slowest:7.1f} "
        f"{statistics.median(each.start):8.1f} {statistics.median(each.start_cpu):6.1f} "
        f"{statistics.median(each.memory):4.0f} {each.failed:7}"
    )


def _bodies(ours: Result, stock: Result) -> Iterator[str]:
    names = [name for name in ours.loads if not name.isdigit() and name in stock.loads]
    if names:
        yield "body                 ours p50 ms  stock p50 ms  ours/stock   health p99, max ms: ours        stock"
    for name in names:
        mine, theirs = ours.median(name, "p50"), stock.median(name, "p50")
        health = [
            f"{p99:7.1f} {slowest:8.1f}" for p99, slowest in map(health_of, (ours.loads[name], stock.loads[name]))
        ]
        yield f"{name:20} {mine:11.2f} {theirs:13.2f} {mine / theirs:11.2f} {health[0]:>28} {health[1]:>16}"


Target = tuple[str, str, bool]
"""What has to be true, what was found, and whether it is met."""


def targets(results: list[Result], direct: float) -> list[Target]:
    """Return the targets of the models that were measured."""
    found: list[Target] = []
    for model, least, most in (
        ("tiny", 20.0, 0.25),
        ("boosting", 8.0, 1.0),
        ("onnx", 1.0, 1.0),
        ("custom", 1.0, 1.0),
        ("mixed", 8.0, 0.5),
        ("categories", 1.0, 1.0),
        ("text", 1.0, 1.0),
    ):
        ours, stock = of(results, model, OURS), of(results, model, STOCK)
        if ours is None or stock is None:
            continue
        rate = ours.median("16", "rate") / stock.median("16", "rate")
        p50 = ours.median("1", "p50") / stock.median("1", "p50")
        found.append((f"{model}: at 16 connections at least {least:g} x", f"{rate:.2f} x", rate >= least))
        found.append((f"{model}: p50 at one connection at most {most:g} of stock's", f"{p50:.2f}", p50 <= most))
    ours, hello = of(results, "tiny", OURS), of(results, "tiny", CEILING)
    if ours is not None and hello is not None:
        share = ours.median("16", "rate") / hello.median("16", "rate")
        found.append(("tiny: at least half the ASGI ceiling", f"{share:.2f}", share >= 0.5))
    if (heavy := of(results, "heavy", OURS)) is not None:
        more = heavy.median("1", "p50") / (direct * 1e3) - 1
        found.append(("heavy: within 5% of a direct call", f"{more:+.1%}", more <= 0.05))
    mine = [each for each in results if each.server == OURS]
    found += _for_all(mine, results)
    return found


def _for_all(mine: list[Result], results: list[Result]) -> Iterator[Target]:
    """Yield the targets that hold for every model, each with the model or body that is furthest from it."""
    bodies = [
        (ours.median(name, "p50") / stock.median(name, "p50"), f"{ours.model} {name}")
        for ours in mine
        if (stock := of(results, ours.model, STOCK)) is not None
        for name in ours.loads
        if not name.isdigit() and name in stock.loads
    ]
    if bodies:
        yield _worst("no body slower than stock", bodies, 1.0, lambda value: f"{value:.2f} of stock's p50")
    health = [
        (max(latency for each in loads for latency in each.health), f"{ours.model} {name}")
        for ours in mine
        for name, loads in ours.loads.items()
        if any(each.health for each in loads)
    ]
    if health:
        yield _worst("/health within 50 ms under every load", health, HEALTH_MS, lambda value: f"{value:.0f} ms")
    for text, name, most in (
        ("memory at most 1.05 of stock's", "memory", 1.05),
        ("start-up no slower than stock's", "start", 1.0),
        ("processor time of the start-up no more than stock's", "start_cpu", 1.0),
    ):
        ratios = [
            (statistics.median(getattr(ours, name)) / statistics.median(getattr(stock, name)), ours.model)
            for ours in mine
            if (stock := of(results, ours.model, STOCK)) is not None
        ]
        if ratios:
            yield _worst(text, ratios, most, lambda value: f"{value:.2f}")


def _worst(text: str, values: list[tuple[float, str]], most: float, show: Callable[[float], str]) -> Target:
    value, name = max(values)
    missed = sum(each > most for each, _ in values)
    found = f"{show(value)} at worst ({name})" + (f"; missed by {missed} of {len(values)}" if missed else "")
    return text, found, not missed
