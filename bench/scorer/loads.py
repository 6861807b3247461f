"""Loads on a server, and the health checks that run at the same time."""

from __future__ import annotations

import contextlib
import math
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.scorer.servers import MEDIA, Server

HEALTH_INTERVAL = 0.05
"""Seconds between the end of a health check and the next one."""
SLOW = 1.0
"""Seconds of a request from which on a few requests are sent one after the other.

wrk counts no request that is not complete at the end of its run.
"""
_FEW = 2
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Load:
    """The results of one load, with latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    failed: int
    health: list[float] = field(default_factory=list)
    """Latencies of the health checks meanwhile."""


def wrk(url: str, body: Path, connections: int, seconds: float) -> Load:
    """Run wrk, which posts the same body over and over.

    Args:
        url: where to post
        body: file with the body; its suffix determines the content type
        connections: number of connections
        seconds: duration of the run, rounded up to whole seconds

    Raises:
        RuntimeError: the output of wrk cannot be parsed.
    """
    script = body.with_name(f"{body.name}.lua")
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "{MEDIA[body.suffix]}"\n'
        f'local file = io.open("{body}", "rb")\nwrk.body = file:read("*a")\nfile:close()\n'
    )
    options = [
        "-t1",
        f"-c{connections}",
        f"-d{math.ceil(seconds)}s",
        "--latency",
        "--timeout",
        "30s",
        "-s",
        str(script),
    ]
    said = subprocess.run(["wrk", *options, url], capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    latency = {
        int(match_[0]): float(match_[1]) * _UNITS[match_[2]]
        for match_ in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)", said)
    }
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if rate is None or not {50, 99} <= set(latency):
        raise RuntimeError(f"wrk says:\n{said}")
    return Load(float(rate[1]), latency[50], latency[99], int(failed[1]) if failed else 0)


def measure(server: Server, body: Path, connections: int, seconds: float) -> Load:
    """Send one load while health checks run.

    A request that takes longer than `SLOW` is sent a few times. For others, wrk runs for at least five requests.
    """
    data, media = body.read_bytes(), MEDIA[body.suffix]
    took = _post(server, data, media)
    if took < SLOW:  # the first one may be slower than the others
        took = _post(server, data, media)
    with _health_checks(server) as health:
        if connections == 1 and took > SLOW:
            times = sorted(_post(server, data, media) for _ in range(_FEW))
            load = Load(1 / statistics.mean(times), statistics.median(times) * 1e3, times[-1] * 1e3, 0)
        else:
            load = wrk(server.url + server.path, body, connections, max(seconds, 5 * took))
    return Load(load.rate, load.p50, load.p99, load.failed, health)


def _post(server: Server, data: bytes, media: str) -> float:
    began = time.monotonic()
    server.post(data, media)
    return time.monotonic() - began


@contextlib.contextmanager
def _health_checks(server: Server) -> Iterator[list[float]]:
    """Send health checks one after the other, each over a new connection, as the kubelet does.

    A failed health check counts as 30 seconds.

    Yields:
        A list that receives their latencies in milliseconds.
    """
    latencies: list[float] = []
    done = threading.Event()

    def check() -> None:
        while not done.wait(HEALTH_INTERVAL):
            try:
                latencies.append(server.health_seconds() * 1e3)
            except OSError:
                latencies.append(30_000.0)

    thread = threading.Thread(target=check, daemon=True)
    thread.start()
    try:
        yield latencies
    finally:
        done.set()
        thread.join()
