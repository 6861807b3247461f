"""The log of the operator."""

import json
import logging

import pytest
from sluicegate.cli.commands.run import JsonFormatter, TextFormatter

HOSTILE = "pod a: \x1b[2J\x9b31m\u202ex"


@pytest.mark.parametrize("formatter", [TextFormatter("%(levelname)s %(message)s"), JsonFormatter()])
def test_words_of_others_do_not_steer_a_terminal(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%s ü", (HOSTILE,), (ValueError, error, None))
    lines = formatter.format(record).splitlines()
    assert all(line.isprintable() for line in lines)
    assert "pod a:" in lines[0] and "ü" in lines[0]
    if isinstance(formatter, JsonFormatter):
        assert json.loads(lines[0])["level"] == "warning"
    else:
        assert lines[-1].startswith("ValueError: pod a:")
