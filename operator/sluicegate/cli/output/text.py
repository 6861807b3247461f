"""Text for terminals and pipes: lines, tables, and wrapping.

The text is the same on a terminal and in a pipe. A terminal only adds colors.
Every column is always present, and an empty cell is `-`, so scripts find each column in its place.
Only on a terminal that is too narrow are the least important columns left out, and long lines wrapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


class Table:
    """Rows in aligned columns, below a line of titles."""

    def __init__(self, titles: Sequence[str], spare: Sequence[str] = ()) -> None:
        """Create a table without rows.

        Args:
            titles: The titles of the columns.
            spare: Titles of the columns that a narrow terminal leaves out, in this order.
        """
        self._titles = tuple(titles)
        self._spare = spare
        self._rows: list[list[Piece]] = [[Piece(title, DIM) for title in titles]]
        self._below: list[Line | None] = [None]

    def add(self, cells: Sequence[Cell], below: Line | None = None) -> None:
        """Add a row.

        Args:
            cells: One cell for each column. None is shown as `-`.
            below: A line to show below the row.
        """
        self._rows.append([cell if isinstance(cell, Piece) else Piece(cell or "-") for cell in cells])
        self._below.append(below)

    def without(self, title: str) -> Table:
        """Return the table without a column."""
        index = self._titles.index(title)
        table = Table([*self._titles[:index], *self._titles[index + 1 :]], self._spare)
        table._rows = [[*row[:index], *row[index + 1 :]] for row in self._rows]
        table._below = self._below
        return table

    def render(self, width: int | None = None) -> Iterator[Line]:
        """Yield the lines.

        Args:
            width: Width of the terminal. Spare columns are left out and long lines wrapped until they fit. None leaves
                them as wide as they are.
        """
        lengths = [max(len(row[column].text) for row in self._rows) for column in range(len(self._titles))]
        columns = self._fit(lengths, width)
        indent = _width([lengths[column] for column in columns[:-1]]) + len(GAP)
        for row, below in zip(self._rows, self._below, strict=True):
            line = [Piece(f"{row[column].text:<{lengths[column]}}{GAP}", row[column].style) for column in columns]
            yield from wrapped(line, width, indent)
            if below is not None:
                yield from wrapped(below, width, 3)

    def _fit(self, lengths: Sequence[int], width: int | None) -> list[int]:
        """Return the columns to show."""
        columns = list(range(len(self._titles)))
        for title in self._spare:
            if width is None or _width([lengths[column] for column in columns]) <= width:
                break
            if title in self._titles:
                columns.remove(self._titles.index(title))
        return columns


def _width(lengths: Sequence[int]) -> int:
    return sum(lengths) + len(GAP) * (len(lengths) - 1)


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
        if len(word.rstrip()) > room and (room <= 0 or not fresh):  # spaces alone may fill a line
            if not fresh:
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


def facts(values: Iterable[tuple[str, Line]], width: int | None) -> Iterator[Line]:
    """Yield the lines of a header, each with its title in front."""
    for title, value in values:
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
