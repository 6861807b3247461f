"""The command line: each command runs its own code."""

import argparse

import pytest
from sluicegate.cli import main
from sluicegate.cli.commands import validate


def test_command_without_code_runs_no_other_command(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(validate, "run", lambda *args: ran.append(args) or 0)
    monkeypatch.setattr(main, "parsed", lambda argv: argparse.Namespace(command="new", files=["m.yaml"]))
    with pytest.raises(ValueError, match="no code runs the command new"):
        main.main(["new"])
    assert not ran
