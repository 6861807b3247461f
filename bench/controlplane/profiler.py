"""py-spy on the operator while it creates, for finding out where its time goes. Only where py-spy is installed, and asked for."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.controlplane.process import Process


@contextmanager
def profiled(process: Process, target: Path | None) -> Iterator[None]:
    """Writes folded stacks of `process` to `target` while the context is open.

    Raises:
        RuntimeError: py-spy is not in PATH.
    """
    if target is None:
        yield
        return
    program = shutil.which("py-spy")
    if program is None:
        raise RuntimeError("--profile needs py-spy in PATH: pip install py-spy, in an environment of its own")
    target.parent.mkdir(parents=True, exist_ok=True)
    argv = [program, "record", "--pid", str(process.pid), "--format", "raw", "--output", str(target), "--rate", "200"]
    popen = subprocess.Popen([*argv, "--duration", "100000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        popen.send_signal(signal.SIGINT)  # py-spy writes its file then
        popen.wait(30)


def summary(folded: Path, top: int = 25) -> list[tuple[str, float]]:
    """The functions with the largest share of samples in which they are on the stack, once each, with that share."""
    total, seen = 0, Counter[str]()
    for line in folded.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        total += int(count)
        for frame in set(stack.split(";")):
            seen[frame] += int(count)
    return [(frame, count / total) for frame, count in seen.most_common(top)] if total else []
