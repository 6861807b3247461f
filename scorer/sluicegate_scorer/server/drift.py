"""Counts of served features and predictions in the bins of the reference profile."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sluicegate_scorer.profile import FILE, count, labels, prediction_columns
from sluicegate_scorer.server.metrics import Metrics, Sample

log = logging.getLogger("sluicegate_scorer.serve")

_ROWS_PER_SECOND = 2000
"""Rows that are sampled each second. Counting them costs about a hundredth of a CPU, however many rows are served."""


class Drift:
    """Counters of one profile.

    The fast path only stores rows here. A separate thread counts them once a second, many at a time.

    Args:
        profile: the result of `make_profile`.
        columns: the columns of the fast path's rows, and their element types.

    Attributes:
        as_frame: makes the DataFrame of the fast path's rows, if the model needs one.
    """

    def __init__(self, profile: dict[str, Any], columns: dict[str, str]) -> None:
        self.as_frame: Callable[[list[Any]], Any] | None = None
        self._features: dict[str, Any] = profile["features"]
        self._predictions: dict[str, Any] = profile["predictions"]
        self._columns = columns
        self._counts = {
            (kind, name): np.zeros(len(labels(bins)), dtype=np.int64)
            for kind, side in (("feature", self._features), ("prediction", self._predictions))
            for name, bins in side.items()
        }
        self._lock = threading.Lock()
        self._rows: list[Any] = []
        self._bodies: list[bytes] = []
        self._rows_left = _ROWS_PER_SECOND
        self.rows = 0

    def start(self) -> None:
        """Start the counting thread."""
        threading.Thread(target=self._forever, name="drift", daemon=True).start()

    def fast(self, rows: list[Any], body: bytes) -> None:
        """Store a request of the fast path, and the body of its response.

        The event loop calls this method, so it does almost nothing.
        """
        if self._rows_left >= len(rows):
            self._rows_left -= len(rows)
            self._rows.extend(rows)
            self._bodies.append(body)

    def frame(self, data: Any) -> bool:
        """Count the features of a DataFrame before the model sees it.

        Returns:
            Whether to count the predictions too.
        """
        if not hasattr(data, "columns") or self._rows_left < len(data):
            return False
        self._rows_left -= len(data)
        self.rows += len(data)
        self._add_frame(data)
        return True

    def predicted(self, predictions: Any) -> None:
        """Count predictions."""
        try:
            self._add("prediction", self._predictions, prediction_columns(predictions).items())
        except Exception:  # a model may return anything, and counting must never fail a request
            log.debug("cannot count predictions", exc_info=True)

    def flush(self) -> None:
        """Count the rows that the fast path stored."""
        rows, self._rows = self._rows, []
        bodies, self._bodies = self._bodies, []
        self._rows_left = _ROWS_PER_SECOND
        if not rows:
            return
        self.rows += len(rows)
        if self.as_frame is not None:
            self._add_frame(self.as_frame(rows))
        elif self._columns and len(rows[0]) == len(self._columns):
            values = zip(self._columns.items(), zip(*rows, strict=True), strict=True)
            # A float32 column is counted as the model sees it, because the edges come from such a column.
            converted = ((name, np.array(column, dtype=kind)) for (name, kind), column in values)
            self._add("feature", self._features, converted)
        predictions: list[Any] = []
        for body in bodies:
            batch = json.loads(body)["predictions"]
            if not isinstance(batch, list):
                return
            predictions += batch
        self.predicted(predictions)

    def samples(self) -> Iterator[Sample]:
        """Yield the count of each bin."""
        self.flush()
        for (kind, name), counts in self._counts.items():
            bins = (self._features if kind == "feature" else self._predictions)[name]
            for label, value in zip(labels(bins), counts.tolist(), strict=True):
                yield {"kind": kind, "name": name, "bin": label}, value

    def _add_frame(self, data: Any) -> None:
        self._add("feature", self._features, ((str(name), np.asarray(data[name])) for name in data.columns))

    def _add(self, kind: str, side: dict[str, Any], columns: Iterable[tuple[str, Any]]) -> None:
        for name, values in columns:
            bins = side.get(name)
            if bins is None:
                continue
            try:
                counted = count(bins, values)
            except (TypeError, ValueError):
                continue
            with self._lock:
                self._counts[kind, name] += counted

    def _forever(self) -> None:
        while True:
            time.sleep(1)
            try:
                self.flush()
            except Exception:
                log.debug("cannot count the served rows", exc_info=True)


def load(directory: Path, columns: dict[str, str], metrics: Metrics) -> Drift | None:
    """Return the counters for a model folder, or None if it has no usable profile."""
    path = directory / FILE
    if not path.is_file():
        return None
    try:
        profile = json.loads(path.read_text())
        drift = Drift(profile, columns)
        reference = [
            ({"kind": kind, "name": name, "bin": label}, float(value))
            for kind, side in (("feature", profile["features"]), ("prediction", profile["predictions"]))
            for name, bins in side.items()
            for label, value in zip(labels(bins), bins["counts"], strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning(
            "cannot use the reference profile %s: %r. Create it again with sluicegate-scorer profile", path, error
        )
        return None
    metrics.families.append(
        ("profile_bin_total", "counter", "Served values in each bin of the reference profile (sampled).", drift.samples)
    )
    metrics.families.append(
        ("profile_reference_bin", "gauge", "Values in each bin of the reference profile.", lambda: reference)
    )
    metrics.gauges["profile_sampled_rows"] = (
        "Served rows that are counted in the bins of the reference profile.",
        lambda: drift.rows,
    )
    return drift
