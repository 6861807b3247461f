"""The layout of a rollout as lines: its header, its steps, and its metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime

from sluicegate.cli.output.live_metrics import Reading
from sluicegate.cli.output.rollout_view import MetricView, ProgressView, StepState, StepView
from sluicegate.cli.output.text import BAD, BUSY, DIM, GOOD, HEAD, Cell, Line, Piece, Table, age, span, wrapped
from sluicegate.core.snapshot.analysis_result import Outcome

MARKS = {StepState.PAST: "✓", StepState.CURRENT: "▶", StepState.FAILED: "✗", StepState.AHEAD: " "}
STYLES = {StepState.PAST: GOOD, StepState.CURRENT: HEAD, StepState.FAILED: BAD, StepState.AHEAD: DIM}
OUTCOMES: Mapping[str, str] = {Outcome.PASSED: GOOD, Outcome.FAILED: BAD, Outcome.INCONCLUSIVE: BUSY}
SPARE = ("SAMPLES", "STABLE")
"""Columns of the metrics that a narrow terminal leaves out, in this order."""


def header(view: ProgressView, now: datetime, reported: Collection[str] = ()) -> Iterator[tuple[str, Line]]:
    """Yield the lines of the rollout in the header, each with its title.

    Args:
        view: The rollout.
        now: The time from which ages are computed.
        reported: The reasons that the header reports already. A cause with one of them is not repeated.
    """
    style = BAD if view.phase.ended else BUSY
    since = f" for {age(view.since, now)}" if view.since is not None else ""
    yield "Rollout", [Piece(view.phase, style), Piece(f"{view.place}{since}{_left(view, now)}")]
    if not view.phase.ended:
        yield "Weight", [Piece(_weights(view))]
    if view.message and view.reason not in reported:
        yield "Cause", [Piece(view.message, BAD if view.phase.ended else "")]
    if view.outcome is not None:
        ago = f", {age(view.judged_at, now)} ago" if view.judged_at is not None else ""
        measurement = f": {view.measurement}" if view.measurement else ""
        yield "Analysis", [Piece(view.outcome, OUTCOMES.get(view.outcome, "")), Piece(f"{ago}{measurement}")]
    longest = max((len(advice.command) for advice in view.next), default=0)
    for number, advice in enumerate(view.next):
        yield "" if number else "Next", [Piece(f"{advice.command:<{longest}}   ", HEAD), Piece(advice.effect)]


def _weights(view: ProgressView) -> str:
    parts = [(view.weight, "{}% set"), (view.accepted, "{}% accepted"), (view.measured, "{:.1f}% measured")]
    return ", ".join(form.format(value) for value, form in parts if value is not None) or "-"


def sections(view: ProgressView, now: datetime, width: int | None, *, near: bool = False) -> Iterator[Iterable[Line]]:
    """Yield the table of steps and the table of metrics.

    With `near`, the steps are only the current one and its neighbors.
    """
    steps = list(enumerate(view.steps))
    current = next((n for n, step in steps if step.state in (StepState.CURRENT, StepState.FAILED)), 0)
    table = Table(["STEP", "WEIGHT", "ACTION"])
    for number, step in steps[max(0, current - 1) : current + 2] if near else steps:
        table.add(_step(number, step, view, now))
    yield table.render(width)
    if view.metrics or view.not_live:
        yield _metrics(view, width)


def _metrics(view: ProgressView, width: int | None) -> Iterator[Line]:
    if view.metrics:
        table = Table(["METRIC", "OUTCOME", "VALUE", "STABLE", "LIMIT", "SAMPLES"], SPARE)
        for metric in view.metrics:
            table.add(_metric(metric))
        yield from table.render(width)
    if view.not_live:
        title = "Not live, from status" if view.metrics else "No live values"
        yield from wrapped([Piece(f"{title}: {view.not_live}.", DIM)], width, 2)


def _left(view: ProgressView, now: datetime) -> str:
    """Return how long the step still lasts, where its end is a time."""
    if view.until is None or view.phase.ended:
        return ""
    left = (view.until - now).total_seconds()
    return f", {span(left)} left" if left > 0 else ", time is over"


def _step(number: int, step: StepView, view: ProgressView, now: datetime) -> list[Cell]:
    style, last = STYLES[step.state], number + 1 == len(view.steps)
    left = _left(view, now) if step.state is StepState.CURRENT else ""
    return [
        Piece(f"{MARKS[step.state]} {'' if last else number + 1}", style),
        Piece(f"{step.weight}%", style),
        Piece(step.action + left, style),
    ]


def _metric(metric: MetricView) -> list[Cell]:
    reading: Reading = metric.reading
    outcome = OUTCOMES.get(reading.outcome or "", "") if metric.decides else DIM
    return [
        metric.name,
        Piece((reading.outcome or "-") + ("" if metric.decides else " (dry run)"), outcome),
        Piece(figure(metric.kind, reading.value), BAD if reading.outcome == Outcome.FAILED and metric.decides else ""),
        figure(metric.kind, reading.stable),
        figure(metric.kind, reading.limit),
        f"{reading.samples}" if reading.samples is not None else None,
    ]


def figure(kind: str, value: float | None) -> str:
    """Format a value in the unit of its metric, with three significant digits."""
    if value is None:
        return "-"
    if kind in ("ErrorRate", "Disagreement"):
        return f"{value * 100:.3g}%"
    if kind.startswith("Latency"):
        return f"{value * 1000:.3g}ms" if value < 1 else f"{value:.3g}s"
    return f"{value:.3g}"
