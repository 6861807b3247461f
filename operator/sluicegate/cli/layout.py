"""Views as lines: the same words and columns on a terminal and in a pipe; colours are only ever added.

Every column is always there and an empty one is `-`, so that what scripts cut out stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sluicegate.cli.view import Detail, EventView, PodView, RevisionView, Row

GOOD, BAD, BUSY, DIM, HEAD = "green", "red", "yellow", "dim", "bold"


class Piece(NamedTuple):
    """Some text, and how a terminal shows it."""

    text: str
    style: str = ""


Line = list[Piece]
Cell = Piece | str | None


def table(rows: Sequence[Row], now: datetime, *, namespaces: bool, wide: bool) -> Iterator[Line]:
    """All ModelDeployments, one a line; what one waits for comes last, because it is long."""
    titles = ["NAME", "READY", "STATUS", "MODEL", "VERSION", "CANARY", "PODS", "AGE"]
    cells: list[list[Cell]] = []
    for row in rows:
        line: list[Cell] = [
            row.name,
            _truth(row.ready),
            row.reason,
            row.model,
            row.version,
            row.canary,
            row.pods,
            age(row.created, now),
        ]
        cells.append(
            [*([row.namespace] if namespaces else []), *line, *([row.url, row.address] if wide else []), row.waits]
        )
    return columns(
        [*(["NAMESPACE"] if namespaces else []), *titles, *(["URL", "ADDRESS"] if wide else []), "WAITS FOR"], cells
    )


def detail(view: Detail, now: datetime, *, wide: bool = False) -> Iterator[Line]:
    """One ModelDeployment: what it is, what it waits for, its revisions and pods, what happened."""
    yield from _header(view, now)
    yield []
    yield from _tree(view.revisions, now)
    if wide:
        yield []
        titles = ["CONDITION", "STATUS", "REASON", "GENERATION", "MESSAGE"]
        yield from columns(
            titles,
            [
                [each.type, each.status, each.reason, str(each.observed_generation or "-"), each.message]
                for each in view.conditions
            ],
        )
    if view.events:
        yield []
        yield from columns(["AGE", "EVENT", "ABOUT", "MESSAGE"], [_event(each, now) for each in view.events])


def cropped(lines: Iterable[Line], width: int) -> Iterator[Line]:
    """The lines without what goes beyond `width`."""
    for line in lines:
        length = len("".join(piece.text for piece in line).rstrip())
        left = width if length <= width else width - 1
        kept = []
        for piece in line:
            kept.append(Piece(piece.text[:left], piece.style))
            left -= len(kept[-1].text)
        yield kept if length <= width else [*kept, Piece("…")]


def plain(lines: Iterable[Line]) -> str:
    """The lines without colours."""
    return "".join("".join(piece.text for piece in line).rstrip() + "\n" for line in lines)


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in at most two units, as kubectl writes it."""
    return "-" if since is None else span((now - since).total_seconds())


def span(length: float) -> str:
    """A length of time in at most two units, as kubectl writes it."""
    seconds = max(0, int(length))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{days}d"


def _header(view: Detail, now: datetime) -> Iterator[Line]:
    row = view.row
    facts: list[tuple[str, Line]] = [
        ("Name", [Piece(f"{row.namespace}/{row.name}", HEAD)]),
        (
            "Ready",
            [
                _truth(row.ready),
                Piece(f" for {age(view.since, now)}, {row.reason}" if view.since else f", {row.reason}"),
            ],
        ),
        ("Available", [_truth(view.available)]),
        ("Model", [Piece(f"{view.uri} is {view.serves}" if view.serves else view.uri)]),
        ("URL", [Piece(row.url or "-")]),
        ("Address", [Piece(row.address or "-")]),
    ]
    if view.canary:
        facts.append(("Canary", [Piece(view.canary)]))
    if view.rollout and view.rollout != "Idle":
        since = f" for {age(view.rollout_since, now)}" if view.rollout_since else ""
        facts.append(("Rollout", [Piece(f"{view.rollout}{since}", BUSY)]))
    facts += [("Waits for", [Piece(each, BUSY if row.ready != "False" else BAD)]) for each in view.waits]
    for title, value in facts:
        yield [Piece(f"{title:<11}", DIM), *value]


def _tree(revisions: Sequence[RevisionView], now: datetime) -> Iterator[Line]:
    titles = ["REVISION", "STATE", "MODEL", "WEIGHT", "ACCEPTED", "READY", "RESTARTS", "AGE", "NODE"]
    cells: list[list[Cell]] = []
    notes: dict[int, list[str]] = {}
    for revision in revisions:
        problems = {each.problem for each in revision.pods}
        cells.append(_revision(revision))
        if revision.problem is not None and revision.problem not in problems:
            notes[len(cells)] = [("│  " if revision.pods else "   ") + revision.problem]
        for pod in revision.pods:
            last = pod is revision.pods[-1]
            cells.append(_pod(pod, last, now))
            if pod.problem is not None:
                notes[len(cells)] = [("   " if last else "│  ") + pod.problem]
    for number, line in enumerate(columns(titles, cells)):
        yield line
        yield from ([Piece(note, BAD)] for note in notes.get(number, ()))


def _revision(revision: RevisionView) -> list[Cell]:
    enough = revision.ready >= revision.wanted
    name = revision.name if revision.number is None else f"{revision.name} #{revision.number}"
    return [
        Piece(name, HEAD),
        revision.role,
        revision.model,
        _share(revision.weight),
        _share(revision.accepted),
        Piece(f"{revision.ready}/{revision.wanted}", "" if enough else BUSY),
        None,
        None,
        None,
    ]


def _share(weight: int | None) -> str | None:
    return None if weight is None else f"{weight}%"


def _pod(pod: PodView, last: bool, now: datetime) -> list[Cell]:
    style = GOOD if pod.ready else BAD if pod.problem else BUSY
    return [
        ("└─ " if last else "├─ ") + pod.name,
        Piece(pod.state, style),
        None,
        None,
        None,
        None,
        Piece(str(pod.restarts), BAD if pod.restarts else ""),
        age(pod.created, now),
        pod.node,
    ]


def _event(event: EventView, now: datetime) -> list[Cell]:
    times = f" (x{event.count})" if event.count > 1 else ""
    return [age(event.at, now), Piece(event.reason, BAD if event.warning else ""), event.about, event.message + times]


def _truth(status: str) -> Piece:
    return Piece(status, {"True": GOOD, "False": BAD}.get(status, BUSY))


def columns(titles: list[str], rows: list[list[Cell]]) -> Iterator[Line]:
    """Lines whose columns stand under one another, the title line first."""
    pieces = [[each if isinstance(each, Piece) else Piece(each or "-") for each in row] for row in rows]
    lines = [[Piece(title, DIM) for title in titles], *pieces]
    widths = [max(len(line[index].text) for line in lines) for index in range(len(titles))]
    for line in lines:
        yield [Piece(f"{piece.text:<{width}}   ", piece.style) for piece, width in zip(line, widths, strict=True)]
