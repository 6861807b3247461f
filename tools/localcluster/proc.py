"""Daemons that outlive the command that started them.

Later commands find a daemon by its record in the state folder, `run/NAME.json`.
The record contains the process ID and the start time from /proc. A process ID alone is not sufficient, because another
process may have it by now. The record also contains the argv, so that the daemon can be started again in the same way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.localcluster.errors import ClusterError


@dataclasses.dataclass(frozen=True)
class Record:
    """The record of one daemon."""

    name: str
    argv: list[str]
    env: dict[str, str]
    log: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether exactly this process still runs."""
        return self.started != 0 and start_time(self.pid) == self.started


def start_time(pid: int) -> int:
    """Return the start time of a process in clock ticks since boot.

    Return 0 if the process has ended or is a zombie.
    The first thread may be a zombie while other threads still end. Such a process still has its sockets, so it has not
    ended yet.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" and threads < 2 else int(fields[19])


def reap() -> None:
    """Reap ended daemons that are children of this process."""
    with contextlib.suppress(ChildProcessError):
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if fields[0] == "Z" and int(fields[1]) == os.getpid() and int(path.parent.name) in _ours:
                    os.waitpid(int(path.parent.name), os.WNOHANG)
                    _ours.discard(int(path.parent.name))


_ours: set[int] = set()


def start(state: Path, name: str, argv: list[str], env: Mapping[str, str] | None = None) -> Record:
    """Start a daemon in its own session, and append its output to `logs/NAME.log`."""
    log = state / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    (state / "run").mkdir(exist_ok=True)
    inherited = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "TMPDIR"}}
    with log.open("ab") as out:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**inherited, **(env or {})},
            cwd=state,
        )
    process.returncode = 0  # the daemon outlives this process, so Popen must not warn when it is deleted
    _ours.add(process.pid)
    record = Record(name, argv, dict(env or {}), str(log), process.pid, start_time(process.pid))
    save(state, record)
    return record


def save(state: Path, record: Record) -> None:
    """Write a record atomically."""
    path = state / "run" / f"{record.name}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(dataclasses.asdict(record)))
    temporary.rename(path)


def load(state: Path, name: str) -> Record:
    """Read the record of a daemon."""
    path = state / "run" / f"{name}.json"
    if not path.exists():
        raise ClusterError(f"There is no component {name!r} in {state}; there are: {', '.join(names(state))}.")
    return Record(**json.loads(path.read_text()))


def names(state: Path) -> list[str]:
    """Return the names of a cluster's daemons in the order of their latest start."""
    paths = (state / "run").glob("*.json") if state.exists() else []
    records = [Record(**json.loads(p.read_text())) for p in paths]
    return [r.name for r in sorted(records, key=lambda r: (r.started, r.pid))]


def last_lines(record: Record, count: int = 8) -> str:
    """Return the last lines of a daemon's log."""
    path = Path(record.log)
    return "\n".join(path.read_text(errors="replace").splitlines()[-count:]) if path.exists() else ""


def check_alive(state: Path, wanted: Iterable[str]) -> None:
    """Check that the daemons run.

    Raises:
        ClusterError: A daemon has ended. The message contains the end of its log.
    """
    for name in wanted:
        record = load(state, name)
        if not record.alive:
            raise ClusterError(f"{name} has ended; the end of {record.log}:\n{last_lines(record)}")


def kill(pids: Mapping[int, int], sig: int = signal.SIGKILL, timeout: float = 5.0) -> None:
    """Send a signal to processes and wait until they have ended.

    Then kill the processes that are left. If the start time of a process ID differs, the ID belongs to another process
    by now, and that process receives no signal.

    Args:
        pids: Process IDs and start times, as {process ID: start time}.
        sig: The signal to send first.
        timeout: Seconds to wait after each signal.
    """
    left = {p: s for p, s in pids.items() if s and start_time(p) == s}
    for wave in (sig, signal.SIGKILL):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, wave)
        end = time.monotonic() + timeout
        while left and time.monotonic() < end:
            reap()
            left = {p: s for p, s in left.items() if start_time(p) == s}
            if left:
                time.sleep(0.02)
        if not left:
            return
    raise ClusterError(f"These processes do not end even on SIGKILL: {sorted(left)}.")
