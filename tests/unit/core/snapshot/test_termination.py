"""Termination messages: the operator reads what the scoring image writes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.core.snapshot.pod_diagnosis import _LOAD_FAILURES
from sluicegate.core.snapshot.termination import Failure, parse_failure

SCORER = Path(__file__).resolve().parents[4] / "scorer"


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """Return the scoring image's own module.

    It writes to `termination-log` in `tmp_path`.
    """
    monkeypatch.syspath_prepend(str(SCORER))
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path / "termination-log"))
    return importlib.import_module("sluicegate_scorer.termination")


def test_reads_what_the_scoring_image_writes(scorer: ModuleType, tmp_path: Path) -> None:
    errors = sys.modules["sluicegate_scorer.errors"]
    scorer.write_failure("cannot load the model:\n no module named 'x'", errors.Reason.LOAD_FAILED)
    written = (tmp_path / "termination-log").read_text()
    assert parse_failure(written) == Failure("ModelLoadFailed", "cannot load the model: no module named 'x'")


def test_every_load_failure_is_a_reason_of_the_scoring_image(scorer: ModuleType) -> None:
    assert set(_LOAD_FAILURES) <= {each.value for each in sys.modules["sluicegate_scorer.errors"].Reason}


@pytest.mark.parametrize("character", ["a", '"', "\\", "\x1b", "é", "\U0001f600"])
def test_longest_message_stays_valid_json(scorer: ModuleType, tmp_path: Path, character: str) -> None:
    scorer.write_failure(character * 5000, sys.modules["sluicegate_scorer.errors"].Reason.LOAD_FAILED)
    written = (tmp_path / "termination-log").read_bytes()
    assert len(written) <= 4096
    assert parse_failure(written.decode()).reason == "ModelLoadFailed"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Killed",
        "{",
        "null",
        "[" * 5000,
        '{"reason": 1, "message": "x"}',
        '{"message": "x"}',
        '{"reason": "\\ud800"}',
    ],
)
def test_other_text_has_no_reason(text: str) -> None:
    assert parse_failure(text).reason == ""


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert len(parse_failure(text).message) <= 600


def test_message_is_redacted() -> None:
    read = parse_failure('{"reason": "ModelLoadFailed", "message": "login failed: password=hunter2"}')
    assert "hunter2" not in read.message
