"""Helpers that run a command, wait for a check, print progress and take a lock."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tools.localcluster.errors import ClusterError

_print_lock = threading.Lock()


def say(text: str) -> None:
    """Print one line of progress on standard error.

    Standard output is for results.
    """
    with _print_lock:
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Print the step once it is done, with its duration in seconds."""
    start = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"  FAILED {text} ({time.monotonic() - start:.1f}s)")
        raise
    say(f"  {text} ({time.monotonic() - start:.1f}s)")


def run(
    argv: Sequence[object],
    *,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600,
) -> str:
    """Run a command and return its standard output.

    Raises:
        ClusterError: The command is not installed, took too long or failed. If it failed, the message contains the
            end of its output.
    """
    words = [str(a) for a in argv]
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            words,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            env=env,
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        raise ClusterError(f"The command {words[0]!r} is not installed.") from missing
    except subprocess.TimeoutExpired as slow:
        raise ClusterError(f"`{' '.join(words)[:200]}` took more than {timeout:.0f} seconds.") from slow
    if done.returncode != 0:
        tail = (done.stdout[-1500:] + done.stderr[-3000:]).decode(errors="replace").strip()
        raise ClusterError(f"`{' '.join(words)[:200]}` failed with exit code {done.returncode}:\n{tail}")
    return done.stdout.decode(errors="replace")


def wait_until(what: str, check: Callable[[], bool], timeout: float = 60, every: float = 0.1) -> None:
    """Wait until the check returns true.

    The check may raise ClusterError or OSError, which mean "not yet".
    """
    end = time.monotonic() + timeout
    last: Exception | None = None
    while time.monotonic() < end:
        try:
            if check():
                return
        except (ClusterError, OSError) as problem:
            last = problem
        time.sleep(every)
    raise ClusterError(f"Waited {timeout:.0f} seconds in vain for {what}. {last or ''}".strip())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file.

    Other processes of this user wait for the lock. A process that is killed releases it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
