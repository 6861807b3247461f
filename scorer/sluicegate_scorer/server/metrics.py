"""Counters in Prometheus' text format.

The fast path only adds to plain integers. The text is made when it is scraped.
"""

import bisect
import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping

# Two neighboring bounds are at most half apart, and mostly a third. This limits how exactly a rollout can compare the
# latency of two revisions.
SECONDS = (
    *(0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075),
    *(0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0)
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
PREFIX = "sluicegate_scorer_"
_REQUESTS = (
    "Requests by endpoint, HTTP status and error class: client (invalid request), model (exception in the model), "
    "server (error of the scoring server), timeout (over the time limit), overload (full queue), empty (success)."
)
Sample = tuple[Mapping[str, str], float]


class Histogram:
    """Counts by upper bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect.bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """The counters of this process.

    Attributes:
        requests: counts by endpoint, HTTP status and error class.
        gauges: functions that return the current value, with the help text, by metric name.
        families: functions that return the samples of a metric, with its name, type and help text.
        histograms: further histograms, with their names and help texts.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int, str], int] = {}
        self.paths = {"fast": 0, "general": 0}
        self.seconds = Histogram(SECONDS)
        self.rows = Histogram(_ROWS)
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.families: list[tuple[str, str, str, Callable[[], Iterable[Sample]]]] = []
        self.histograms: list[tuple[str, str, Histogram]] = []
        self._began = time.time()
        self.add_endpoint("invocations")

    def add_endpoint(self, endpoint: str) -> None:
        """Start the series of an endpoint at zero, so that a rate exists from the first failure on."""
        for failed, code in (("client", 400), ("model", 500), ("server", 500), ("timeout", 504), ("overload", 429)):
            self.requests[endpoint, code, failed] = 0
        self.requests[endpoint, 200, ""] = 0

    def request(self, endpoint: str, status: int, failed: str | None, seconds: float) -> None:
        """Count one request that got a response."""
        key = (endpoint, status, failed or "")
        self.requests[key] = self.requests.get(key, 0) + 1
        self.seconds.add(seconds)

    def stream(self, endpoint: str, failed: str | None) -> None:
        """Count one stream that ended. Its time was counted at its first event."""
        key = (endpoint, 200, failed or "")
        self.requests[key] = self.requests.get(key, 0) + 1

    def batch(self, rows: int) -> None:
        """Count one prediction of the fast path."""
        self.rows.add(rows)

    def text(self) -> bytes:
        """Return all metrics, for a scrape."""
        lines: list[str] = []
        _family(
            lines,
            ("requests_total", "counter", _REQUESTS),
            [
                ({"endpoint": endpoint, "code": str(code), "error_class": failed}, count)
                for (endpoint, code, failed), count in sorted(self.requests.items())
            ],
        )
        _family(
            lines,
            ("path_requests_total", "counter", "Requests by path: fast, or general (MLflow's own code)."),
            [({"path": path}, count) for path, count in self.paths.items()],
        )
        _histogram(
            lines,
            "request_duration_seconds",
            "Time in seconds from the head of a request to its response.",
            self.seconds,
        )
        _histogram(lines, "batch_rows", "Rows per prediction of the fast path.", self.rows)
        for name, description, histogram in self.histograms:
            _histogram(lines, name, description, histogram)
        for name, kind, description, samples in self.families:
            _family(lines, (name, kind, description), samples())
        for name, (description, value) in self.gauges.items():
            _family(lines, (name, "gauge", description), [({}, value())])
        self._process(lines)
        return ("\n".join(lines) + "\n").encode()

    def _process(self, lines: list[str]) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        _sample(lines, ("process_cpu_seconds_total", "counter"), usage.ru_utime + usage.ru_stime)
        _sample(lines, ("process_start_time_seconds", "gauge"), self._began)
        try:
            with open("/proc/self/statm") as file:
                pages = int(file.read().split()[1])
        except (OSError, ValueError, IndexError):
            return
        _sample(lines, ("process_resident_memory_bytes", "gauge"), pages * os.sysconf("SC_PAGE_SIZE"))


def _sample(lines: list[str], name: tuple[str, str], value: float) -> None:
    lines.append(f"# TYPE {name[0]} {name[1]}")
    lines.append(f"{name[0]} {_number(value)}")


def _family(lines: list[str], head: tuple[str, str, str], samples: Iterable[Sample]) -> None:
    name, kind, description = head
    lines.append(f"# HELP {PREFIX}{name} {description}")
    lines.append(f"# TYPE {PREFIX}{name} {kind}")
    lines.extend(f"{PREFIX}{name}{_labels(labels)} {_number(value)}" for labels, value in samples)


def _histogram(lines: list[str], name: str, description: str, histogram: Histogram) -> None:
    counts = list(histogram.counts)
    samples: list[Sample] = []
    so_far = 0
    lines.append(f"# HELP {PREFIX}{name} {description}")
    lines.append(f"# TYPE {PREFIX}{name} histogram")
    for bound, count in zip([*map(_number, histogram.bounds), "+Inf"], counts, strict=True):
        so_far += count
        samples.append(({"le": bound}, so_far))
    lines.extend(f"{PREFIX}{name}_bucket{_labels(labels)} {_number(value)}" for labels, value in samples)
    lines.append(f"{PREFIX}{name}_sum {_number(histogram.total)}")
    lines.append(f"{PREFIX}{name}_count {so_far}")


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
