"""The measured programs as processes: start, stop and resource usage."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """One running program."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Return the process ID."""
        return self.popen.pid

    def check(self) -> None:
        """Check that the process still runs.

        Raises:
            RuntimeError: the process has ended. The message contains the end of its log.
        """
        if self.popen.poll() is not None:
            end = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.popen.args!r} ended with {self.popen.returncode}:\n{end}")

    def cpu(self) -> float:
        """Return the CPU time so far, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self, peak: bool = True) -> float:
        """Return the resident memory in MB (10^6 bytes).

        Args:
            peak: return the peak so far; otherwise the current value
        """
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(rf"^{'VmHWM' if peak else 'VmRSS'}:\s+(\d+) kB", status, re.MULTILINE)
        return int(match[1]) * 1024 / 1e6 if match else 0.0


@contextmanager
def running(argv: Sequence[str], log: Path) -> Iterator[Process]:
    """Run the program while the context is open.

    At the end it gets SIGTERM, as in a rollout of its Deployment, and SIGKILL after 20s.
    """
    with log.open("ab") as out:
        popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=REPOSITORY)
    try:
        yield Process(popen, log)
    finally:
        popen.terminate()
        try:
            popen.wait(20)
        except subprocess.TimeoutExpired:
            popen.kill()
            popen.wait()


class Operator:
    """A process of `sluicegate run`, and its metrics."""

    def __init__(self, process: Process) -> None:
        """Wait until the log contains the port of the metrics."""
        self.process = process
        deadline = time.monotonic() + 30
        while not (matches := re.findall(r"health and metrics on port (\d+)", process.log.read_text())):
            process.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the operator does not start: {process.log.read_text()[-2000:]}")
            time.sleep(0.1)
        self._url = f"http://127.0.0.1:{matches[-1]}/metrics"

    def reconciles(self) -> int:
        """Return the number of reconciles since the start of the process."""
        pattern = r"^sluicegate_reconcile_duration_seconds_count\{.*\} (\S+)$"
        try:
            with urllib.request.urlopen(self._url, timeout=30) as answer:
                text = answer.read().decode()
        except urllib.error.URLError:
            self.process.check()
            raise
        return sum(int(float(match_)) for match_ in re.findall(pattern, text, re.MULTILINE))


@contextmanager
def operator(kubeconfig: Path, log: Path) -> Iterator[Operator]:
    """Run one replica of the operator, with its default settings, while the context is open."""
    argv = [sys.executable, "-m", "sluicegate.cli.main", "run", f"--kubeconfig={kubeconfig}", "--health-port=0"]
    with running(argv, log) as process:
        yield Operator(process)
