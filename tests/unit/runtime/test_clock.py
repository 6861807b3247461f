"""The clock that rollouts use."""

from datetime import UTC, datetime, timedelta

import pytest
from sluicegate.runtime.clock import SteadyClock

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


class Machine:
    def __init__(self) -> None:
        self.monotonic, self.wall = 100.0, START

    def pass_by(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += timedelta(seconds=seconds)

    def clock(self) -> SteadyClock:
        return SteadyClock(lambda: self.monotonic, lambda: self.wall)


@pytest.mark.parametrize("step", [-86_400, 86_400])
def test_a_step_of_the_machines_clock_moves_nothing(step: float) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.pass_by(10)
    machine.wall += timedelta(seconds=step)
    machine.pass_by(5)
    assert clock.now() == START + timedelta(seconds=15)


def test_the_api_servers_time_is_what_counts(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    machine.wall += timedelta(hours=1)
    clock = machine.clock()
    clock.set("Sun, 01 Mar 2026 12:00:00 GMT", 100.0)
    machine.pass_by(7)
    assert clock.now() == START + timedelta(seconds=7)
    assert "differs from the API server's by 3600 s" in caplog.text


@pytest.mark.parametrize("date", [None, "", "tomorrow"])
def test_without_one_the_machines_time_stays(date: str | None, caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    clock = machine.clock()
    clock.set(date, 100.0)
    assert clock.now() == START
    assert "has no valid Date header" in caplog.text
