"""Compares the frame path with MLflow's own code at start-up, byte for byte."""

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sluicegate_scorer.server.asgi import Response
from sluicegate_scorer.server.fast import plan as plans
from sluicegate_scorer.server.fast.frame_path import FramePath
from sluicegate_scorer.server.fast.frame_rows import JsonRows
from sluicegate_scorer.server.fast.shape import NotFast, Rows
from sluicegate_scorer.server.fast.split_points import evenly
from sluicegate_scorer.server.frames import Frames

log = logging.getLogger("sluicegate_scorer.serve")

Respond = Callable[[bytes], Response]
JsonRow = list[Any]

_ALONE = 14
"""Rows that are compared alone, in turns of the forms. Odd rows are compared together as well."""
_SEVERAL = (2, 3, 5, 17)
_CELLS, _FEW = 6000, 12
"""Values of all usual rows that are compared together, and of all odd ones; and the fewest rows of each."""
_USUAL, _ODD = 120, 200
"""The most rows of each that are compared together."""
_FEWEST = 3
"""Rows that have to be compared alone."""
_ACCEPTED = 2
_BUDGET = 2.0
"""Seconds of processor time that the comparison may take. A slow model gets fewer rows, or no fast path."""
_BATCHED = 48
"""Rows of which batches are made."""


def build(model: Any, decoder: Frames, respond: Respond, example: bytes | None, batch: int) -> FramePath:
    """Return the frame path of a loaded pyfunc model after the comparison.

    Args:
        model: the model.
        decoder: makes its DataFrames.
        respond: returns MLflow's own response to a JSON body.
        example: the model's input example as a request, or None.
        batch: how many requests may be predicted together.

    Raises:
        NotFast: if the model has no frame path.
    """
    rows = JsonRows(model, example)
    form = min(decoder.forms)
    first = decoder.rows(rows.body([rows.first()], form))
    if first is None:
        raise NotFast("MLflow's own code has to parse its example")
    path = FramePath(model, decoder, first[0])
    _Comparison(path, respond, rows).run(batch)
    return path


