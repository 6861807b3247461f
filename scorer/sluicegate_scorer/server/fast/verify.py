"""Compares the fast path with MLflow's own code at start-up, byte for byte.

The parts of the fast path that differ are turned off. Made-up rows compare how bodies are read and responses are
written. Rows of `boundaries` compare how numbers are converted.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sluicegate_scorer.server.asgi import Response
from sluicegate_scorer.server.fast import boundaries, conversions
from sluicegate_scorer.server.fast.path import FastPath
from sluicegate_scorer.server.fast.shape import LIMITS, NotFast, Rows
from sluicegate_scorer.server.fast.split_points import evenly

log = logging.getLogger("sluicegate_scorer.serve")

Respond = Callable[[bytes], Response]

_PROBES = 8
_FEWEST = 8
_BUDGET = 2.0
"""Seconds of processor time that the comparison may take. A slow model gets fewer made-up rows, or no fast path."""
_SEVERAL = (2, 3, 5, 8, 17, 64)
_FIRST = 16
"""Rows of the first boundary request. Its time determines how many more rows are compared."""
_MAX_CELLS = 5
"""Values of a row that a log line shows."""
_ANY = (-np.inf, np.inf)
_BATCHED = 48
"""Rows that the smallest batches are tried with. They are many, because a sum in another order mostly has the same last
digit.
"""


def verify(path: FastPath, respond: Respond, example: bytes | None, batch: int) -> None:
    """Compare a fast path with MLflow's own code, and set which parts may be used.

    Args:
        path: the fast path. Its forms, `several`, `batch` and `seconds` are set.
        respond: returns MLflow's own response to a JSON body.
        example: the model's input example as a request, or None.
        batch: how many requests may be predicted together.

    Raises:
        NotFast: if no part of it may be used.
    """
    example_rows = path.parse(example) if example is not None else None
    probes = _Probes(path, example_rows)
    first = probes.rows(1)
    count = _affordable(path, respond, first)
    _check_forms(path, respond, probes)
    singles = [(first, _check(path, respond, first))]
    singles += [(rows, _check(path, respond, rows)) for rows in (probes.rows(1) for _ in range(count - 1))]
    accepted = [rows[0] for rows, body in singles if body is not None]
    if len(accepted) < _FEWEST / 2:
        raise NotFast("the model accepts too few made-up rows for a comparison")
    _measure(path, accepted[:1])
    _check_several(path, respond, probes)
    accepted += _check_boundaries(path, respond, example_rows)
    _check_batches(path, accepted, batch)


class _Probes:
    """Makes rows near those of the example.

    Without an example, and for a quarter of the calls, the rows are of all magnitudes.
    """

    def __init__(self, path: FastPath, example_rows: Rows | None) -> None:
        self._shape = path.shape
        self._random = np.random.default_rng(20240607)
        self._example = np.asarray(example_rows, dtype=np.float64) if example_rows else None

    def rows(self, count: int) -> Rows:
        made = self._make(count)
        if self._shape.tensor:
            kind = self._shape.kinds[0]
            limited = np.clip(made, *LIMITS.get(kind, _ANY))
            return [_as_tuple(row) for row in (_whole(limited) if kind.startswith("int") else limited).tolist()]
        columns = []
        for kind, values in zip(self._shape.kinds, made.T, strict=True):
            limited = np.clip(values, *LIMITS.get(kind, _ANY))
            columns.append((_whole(limited) if kind.startswith("int") else limited).tolist())
        return list(zip(*columns, strict=True))

    def _make(self, count: int) -> Any:
        size = (count, *self._shape.inner)
        scale = 10.0 ** self._random.integers(-2, 4)
        noise = self._random.normal(size=size)
        if self._example is None or self._random.random() < 0.25:
            return noise * scale
        base = self._example[self._random.integers(0, len(self._example), count)]
        return base * (1 + 0.5 * noise) + 0.1 * noise


def _whole(values: Any) -> Any:
    return np.round(values).astype(np.int64)


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _bodies(path: FastPath, rows: Rows) -> Iterator[tuple[str, bytes]]:
    """Yield a set of rows in every form that the path reads."""
    names = path.shape.names
    if path.shape.tensor:
        for form in ("instances", "inputs"):
            yield form, json.dumps({form: rows}).encode()
            if names:
                yield form, json.dumps({form: {names[0]: rows}}).encode()
        return
    records = [dict(zip(names, row, strict=True)) for row in rows]
    columns = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    yield "dataframe_split", json.dumps({"dataframe_split": {"columns": names, "data": rows}}).encode()
    yield "dataframe_records", json.dumps({"dataframe_records": records}).encode()
    for form in ("instances", "inputs"):
        yield form, json.dumps({form: records}).encode()
        yield form, json.dumps({form: columns}).encode()


def _affordable(path: FastPath, respond: Respond, rows: Rows) -> int:
    """Return the number of rows to compare.

    It depends on the processor time of this thread and not on the elapsed time. A busy node, or throttling while the
    pod starts, says nothing about the model. With elapsed time, it would cost the pod its fast path for as long as it
    runs.

    Raises:
        NotFast: if the model is too slow to compare enough rows.
    """
    body = next(_bodies(path, rows))[1]
    respond(body)  # the first request of a process is slower than all others
    took = []
    for _ in range(2):
        began = time.thread_time()
        respond(body)
        took.append(time.thread_time() - began)
    count = int(_BUDGET / 2 / max(min(took), 1e-6))
    if count < _FEWEST:
        raise NotFast(f"a prediction takes {min(took) * 1000:.0f} ms, too long for the comparison at start-up")
    return min(count, _PROBES)


def _check_forms(path: FastPath, respond: Respond, probes: _Probes) -> None:
    for count in (1, 3):
        for form, body in _bodies(path, probes.rows(count)):
            if form not in path.forms:
                continue
            rows = path.parse(body)
            expected = respond(body)
            if rows is None or _fast(path, rows) != (expected.body if expected.status == 200 else None):
                path.forms.discard(form)
                log.debug("the fast path does not read %s", form)
    if not path.forms:
        raise NotFast("its responses differ from MLflow's")


def _body(path: FastPath, rows: Rows) -> bytes:
    return next(body for form, body in _bodies(path, rows) if form in path.forms)


def _check(path: FastPath, respond: Respond, rows: Rows) -> bytes | None:
    form, body = next((form, body) for form, body in _bodies(path, rows) if form in path.forms)
    expected = respond(body)
    expected_body = expected.body if expected.status == 200 else None
    parsed = path.parse(body)
    if parsed is None or _fast(path, parsed) != expected_body:
        raise NotFast(f"its response to {len(rows)} rows in {form} differs from MLflow's")
    return expected_body


def _fast(path: FastPath, rows: Rows) -> bytes | None:
    try:
        return path.request(rows)
    except Exception:
        return None


def _measure(path: FastPath, rows: Rows) -> None:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        path.request(rows)
        times.append(time.perf_counter() - began)
    path.seconds = min(times)


def _check_several(path: FastPath, respond: Respond, probes: _Probes) -> None:
    try:
        for count in _SEVERAL:
            _check(path, respond, probes.rows(count))
    except NotFast as reason:
        path.several = False
        log.info("MLflow's own code predicts requests of several rows: %s", reason)


def _check_boundaries(path: FastPath, respond: Respond, example_rows: Rows | None) -> Rows:
    """Compare rows of values at which two conversions of a number can differ.

    Many rows go into one request, which costs little more than a request of one row. If the path does not take requests
    of several rows, a few are compared one by one.

    Returns:
        The rows that were compared.

    Raises:
        NotFast: if the responses differ. The message has the columns and values.
    """
    examples = [list(boundaries.flat(row)) for row in example_rows or []]
    rows = [row for row in boundaries.rows(path.shape, examples, path.split_points) if _reads(path, row)]
    rows = _with_response(path, rows)
    first = evenly(rows, _FIRST)
    if path.several:
        began = time.thread_time()
        _compare(path, respond, first)
        took = max(time.thread_time() - began, 1e-6)
        rows = evenly(rows, max(int(len(first) * _BUDGET / 4 / took), len(first)))
        _compare(path, respond, rows)
    else:
        rows = first
        for row in rows:
            _compare(path, respond, [row])
    _compare_confidence(path, rows)
    return rows


def _reads(path: FastPath, row: Any) -> bool:
    return path.parse(_body(path, [row])) is not None


def _with_response(path: FastPath, rows: Rows) -> Rows:
    """Return the rows for which the fast path has a response.

    MLflow's own code responds to requests with the other rows.
    """
    if not rows or _fast(path, rows) is not None:
        return rows
    middle = len(rows) // 2
    return _with_response(path, rows[:middle]) + _with_response(path, rows[middle:]) if middle else []


def _compare(path: FastPath, respond: Respond, rows: Rows) -> None:
    if rows and _differs(path, respond, rows):
        different = _narrowed(rows, lambda some: _differs(path, respond, some))
        raise NotFast(f"its response to {_described(path, different)} differs from MLflow's")


def _differs(path: FastPath, respond: Respond, rows: Rows) -> bool:
    """Tell whether the fast path has a response that differs from MLflow's bytes."""
    body = _body(path, rows)
    parsed = path.parse(body)
    ours = _fast(path, parsed) if parsed is not None else None
    if ours is None:
        return False
    expected = respond(body)
    return expected.status != 200 or expected.body != ours


