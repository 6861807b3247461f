"""Nothing that a command prints steers the terminal."""

import argparse
import io
import json
import sys

import pytest
from sluicegate.cli import main
from sluicegate.cli.commands import validate
from sluicegate.cli.output import terminal
from sluicegate.cli.output.text import BAD, Piece

HOSTILE = "a\x1b[2J\x1b]0;title\x07b\x9b31mc\u202edc\u2066\r\x00\x7f\x85e"
"""ESC with CSI and OSC, a C1 control, overrides of the direction, a carriage return, NUL, DEL and NEL."""
CLEAN = "a [2J ]0;title b 31mc dc     e"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_every_command_prints_through_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    def run(*_: object) -> int:
        sys.stdout.write(f"{HOSTILE}\n\tü ✓ 漢\n")
        sys.stderr.write(f"{HOSTILE}\n")
        return 0

    monkeypatch.setattr(validate, "run", run)
    monkeypatch.setattr(main, "parsed", lambda argv: argparse.Namespace(command="validate", files=[]))
    assert main.main([]) == 0
    assert (out.getvalue(), err.getvalue()) == (f"{CLEAN}\n\tü ✓ 漢\n", f"{CLEAN}\n")
    assert (sys.stdout, sys.stderr) == (out, err)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_lines_keep_colors_and_lose_control_characters(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with terminal.guarded():
        terminal.show(lambda now, size: [[Piece(HOSTILE, BAD)]])
    colored = f"\x1b[31m{CLEAN}\x1b[0m\n" if stream is Terminal else f"{CLEAN}\n"
    assert out.getvalue() == colored


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_data_for_programs_are_unchanged_except_on_a_terminal(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = stream()
    monkeypatch.setattr(sys, "stdout", out)
    with terminal.guarded():
        terminal.data_output().write(json.dumps({"message": HOSTILE}, ensure_ascii=False))
    message = json.loads(out.getvalue())["message"]
    if stream is Terminal:
        assert not {"\x9b", "\u202e", "\u2066"} & set(out.getvalue())
    else:
        assert message == HOSTILE
