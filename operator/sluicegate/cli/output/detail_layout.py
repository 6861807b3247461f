"""The layout of views as lines. The parts of a line are in `text`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import IntEnum

from sluicegate.cli.output import rollout_layout
from sluicegate.cli.output.detail_view import Detail, EventView, PodView, RevisionView, Row
from sluicegate.cli.output.text import BAD, BUSY, GOOD, HEAD, Cell, Fit, Line, Piece, Size, age, columns, facts, truth

SPARE = ("NODE", "AGE", "MODEL", "RESTARTS", "WEIGHT")
"""Columns of the revisions that a narrow terminal leaves out, in this order."""


def table(rows: Sequence[Row], now: datetime, *, namespaces: bool, wide: bool) -> Iterator[Line]:
    """Yield the table of all ModelDeployments, one for each line.

    What a ModelDeployment waits for is the last column, because it is long.
    """
    titles = ["NAME", "READY", "STATUS", "MODEL", "VERSION", "CANARY", "PODS", "AGE"]
    cells: list[list[Cell]] = []
    for row in rows:
        line: list[Cell] = [
            row.name,
            truth(row.ready),
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


def detail(view: Detail, now: datetime, *, wide: bool = False, size: Size | None = None) -> Iterator[Line]:
    """Yield the lines for one ModelDeployment.

    They show what it is and waits for, its rollout, its revisions and pods, and its Events.

    Args:
        view: The view to show.
        now: The time from which ages are computed.
        wide: Whether to show all conditions.
        size: Size of the terminal. None does not limit the lines. Where the terminal is too low, the least important
            parts are left out, one after the other.
    """
    lines: list[Line] = []
    for less in Less:
        lines = list(_detail(view, now, size.width if size is not None else None, less, wide))
        if size is None or size.height is None or len(lines) <= size.height:
            break
    yield from lines


class Less(IntEnum):
    """What a low terminal leaves out. Each value includes the ones before it."""

    NOTHING = 0
    EVENTS = 1
    ADDRESSES = 2
    BLANKS = 3
    FAR_STEPS = 4


def _detail(view: Detail, now: datetime, width: int | None, less: Less, wide: bool) -> Iterator[Line]:
    fit = Fit(width, SPARE) if width is not None else None
    sections: list[Iterable[Line]] = [_header(view, now, width, less)]
    if view.progress is not None:
        sections += rollout_layout.sections(view.progress, now, width, near=less >= Less.FAR_STEPS)
    sections.append(_tree(view.revisions, now, fit))
    if wide:
        sections.append(_conditions(view, fit))
    if view.events and less < Less.EVENTS:
        events = [_event(each, now) for each in view.events]
        sections.append(columns(["AGE", "EVENT", "ABOUT", "MESSAGE"], events, fit))
    for number, section in enumerate(sections):
        if number and less < Less.BLANKS:
            yield []
        yield from section


def _conditions(view: Detail, fit: Fit | None) -> Iterator[Line]:
    rows = [
        [each.type, each.status, each.reason, str(each.observed_generation or "-"), each.message]
        for each in view.conditions
    ]
    return columns(["CONDITION", "STATUS", "REASON", "GENERATION", "MESSAGE"], rows, fit)


def _header(view: Detail, now: datetime, width: int | None, less: Less) -> Iterator[Line]:
    row = view.row
    told: list[tuple[str, Line]] = [
        ("Name", [Piece(f"{row.namespace}/{row.name}", HEAD)]),
        (
            "Ready",
            [
                truth(row.ready),
                Piece(f" for {age(view.since, now)}, {row.reason}" if view.since else f", {row.reason}"),
            ],
        ),
        ("Available", [truth(view.available)]),
        ("Model", [Piece(f"{view.uri} is {view.serves}" if view.serves else view.uri)]),
        ("URL", [Piece(row.url or "-")]),
        ("Address", [Piece(row.address or "-")]),
    ]
    if view.canary:
        told.append(("Canary", [Piece(view.canary)]))
    if view.progress is not None:
        told += rollout_layout.header(view.progress, now, view.waits)
    elif view.rollout and view.rollout != "Idle":
        since = f" for {age(view.rollout_since, now)}" if view.rollout_since else ""
        told.append(("Rollout", [Piece(f"{view.rollout}{since}", BUSY)]))
    told += [("Waits for", [Piece(each, BUSY if row.ready != "False" else BAD)]) for each in view.waits]
    left_out = ("Available", "Model", "URL", "Address") if less >= Less.ADDRESSES else ()
    yield from facts([each for each in told if each[0] not in left_out], width)


def _tree(revisions: Sequence[RevisionView], now: datetime, fit: Fit | None) -> Iterator[Line]:
    titles = ["REVISION", "STATE", "MODEL", "WEIGHT", "ACCEPTED", "MEASURED", "READY", "RESTARTS", "AGE", "NODE"]
    cells: list[list[Cell]] = []
    under: dict[int, Line] = {}
    for revision in revisions:
        problems = {each.problem for each in revision.pods}
        if revision.problem is not None and revision.problem not in problems:
            under[len(cells)] = [Piece(("│  " if revision.pods else "   ") + revision.problem, BAD)]
        cells.append(_revision(revision))
        for pod in revision.pods:
            last = pod is revision.pods[-1]
            if pod.problem is not None:
                under[len(cells)] = [Piece(("   " if last else "│  ") + pod.problem, BAD)]
            cells.append(_pod(pod, last, now))
    if all(each.measured is None for each in revisions):
        place = titles.index("MEASURED")
        del titles[place]
        for line in cells:
            del line[place]
    yield from columns(titles, cells, fit, under)


def _revision(revision: RevisionView) -> list[Cell]:
    enough = revision.ready >= revision.wanted
    name = revision.name if revision.number is None else f"{revision.name} #{revision.number}"
    return [
        Piece(name, HEAD),
        revision.role,
        revision.model,
        _share(revision.weight),
        _share(revision.accepted),
        f"{revision.measured:.1f}%" if revision.measured is not None else None,
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
        None,
        Piece(str(pod.restarts), BAD if pod.restarts else ""),
        age(pod.created, now),
        pod.node,
    ]


def _event(event: EventView, now: datetime) -> list[Cell]:
    times = f" (x{event.count})" if event.count > 1 else ""
    return [age(event.at, now), Piece(event.reason, BAD if event.warning else ""), event.about, event.message + times]