def _compare_confidence(path: FastPath, rows: Rows) -> None:
    """Compare the scores for an array with those for a DataFrame.

    Equal labels may hide scores that differ.
    """
    confidence = path.predictor.confidence
    if confidence is None or path.shape.tensor or not rows:
        return

    def differs(some: Rows) -> bool:
        ours, theirs = confidence(path.matrix(some)), confidence(conversions.data_frame(path.shape, some))
        return not np.array_equal(np.asarray(ours), np.asarray(theirs), equal_nan=True)

    if differs(rows):
        raise NotFast(f"its scores for {_described(path, _narrowed(rows, differs))} differ from those for a DataFrame")


def _narrowed(rows: Rows, differs: Callable[[Rows], bool]) -> Rows:
    """Return one row for which the responses differ, or as few rows as still differ."""
    while len(rows) > 1:
        middle = len(rows) // 2
        half = next((half for half in (rows[:middle], rows[middle:]) if differs(half)), None)
        if half is None:
            return rows
        rows = half
    return rows


def _described(path: FastPath, rows: Rows) -> str:
    """Describe rows for a log line: the first values of a single row, or the count."""
    if len(rows) != 1:
        return f"{len(rows)} rows together"
    values = list(boundaries.flat(rows[0]))
    names = path.shape.names if not path.shape.tensor else [f"value {number}" for number in range(len(values))]
    cells = [f"{name}={value!r}" for name, value in zip(names, values, strict=True)]
    return (
        "a row with "
        + ", ".join(cells[:_MAX_CELLS])
        + (f" and {len(cells) - _MAX_CELLS} more" if len(cells) > _MAX_CELLS else "")
    )


