"""Rows for the start-up comparison, at which two conversions can differ.

A wrong conversion of a number shows only at few values. A cast to float32, for example, merges integers above 2^24, and
only a model that tells those apart predicts differently. The rows therefore hold the neighbors of values from the
model's example and its trees, and the limits of each element type.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sluicegate_scorer.server.fast.shape import Rows, Shape
from sluicegate_scorer.server.fast.split_points import SplitPoints, evenly

_CELLS = 6000
"""Values of all rows together. MLflow's own code takes about 2 microseconds for each."""
_FEWEST, _MOST = 8, 200
_EXAMPLES = 3
"""Rows of the example whose neighbors are tried."""
_SINGLE, _DOUBLE = 2**24, 2**53
"""Above these, a float32 and a double no longer hold every integer."""
_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_NARROW = [0, 1, -1, _SINGLE - 1, _SINGLE + 1, -_SINGLE - 1, _SINGLE + 3, 2**31 - 1, -(2**31)]
_WIDE = [*_NARROW, 2**31 + 1, _DOUBLE - 1, 1 - _DOUBLE, _DOUBLE + 1, 2**63 - 1, -(2**63)]
_REAL = [*_WIDE, -0.0, 0.1, _TINY, _TINY / 2, _HUGE, -_HUGE, 5e-324, 1.7e308]
_REAL += [float("inf"), float("-inf"), float("nan")]
EDGES: dict[str, list[Any]] = {"int32": _NARROW, "int64": _WIDE, "float32": _REAL, "float64": _REAL}
"""Limits of each element type. The caller of `rows` drops rows with values that the fast path does not read, such as
NaN.
"""


def rows(shape: Shape, examples: list[list[float]], points: SplitPoints) -> Rows:
    """Make the rows. The same arguments always give the same rows.

    The first half has values near those of the example and the trees, in every column. The other half has limits of
    types, in every column at once and in one column at a time. A limit in one column can hide a difference in the other
    columns.

    Args:
        shape: what the signature requires.
        examples: flat rows of the model's example, or none.
        points: the model's split points.
    """
    kinds = shape.kinds * int(np.prod(shape.inner)) if shape.tensor else shape.kinds
    limit = min(max(_CELLS // len(kinds), _FEWEST), _MOST)
    random = np.random.default_rng(20240607)
    sampled = evenly(examples, _EXAMPLES)
    near = []
    for column, kind in enumerate(kinds):
        values = neighbors(kind, [row[column] for row in sampled], points.get(column, []))
        near.append([values[number] for number in random.permutation(len(values))])
    count = min(max(map(len, near)), limit // 2)
    made = [[values[number % len(values)] for values in near] for number in range(count)]
    edges = max(len(EDGES[kind]) for kind in kinds)
    limits = [[EDGES[kind][number % len(EDGES[kind])] for kind in kinds] for number in range(edges)]
    for number in range(max(edges, len(kinds))):
        row = list(made[number % count])
        column = number % len(kinds)
        row[column] = random.choice(np.array(EDGES[kinds[column]], dtype=object))
        limits.append(row)
    return [_shaped(shape, row) for row in made + evenly(limits, limit - count)]


def neighbors(kind: str, examples: list[float], points: list[float]) -> list[Any]:
    """Return the values of one column and their neighbors, each once.

    The values are those of the example and the split points.
    """
    if kind.startswith("int"):
        limits = np.iinfo(kind)
        whole = {int(value) + step for value in examples for step in (-1, 0, 1)}
        whole |= {int(np.floor(value)) + step for value in points for step in (-1, 0, 1, 2)}
        inside = {value for value in whole if limits.min <= value <= limits.max}
        return sorted(inside | {0, 1, -1})
    values = {0.0, 1.0, -1.0, *examples, *points}
    for value in [*examples, *points]:
        for step in (_by_float32, float):
            values |= {float(np.nextafter(step(value), step(way))) for way in (-np.inf, np.inf)}
        values |= {value - 1, value + 1} if value in examples else {float(_by_float32(value))}
    return sorted(values)


def _by_float32(value: float) -> Any:
    with np.errstate(over="ignore"):
        return np.float32(value)


def flat(value: Any) -> Iterator[Any]:
    """Yield the numbers of a row, whatever its dimensions."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from flat(item)
    else:
        yield value


def _shaped(shape: Shape, row: list[Any]) -> Any:
    values: Any = tuple(row)
    for size in reversed(shape.inner[1:]):
        values = tuple(values[start : start + size] for start in range(0, len(values), size))
    return values
