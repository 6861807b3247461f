"""Daemons that outlive the command that started them, and are found again by what they left in the state.

A daemon's record is `run/NAME.json`: its pid with the start time from /proc (a pid alone may have been
given to a stranger since), and its argv, so that it can be started again just as it was.
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
    """What is known of one daemon."""

    name: str
    argv: list[str]
    env: dict[str, str]
    log: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self.started != 0 and start_time(self.pid) == self.started


def start_time(pid: int) -> int:
    """The start time of a process in clock ticks since boot; 0 where it is gone or a zombie.

    Its first thread may be a zombie while others still end, and with them its sockets: that is not gone yet.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" and threads < 2 else int(fields[19])


def reap() -> None:
    """Collects daemons that ended and were children of this very process."""
    with contextlib.suppress(ChildProcessError):
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()
                if fields[0] == "Z" and int(fields[1]) == os.getpid() and int(path.parent.name) in _ours:
                    os.waitpid(int(path.parent.name), os.WNOHANG)
                    _ours.discard(int(path.parent.name))


_ours: set[int] = set()


def start(state: Path, name: str, argv: list[str], env: Mapping[str, str] | None = None) -> Record:
    """Starts a daemon in a session of its own, its output appended to `logs/NAME.log`."""
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
    process.returncode = 0  # the daemon is meant to outlive us: no warning when this object goes
    _ours.add(process.pid)
    record = Record(name, argv, dict(env or {}), str(log), process.pid, start_time(process.pid))
    save(state, record)
    return record


def save(state: Path, record: Record) -> None:
    """Writes a record whole or not at all."""
    path = state / "run" / f"{record.name}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(dataclasses.asdict(record)))
    temporary.rename(path)


def load(state: Path, name: str) -> Record:
    """Reads the record of a daemon."""
    path = state / "run" / f"{name}.json"
    if not path.exists():
        raise ClusterError(f"There is no component {name!r} in {state}; there are: {', '.join(names(state))}.")
    return Record(**json.loads(path.read_text()))


def names(state: Path) -> list[str]:
    """The daemons of a cluster in the order they were first started."""
    paths = (state / "run").glob("*.json") if state.exists() else []
    records = [Record(**json.loads(p.read_text())) for p in paths]
    return [r.name for r in sorted(records, key=lambda r: (r.started, r.pid))]


def last_lines(record: Record, count: int = 8) -> str:
    """The end of a daemon's log."""
    path = Path(record.log)
    return "\n".join(path.read_text(errors="replace").splitlines()[-count:]) if path.exists() else ""


def check_alive(state: Path, wanted: Iterable[str]) -> None:
    """Says which of the daemons ended, with the end of its log."""
    for name in wanted:
        record = load(state, name)
        if not record.alive:
            raise ClusterError(f"{name} has ended; the end of {record.log}:\n{last_lines(record)}")


def kill(pids: Mapping[int, int], sig: int = signal.SIGKILL, timeout: float = 5.0) -> None:
    """Signals processes given as {pid: start time} and waits until they are gone, then kills what is left.

    A pid whose start time differs is someone else's by now and is left alone.
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
