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


def test_cluster_options_may_come_before_the_command() -> None:
    options = main.parsed(["-n", "shop", "--context", "prod", "get", "churn"])
    assert (options.namespace, options.context, options.name) == ("shop", "prod", "churn")
    options = main.parsed(["-n", "shop", "get", "churn", "-n", "bank"])
    assert options.namespace == "bank"


@pytest.mark.parametrize("command", [["validate", "-f", "x.yaml"], ["run"]])
def test_cluster_options_are_refused_where_they_have_no_effect(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main.parsed(["-n", "shop", *command])
    assert f"--namespace does not apply before {command[0]}" in capsys.readouterr().err
