"""The layout of views as lines. The parts of a line are in `text`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import IntEnum

from sluicegate.api.status import Phase
from sluicegate.cli.output import rollout_layout
from sluicegate.cli.output.detail_view import Detail, EventView, PodView, RevisionView, Row
from sluicegate.cli.output.text import BAD, BUSY, GOOD, HEAD, Cell, Line, Piece, Size, Table, age, facts, truth

SPARE = ("NODE", "AGE", "MODEL", "RESTARTS", "WEIGHT")
"""Columns of the revisions that a narrow terminal leaves out, in this order."""


def table(rows: Sequence[Row], now: datetime, *, namespaces: bool, wide: bool) -> Iterator[Line]:
    """Yield the table of all ModelDeployments, one for each line.

    The message is the last column, because it is long.
    """
    titles = ["NAME", "READY", "STATUS", "MODEL", "VERSION", "CANARY", "PODS", "AGE"]
    titles = [*(["NAMESPACE"] if namespaces else []), *titles, *(["URL", "ADDRESS"] if wide else []), "MESSAGE"]
    shown = Table(titles)
    for row in rows:
        state: list[Cell] = [row.name, truth(row.ready), row.reason, row.model, row.version, row.canary, row.pods]
        before = [row.namespace] if namespaces else []
        after = [row.url, row.address] if wide else []
        shown.add([*before, *state, age(row.created, now), *after, row.message])
    return shown.render()


def detail(view: Detail, now: datetime, *, wide: bool = False, size: Size | None = None) -> Iterator[Line]:
    """Yield the lines for one ModelDeployment.

    They show its state and problems, its rollout, its revisions and pods, and its Events.

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
    left_out = ("Available", "Model", "URL", "Address") if less >= Less.ADDRESSES else ()
    values = [(title, line) for title, line in _header(view, now) if title not in left_out]
    sections: list[Iterable[Line]] = [facts(values, width)]
    if view.progress is not None:
        sections += rollout_layout.sections(view.progress, now, width, near=less >= Less.FAR_STEPS)
    sections.append(_tree(view.revisions, now).render(width))
    if wide:
        sections.append(_conditions(view).render(width))
    if view.events and less < Less.EVENTS:
        sections.append(_events(view, now).render(width))
    for number, section in enumerate(sections):
        if number and less < Less.BLANKS:
            yield []
        yield from section


def _conditions(view: Detail) -> Table:
    table = Table(["CONDITION", "STATUS", "REASON", "GENERATION", "MESSAGE"])
    for condition in view.conditions:
        generation = str(condition.observed_generation or "-")
        table.add([condition.type, condition.status, condition.reason, generation, condition.message])
    return table


def _events(view: Detail, now: datetime) -> Table:
    table = Table(["AGE", "EVENT", "ABOUT", "MESSAGE"])
    for event in view.events:
        table.add(_event(event, now))
    return table


def _header(view: Detail, now: datetime) -> Iterator[tuple[str, Line]]:
    """Yield the lines of the header, each with its title."""
    row = view.row
    since = f" for {age(view.since, now)}" if view.since else ""
    yield "Name", [Piece(f"{row.namespace}/{row.name}", HEAD)]
    yield "Ready", [truth(row.ready), Piece(f"{since}, {row.reason}")]
    yield "Available", [truth(view.available)]
    yield "Model", [Piece(f"{view.uri} is {view.model}" if view.model else view.uri)]
    yield "URL", [Piece(row.url or "-")]
    yield "Address", [Piece(row.address or "-")]
    if view.canary:
        yield "Canary", [Piece(view.canary)]
    if view.progress is not None:
        yield from rollout_layout.header(view.progress, now, {problem.reason for problem in view.problems})
    elif view.phase not in (None, Phase.IDLE):
        since = f" for {age(view.rollout_since, now)}" if view.rollout_since else ""
        yield "Rollout", [Piece(f"{view.phase}{since}", BUSY)]
    for problem in view.problems:
        yield "Message", [Piece(str(problem), BAD if row.ready == "False" else BUSY)]


def _tree(revisions: Sequence[RevisionView], now: datetime) -> Table:
    """Return the table of revisions, with the pods of each one below it."""
    titles = ["REVISION", "STATE", "MODEL", "WEIGHT", "ACCEPTED", "MEASURED", "READY", "RESTARTS", "AGE", "NODE"]
    table = Table(titles, SPARE)
    for revision in revisions:
        reported = {pod.problem.reason for pod in revision.pods if pod.problem is not None}
        below = revision.problem if revision.problem is not None and revision.problem.reason not in reported else None
        branch = "│  " if revision.pods else "   "
        table.add(_revision(revision), [Piece(f"{branch}{below}", BAD)] if below is not None else None)
        for pod in revision.pods:
            last = pod is revision.pods[-1]
            branch = "   " if last else "│  "
            table.add(_pod(pod, last, now), [Piece(f"{branch}{pod.problem}", BAD)] if pod.problem is not None else None)
    measured = any(revision.measured is not None for revision in revisions)
    return table if measured else table.without("MEASURED")


def _revision(revision: RevisionView) -> list[Cell]:
    enough = revision.ready >= revision.desired
    name = revision.name if revision.number is None else f"{revision.name} #{revision.number}"
    return [
        Piece(name, HEAD),
        revision.role,
        revision.model,
        f"{revision.weight}%",
        f"{revision.accepted}%" if revision.accepted is not None else None,
        f"{revision.measured:.1f}%" if revision.measured is not None else None,
        Piece(f"{revision.ready}/{revision.desired}", "" if enough else BUSY),
        None,
        None,
        None,
    ]


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