def _check_batches(path: FastPath, rows: Rows, batch: int) -> None:
    """Find the largest batch whose responses equal those for each row alone.

    Args:
        path: the fast path. Its `batch` is set.
        rows: rows whose responses equal MLflow's.
        batch: the largest batch to try.
    """
    if batch < 2 or path.predictor.singles is None:
        log.info("no batching: %s", path.predictor.unbatched or "--batch is below 2")
        return
    random = np.random.default_rng(7)
    rows = evenly(rows, _BATCHED)
    alone = [_fast(path, [row]) for row in rows]
    # Libraries change the order of a sum at sizes of their own, so each size is tried while that is quick.
    began = time.thread_time()
    for size in range(2, batch + 1):
        if size > 8 and size not in (16, 31, batch) and time.thread_time() - began > _BUDGET / 32:
            continue
        try:
            for _ in range(_BATCHED // size if size <= 4 else 1):
                chosen = random.integers(0, len(rows), size)
                together = [rows[number] for number in chosen]
                if path.singles(together) != [alone[number] for number in chosen]:
                    raise NotFast(f"the response to a row depends on the other rows of a batch of {size}")
            _check_confidence(path, together)
        except Exception as reason:
            log.info("%s: %s", f"at most {path.batch} rows per batch" if path.batch > 1 else "no batching", reason)
            return
        path.batch = size


def _check_confidence(path: FastPath, rows: Rows) -> None:
    """Compare the scores of rows together with those of each row alone.

    Equal labels may hide scores that differ.

    Raises:
        NotFast: if the scores differ.
    """
    confidence = path.predictor.confidence
    if confidence is None:
        return
    matrix = path.matrix(rows)
    together = np.asarray(confidence(matrix))
    alone = np.concatenate([np.asarray(confidence(matrix[number : number + 1])) for number in range(len(matrix))])
    if not np.array_equal(together, alone, equal_nan=True):
        raise NotFast("the scores of a row depend on the other rows of its batch")
