"""Showing lines: in colour on a terminal, plain in a pipe, and as a picture that follows what happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, Protocol

from sluicegate.cli.output.text import Line, Size, plain

Draw = Callable[[datetime, Size | None], Iterable[Line]]
"""Makes the lines as of a moment, for a terminal of some size; None is no terminal."""


class Screen(Protocol):
    """Where a live view goes."""

    def show(self, draw: Draw) -> None:
        """Shows what `draw` makes, from now on."""


def is_terminal() -> bool:
    """Whether standard output is a terminal that shows colours: NO_COLOR and TERM=dumb say no."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show(draw: Draw) -> None:
    """Prints what `draw` makes, once."""
    now = datetime.now(UTC)
    if not is_terminal():
        sys.stdout.write(_encodable(plain(draw(now, None))))
        return
    from rich.console import Console

    console = Console(highlight=False, emoji=False, markup=False)
    console.print(_text(draw(now, Size(console.width))), soft_wrap=True, end="")


def live() -> AbstractContextManager[Screen]:
    """A screen for a view that changes: on a terminal one picture that is painted over, else one block a change."""
    return _Live() if is_terminal() else nullcontext(_Blocks())


class _Blocks:
    """One block a change, with the time in front."""

    def show(self, draw: Draw) -> None:
        now = datetime.now(UTC)
        sys.stdout.write(_encodable(f"--- {now:%Y-%m-%dT%H:%M:%SZ}\n{plain(draw(now, None))}"))
        sys.stdout.flush()


class _Live:
    """One picture, painted again each second so that ages go on, and at once when something happens."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(highlight=False, emoji=False, markup=False)
        self._console = console
        self._draw: Draw = lambda now, size: ()
        self._live = Live(
            console=console, get_renderable=self._picture, refresh_per_second=1, vertical_overflow="ellipsis"
        )

    def _picture(self) -> Any:
        return _text(self._draw(datetime.now(UTC), Size(*self._console.size)))

    def __enter__(self) -> _Live:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, draw: Draw) -> None:
        self._draw = draw
        self._live.refresh()


def _text(lines: Iterable[Line]) -> Any:
    from rich.text import Text

    rows = []
    for line in lines:
        row = Text(overflow="fold")
        for piece in line:
            row.append(piece.text, style=piece.style)
        row.rstrip()
        rows.append(row)
    return Text("\n", overflow="fold").join([*rows, Text()])


def _encodable(text: str) -> str:
    """`text` in what standard output can say: the branches of a tree need more than ASCII."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(str.maketrans("├└│─…✓▶✗", "|`|-~+>x"))
        return text.encode(encoding, "replace").decode(encoding)
    return text