class _Comparison:
    """Compares one path.

    Args:
        path: its `forms`, `several`, `seconds` and `batch` are set, and its `plan` is removed if it differs.
        respond: returns MLflow's own response to a JSON body.
        rows: makes rows.
    """

    def __init__(self, path: FramePath, respond: Respond, rows: JsonRows) -> None:
        self._path, self._respond, self._rows = path, respond, rows
        self._accepted: Rows = []
        """Rows that the model predicts."""

    def run(self, batch: int) -> None:
        """Compare everything.

        Raises:
            NotFast: if the path may not be used.
        """
        rows = self._rows
        count = self._affordable()
        limit = max(_CELLS // len(rows.names), _FEW)
        odd = list(rows.odd(min(limit, _ODD)))
        together = [rows.first(), *(rows.usual() for _ in range(min(limit, _USUAL)))]
        self._check_plan([*together, *odd])
        usual = [rows.first(), *(rows.usual() for _ in range(count // 2))]
        for number, row in enumerate([*usual, *evenly(odd, count - len(usual))]):
            for form in sorted(self._path.forms)[number % 2 :: 2] or self._path.forms:
                if self._same([row], form):
                    self._accepted += self._parsed([row], form) or []
        if len(self._accepted) < _ACCEPTED:
            raise NotFast("the model accepts too few made-up rows for a comparison")
        self._measure()
        self._check_several(together, odd)
        self._check_batches(batch)

    def _affordable(self) -> int:
        """Return the number of rows to compare alone.

        It depends on the processor time of this thread, and not on how busy the node is.

        Raises:
            NotFast: if the model is too slow to compare enough rows.
        """
        body = self._rows.body([self._rows.first()], min(self._path.forms))
        self._respond(body)  # the first request of a process is slower than all others
        began = time.thread_time()
        self._respond(body)
        took = time.thread_time() - began
        count = int(_BUDGET / 2 / max(took, 1e-6))
        if count < _FEWEST:
            raise NotFast(f"a prediction takes {took * 1000:.0f} ms, too long for the comparison at start-up")
        return min(count, _ALONE)

    def _parsed(self, rows: list[JsonRow], form: str) -> Rows | None:
        return self._path.parse(self._rows.body(rows, form))

    def _same(self, rows: list[JsonRow], form: str) -> bool:
        """Compare one request.

        Returns:
            Whether the path has a response.

        Raises:
            NotFast: if it differs from MLflow's.
        """
        body = self._rows.body(rows, form)
        parsed = self._path.parse(body)
        ours = _body(self._path, parsed) if parsed is not None else None
        if ours is None:
            return False
        expected = self._respond(body)
        if expected.status != 200 or expected.body != ours:
            shown = repr(rows[0]) if len(rows) == 1 else f"{len(rows)} rows"
            raise NotFast(f"its response to {shown[:200]} in {form} differs from MLflow's")
        return True

    def _check_plan(self, rows: list[JsonRow]) -> None:
        """Compare the tables of the plan with those of the pipeline's own first step.

        An equal table gives equal predictions, and shows what equal predictions may hide.
        """
        plan = self._path.plan
        if plan is None:
            return
        form, first = min(self._path.forms), self._rows.first()
        # A column of missing texts only is not read, so each row follows a usual one.
        parsed = [parsed[1] for row in rows if (parsed := self._parsed([first, row], form)) is not None]
        planned = _planned(plan, parsed)
        reason = None
        if not planned or _table(plan, parsed[:1]) is None:
            reason = "its values have no plan"
        elif (row := _different(self._path, plan, planned)) is not None:
            reason = f"its plan differs at {row!r:.200}"
        if reason is not None:
            log.info("scikit-learn's own pipeline predicts: %s", reason)
            self._path.drop_plan()

    def _measure(self) -> None:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            self._path.request(self._accepted[:1])
            times.append(time.perf_counter() - began)
        self._path.seconds = min(times)

    def _check_several(self, usual: list[JsonRow], odd: list[JsonRow]) -> None:
        """Compare requests of several rows, the largest of which holds the odd rows too."""
        form = min(self._path.forms)
        usual = self._predicted(usual, form)
        taken = self._predicted([usual[0], *odd], form)
        alone = [one for row in [*usual, *taken] for one in self._parsed([row], form) or []]
        self._accepted += [row for row in evenly(alone, _BATCHED) if _body(self._path, [row]) is not None]
        try:
            for count in _SEVERAL:
                self._same(usual[:count], form)
            if not self._same([*usual, *taken], form):
                raise NotFast("the model does not predict the made-up rows")
            parsed = self._parsed([*usual, *taken], form) or []
            if self._path.framed(parsed) != self._path.request(parsed):  # a larger request has no plan
                raise NotFast("a plan and a DataFrame give different predictions")
        except NotFast as reason:
            self._path.several = False
            log.info("MLflow's own code predicts requests of several rows: %s", reason)

    def _predicted(self, rows: list[JsonRow], form: str) -> list[JsonRow]:
        """Return the rows that the path predicts. The first row, which it does, is among each part that is tried."""
        parsed = self._parsed(rows, form)
        if parsed is not None and _body(self._path, parsed) is not None:
            return rows
        first, others = rows[0], rows[1:]
        if len(others) < 2:
            return [first]
        halves = (others[: len(others) // 2], others[len(others) // 2 :])
        return [first, *(row for half in halves for row in self._predicted([first, *half], form)[1:])]

    def _check_batches(self, batch: int) -> None:
        """Find the largest batch whose responses equal those for each row alone."""
        path = self._path
        if batch < 2 or path.unbatched:
            log.info("no batching: %s", path.unbatched or "--batch is below 2")
            return
        random = np.random.default_rng(7)
        rows = [
            row for row in evenly(self._accepted, _BATCHED) if path.plan is None or _table(path.plan, [row]) is not None
        ]
        alone = [_body(path, [row]) for row in rows]
        began = time.thread_time()
        try:
            scores = _scores(path, [[row] for row in rows])
            for size in range(2, batch + 1):
                took = time.thread_time() - began
                if took > _BUDGET / 2:
                    break
                if size > 8 and size not in (16, 31, batch) and took > _BUDGET / 16:
                    continue
                chosen = random.integers(0, len(rows), size).tolist()
                together = [rows[number] for number in chosen]
                if path.singles(together) != [alone[number] for number in chosen]:
                    raise NotFast(f"the response to a row depends on the other rows of a batch of {size}")
                if scores is not None and not _equal(_scores(path, [together]), [scores[number] for number in chosen]):
                    raise NotFast("the scores of a row depend on the other rows of its batch")
                path.batch = size
        except Exception as reason:
            log.info("%s: %r", f"at most {path.batch} rows per batch" if path.batch > 1 else "no batching", reason)


def _body(path: FramePath, rows: Rows) -> bytes | None:
    try:
        return path.request(rows)
    except Exception:
        return None


def _table(plan: plans.Plan, rows: Rows) -> Any:
    try:
        return plan.table(rows)
    except Exception:
        return None


def _planned(plan: plans.Plan, rows: Rows) -> Rows:
    """Return the rows of which the plan makes a table."""
    if not rows or _table(plan, rows) is not None:
        return rows
    middle = len(rows) // 2
    return _planned(plan, rows[:middle]) + _planned(plan, rows[middle:]) if middle else []


def _different(path: FramePath, plan: plans.Plan, rows: Rows) -> Any:
    """Return a row, or rows, at which the plan's table differs from that of the pipeline; None if there are none."""
    ours, theirs = _table(plan, rows), plan.first.transform(path.frames.frame(rows))
    if ours is None or not plans.same_tables(ours, theirs):
        if len(rows) == 1:
            return rows[0]
        middle = len(rows) // 2
        halves = (rows[:middle], rows[middle:])
        return next((found for half in halves if (found := _different(path, plan, half)) is not None), rows[:3])
    return None


def _scores(path: FramePath, requests: list[Rows]) -> list[Any] | None:
    """Return the continuous values behind the labels of requests; None if there are none.

    Equal labels may hide scores that differ.
    """
    plan = path.plan
    confidence = plan.confidence if plan is not None else path.confidence
    if confidence is None:
        return None
    if plan is not None:
        return [confidence(plan.prepared(plan.table(rows))) for rows in requests]
    return [confidence(path.frames.frame(rows)) for rows in requests]


def _equal(ours: list[Any] | None, theirs: list[Any]) -> bool:
    parts = np.concatenate([np.asarray(part) for part in theirs])
    return ours is not None and np.array_equal(np.asarray(ours[0]), parts, equal_nan=True)
