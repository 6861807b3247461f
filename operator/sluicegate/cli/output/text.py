"""Lines of text in columns: the same words on a terminal and in a pipe; colours are only ever added.

Every column is always there and an empty one is `-`, so that what scripts cut out stays where it is. Only on a terminal that is
too narrow are the least telling columns left out, and sentences go on below one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

GOOD, BAD, BUSY, DIM, HEAD = "green", "red", "yellow", "dim", "bold"
GAP = "   "


class Piece(NamedTuple):
    """Some text, and how a terminal shows it."""

    text: str
    style: str = ""


Line = list[Piece]
Cell = Piece | str | None


class Size(NamedTuple):
    """Of a terminal."""

    width: int
    height: int | None = None
    """None where what is printed may be scrolled."""


class Fit(NamedTuple):
    """A width, and the titles of the columns that go first where there is too little of it."""

    width: int
    spare: tuple[str, ...] = ()


def columns(
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    fit: Fit | None = None,
    under: Mapping[int, Line] | None = None,
) -> Iterator[Line]:
    """Lines whose columns stand under one another, the title line first.

    Args:
        titles: Of the columns.
        rows: A cell a column.
        fit: How they are brought into a narrow terminal; None leaves them as wide as they are.
        under: What stands below a row, by its index.
    """
    pieces = [[each if isinstance(each, Piece) else Piece(each or "-") for each in row] for row in rows]
    lines = [[Piece(title, DIM) for title in titles], *pieces]
    widths = [max(len(line[index].text) for line in lines) for index in range(len(titles))]
    shown = list(range(len(titles)))
    for title in fit.spare if fit is not None else ():
        if fit is not None and _width([widths[index] for index in shown]) > fit.width and title in titles:
            shown.remove(titles.index(title))
    width = fit.width if fit is not None else None
    indent = _width([widths[index] for index in shown[:-1]]) + len(GAP)
    for number, line in enumerate(lines):
        made = [Piece(f"{line[index].text:<{widths[index]}}{GAP}", line[index].style) for index in shown]
        yield from wrapped(made, width, indent)
        if under is not None and number - 1 in under:
            yield from wrapped(under[number - 1], width, 3)


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def wrapped(line: Line, width: int | None, indent: int) -> Iterator[Line]:
    """The line in as many as it takes to stay within `width`, broken between words; all but the first begin after `indent` blanks."""
    text = "".join(piece.text for piece in line).rstrip()
    if width is None or len(text) <= width:
        yield line
        return
    indent = indent if indent <= width // 2 else 2
    row: Line = []
    used, fresh = 0, True
    for word, style in _words(line):
        room = width - used
        if len(word.rstrip()) > room and not fresh:
            yield row
            row, used, fresh = [Piece(" " * indent)], indent, True
            room = width - used
        while len(word.rstrip()) > room:
            yield [*row, Piece(word[:room], style)]
            row, used, word = [Piece(" " * indent)], indent, word[room:]
            room = width - used
        row.append(Piece(word, style))
        used += len(word)
        fresh = fresh and not word.strip()
    yield row


def _words(line: Line) -> Iterator[tuple[str, str]]:
    """Each word with the blanks behind it."""
    for piece in line:
        word = ""
        for index, letter in enumerate(piece.text):
            word += letter
            if letter == " " and piece.text[index + 1 : index + 2] != " ":
                yield word, piece.style
                word = ""
        if word:
            yield word, piece.style


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


def facts(found: Iterable[tuple[str, Line]], width: int | None) -> Iterator[Line]:
    """What is told of one thing, each with its title in front."""
    for title, value in found:
        yield from wrapped([Piece(f"{title:<11}", DIM), *value], width, 11)


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


def truth(status: str) -> Piece:
    """The status of a condition."""
    return Piece(status, {"True": GOOD, "False": BAD}.get(status, BUSY))
