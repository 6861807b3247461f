"""A profile of the operator while it creates children, made by py-spy.

It is optional and needs py-spy in PATH.
"""

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
    """Write the folded stacks of `process` to `target` while the context is open.

    If `target` is None, run no profiler.

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
        popen.send_signal(signal.SIGINT)  # py-spy writes its file when it gets SIGINT
        popen.wait(30)


def summary(folded: Path, top: int = 25) -> list[tuple[str, float]]:
    """Return the functions that are on the stack in the most samples.

    A function counts once per sample, even if it is on the stack several times.

    Args:
        folded: file with the folded stacks
        top: maximum number of functions

    Returns:
        Each function with its share of the samples, largest share first.
    """
    total, seen = 0, Counter[str]()
    for line in folded.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        total += int(count)
        for frame in set(stack.split(";")):
            seen[frame] += int(count)
    return [(frame, count / total) for frame, count in seen.most_common(top)] if total else []
