"""Showing lines: with colors on a terminal, plain in a pipe, or as a live view.

`guarded` makes everything that a command prints printable, whatever its source.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Protocol, TextIO, cast

from sluicegate.cli.output.text import Line, Size, plain
from sluicegate.core.snapshot.redaction import printable

Draw = Callable[[datetime, Size | None], Iterable[Line]]
"""Returns the lines at a time, for a terminal of some size. None means that there is no terminal."""


class _Printable:
    """A text stream that writes only printable characters, line breaks and tabs.

    Conditions, Events, logs and manifests contain texts that containers and other users chose. They must not steer the
    terminal of the user who reads them.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(_filtered(text))
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def guarded() -> Iterator[None]:
    """Filter standard output and standard error."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Printable(stream)) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def data_output() -> TextIO:
    """Return the stream for JSON and YAML.

    On a terminal it is standard output. Otherwise a program reads the data, so they are written unchanged.
    """
    return sys.stdout if sys.stdout.isatty() else _unfiltered()


def _unfiltered() -> TextIO:
    return sys.stdout.stream if isinstance(sys.stdout, _Printable) else sys.stdout


def _filtered(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char in "\n\t" else printable(char) for char in text)


class Screen(Protocol):
    """Where a live view is shown."""

    def show(self, draw: Draw) -> None:
        """Show the lines of `draw` from now on."""


def is_terminal() -> bool:
    """Tell whether standard output is a terminal that shows colors.

    NO_COLOR and TERM=dumb disable colors. Without rich, which the extra `cli` installs, the output is plain too.
    """
    plain_wanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain_wanted and find_spec("rich") is not None


def show(draw: Draw) -> None:
    """Print the lines of `draw` once."""
    now = datetime.now(UTC)
    if not is_terminal():
        sys.stdout.write(_encodable(plain(draw(now, None))))
        return
    from rich.console import Console

    console = Console(file=_unfiltered(), highlight=False, emoji=False, markup=False)
    console.print(_text(draw(now, Size(console.width))), soft_wrap=True, end="")


def live() -> AbstractContextManager[Screen]:
    """Return a screen for a live view.

    On a terminal, the screen redraws the view in place. Otherwise it prints one block for each change.
    """
    return _Live() if is_terminal() else nullcontext(_Blocks())


class _Blocks:
    """Prints one block for each change, headed by the time."""

    def show(self, draw: Draw) -> None:
        now = datetime.now(UTC)
        sys.stdout.write(_encodable(f"--- {now:%Y-%m-%dT%H:%M:%SZ}\n{plain(draw(now, None))}"))
        sys.stdout.flush()


class _Live:
    """Redraws the view in place.

    It does so each second, so that ages stay current, and at once on a change.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=_unfiltered(), highlight=False, emoji=False, markup=False)
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
            row.append(_filtered(piece.text), style=piece.style)
        row.rstrip()
        rows.append(row)
    return Text("\n", overflow="fold").join([*rows, Text()])


def _encodable(text: str) -> str:
    """Replace the characters that standard output cannot encode.

    The branches of a tree are such characters where the encoding is ASCII.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(str.maketrans("├└│─…✓▶✗", "|`|-~+>x"))
        return text.encode(encoding, "replace").decode(encoding)
    return text
