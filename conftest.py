"""Pytest hooks for every test of the repository.

In CI, a skipped test counts as a failed test.
Otherwise, a test that skips itself because a program is not installed would be lost without notice.
A failure is printed when it happens, because a run that is killed never prints its summary.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator

import pytest

STRICT = os.environ.get("CI", "").lower() in ("1", "true", "yes")


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if STRICT and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        words = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"With CI set nothing may be skipped. {words}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a test that skips, by a mark or in its body, as failed in CI."""
    report = yield
    _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Report a module that skips as a whole as failed in CI."""
    report = yield
    _refuse(report)
    return report


class _FailureLines:
    """Prints one line for each failed test when it fails: time, duration, phase, test and the last line of the error.

    With pytest-xdist the reports of all workers arrive in the main process, and only this process has a terminal.
    """

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = crash.message if crash is not None else str(report.longrepr)
            line = next(iter(message.strip().splitlines()), "")[:300]
            when = f"{time.strftime('%H:%M:%S')} {report.when} failed after {report.duration:.0f}s"
            self._terminal.write_line("")
            self._terminal.write_line(f"{when}: {report.nodeid}: {line}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Print failures at once in CI, where a run may be killed."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if STRICT and terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_FailureLines(terminal))
