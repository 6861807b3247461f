"""Lines of text in columns.

The text is the same on a terminal and in a pipe. A terminal only adds colors.
Every column is always present, and an empty cell is `-`, so scripts find each column in its place.
Only on a terminal that is too narrow are the least important columns left out, and long lines wrapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

GOOD, BAD, BUSY, DIM, HEAD = "green", "red", "yellow", "dim", "bold"
GAP = "   "


class Piece(NamedTuple):
    """Some text, and its style on a terminal."""

    text: str
    style: str = ""


Line = list[Piece]
Cell = Piece | str | None


class Size(NamedTuple):
    """The size of a terminal, in characters."""

    width: int
    height: int | None = None
    """None where the user can scroll the output."""


class Fit(NamedTuple):
    """A width, and the columns that do not have to fit into it.

    Where the width is too small, columns are left out in this order.
    """

    width: int
    spare: tuple[str, ...] = ()


def columns(
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    fit: Fit | None = None,
    under: Mapping[int, Line] | None = None,
) -> Iterator[Line]:
    """Yield lines with aligned columns, the line of titles first.

    Args:
        titles: The titles of the columns.
        rows: The rows, with one cell for each column.
        fit: How to fit the columns into a narrow terminal. None leaves them as wide as they are.
        under: The line to show below a row, by the index of the row.
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
    """Wrap the line between words, so that no line is longer than `width`.

    All lines but the first begin with `indent` spaces, or with 2 where that is more than half of `width`. A word that
    is longer than a line is split.
    """
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
    """Yield each word with the spaces after it, and its style."""
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
    """Crop the lines to `width`, and mark each cropped line with an ellipsis."""
    for line in lines:
        length = len("".join(piece.text for piece in line).rstrip())
        left = width if length <= width else width - 1
        kept = []
        for piece in line:
            kept.append(Piece(piece.text[:left], piece.style))
            left -= len(kept[-1].text)
        yield kept if length <= width else [*kept, Piece("…")]


def plain(lines: Iterable[Line]) -> str:
    """Return the lines as text without colors."""
    return "".join("".join(piece.text for piece in line).rstrip() + "\n" for line in lines)


def facts(found: Iterable[tuple[str, Line]], width: int | None) -> Iterator[Line]:
    """Yield the lines of a header, each with its title in front."""
    for title, value in found:
        yield from wrapped([Piece(f"{title:<11}", DIM), *value], width, 11)


def age(since: datetime | None, now: datetime) -> str:
    """Return the time since `since` in at most two units, as kubectl writes it."""
    return "-" if since is None else span((now - since).total_seconds())


def span(length: float) -> str:
    """Format a duration in seconds in at most two units, as kubectl writes it."""
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
    """Return the status of a condition, with its color."""
    return Piece(status, {"True": GOOD, "False": BAD}.get(status, BUSY))
