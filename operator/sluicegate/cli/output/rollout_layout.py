"""The layout of a rollout as lines: its header, its steps, and its metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from sluicegate.cli.output.live_metrics import Reading
from sluicegate.cli.output.rollout_view import MetricView, ProgressView, StepView
from sluicegate.cli.output.text import BAD, BUSY, DIM, GOOD, HEAD, Cell, Fit, Line, Piece, age, columns, span, wrapped

MARKS = {"Past": "✓", "Now": "▶", "Failed": "✗", "Ahead": " "}
STYLES = {"Past": GOOD, "Now": HEAD, "Failed": BAD, "Ahead": DIM}
OUTCOMES = {"Passed": GOOD, "Failed": BAD, "Inconclusive": BUSY}
SPARE = ("SAMPLES", "STABLE")


def header(view: ProgressView, now: datetime, known: Iterable[str] = ()) -> list[tuple[str, Line]]:
    """Return the lines of the rollout in the header, each with its title.

    A cause that one of the `known` messages contains already is not repeated.
    """
    bad = view.phase.ended
    since = f" for {age(view.since, now)}" if view.since is not None else ""
    told: list[tuple[str, Line]] = [
        ("Rollout", [Piece(view.phase, BAD if bad else BUSY), Piece(f"{view.place}{since}{_left(view, now)}")])
    ]
    if not bad:
        parts = [
            (view.weight, "{}% set"),
            (view.accepted, "{}% accepted"),
            (view.measured, "{:.1f}% measured"),
        ]
        shown = ", ".join(form.format(value) for value, form in parts if value is not None)
        told.append(("Weight", [Piece(shown or "-")]))
    if view.why and not any(view.why in each for each in known):
        told.append(("Because", [Piece(view.why, BAD if bad else "")]))
    if view.verdict:
        ago = f", {age(view.judged_at, now)} ago" if view.judged_at is not None else ""
        outcome, _, rest = view.verdict.partition(":")
        told.append(
            ("Verdict", [Piece(outcome, OUTCOMES.get(outcome, "")), Piece(f"{ago}{':' if rest else ''}{rest}")])
        )
    longest = max((len(each.command) for each in view.next), default=0)
    for number, each in enumerate(view.next):
        told.append(("" if number else "Next", [Piece(f"{each.command:<{longest}}   ", HEAD), Piece(each.does)]))
    return told


def sections(view: ProgressView, now: datetime, width: int | None, *, near: bool = False) -> Iterator[Iterable[Line]]:
    """Yield the table of steps and the table of metrics.

    With `near`, the steps are only the current one and its neighbors.
    """
    rows = [_step(number, each, view, now) for number, each in enumerate(view.steps)]
    here = next((number for number, each in enumerate(view.steps) if each.state in ("Now", "Failed")), 0)
    shown = rows[max(0, here - 1) : here + 2] if near else rows
    yield columns(["STEP", "WEIGHT", "DOES"], shown, Fit(width) if width is not None else None)
    if view.metrics or view.not_live:
        yield _metrics(view, width)


def _metrics(view: ProgressView, width: int | None) -> Iterator[Line]:
    if view.metrics:
        titles = ["METRIC", "OUTCOME", "VALUE", "STABLE", "LIMIT", "SAMPLES"]
        cells = [_metric(each) for each in view.metrics]
        yield from columns(titles, cells, Fit(width, SPARE) if width is not None else None)
    if view.not_live:
        words = (
            f"Not live, but what status has: {view.not_live}." if view.metrics else f"Not measured: {view.not_live}."
        )
        yield from wrapped([Piece(words, DIM)], width, 2)


def _left(view: ProgressView, now: datetime) -> str:
    """Return how long the step still lasts, where its end is a time."""
    if view.until is None or view.phase.ended:
        return ""
    left = (view.until - now).total_seconds()
    return f", {span(left)} to go" if left > 0 else ", its time is over"


def _step(number: int, step: StepView, view: ProgressView, now: datetime) -> list[Cell]:
    style, last = STYLES[step.state], number + 1 == len(view.steps)
    left = _left(view, now) if step.state == "Now" else ""
    return [
        Piece(f"{MARKS[step.state]} {'' if last else number + 1}", style),
        Piece(f"{step.weight}%", style),
        Piece(step.does + left, style),
    ]


def _metric(metric: MetricView) -> list[Cell]:
    reading: Reading = metric.reading
    outcome = OUTCOMES.get(reading.outcome or "", "") if metric.decides else DIM
    value, stable, limit = (figure(metric.kind, each) for each in (reading.value, reading.stable, reading.limit))
    return [
        metric.name,
        Piece((reading.outcome or "-") + ("" if metric.decides else " (dry run)"), outcome),
        Piece(value, BAD if reading.outcome == "Failed" and metric.decides else ""),
        stable,
        limit,
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
