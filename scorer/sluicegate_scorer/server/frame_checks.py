"""Comparison of DataFrames that the server makes with those of MLflow's own code.

It runs at start-up, with the versions of MLflow and pandas that serve the model. The model is not called.
"""

import base64
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pandas as pd
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc import scoring_server

from sluicegate_scorer.server.columns import NULLABLE
from sluicegate_scorer.server.fast.shape import Rows

SPLIT, RECORDS = "dataframe_split", "dataframe_records"
_TEXTS = ["", "a", "caf\u00e9", "\U0001f600", "nan", "None", "1", "2024-01-01", "true", "x y"]
_DATES = [
    ["2024-02-29", "1969-12-31", "2199-12-31"],
    ["2024-01-01T00:00:00", "1970-01-01T23:59:59"],
    ["2024-01-01 12:30:00.5", "1700-01-01 00:00:00.0"],
    ["2024-01-01T12:30:00.123456", "2000-12-31T23:59:59.999999"],
    ["2024-01-01T12:30:00.123456789", "1999-12-31T23:59:59.000000001"],
]


def check(frames: Any) -> tuple[set[str], bool]:
    """Compare the DataFrames of `frames` with MLflow's.

    Returns:
        The forms whose DataFrames are the same, and whether they are also those of MLflow's enforcement of the
        signature, with the same arrangement in memory.
    """
    forms, enforced = set(frames.forms), not frames.metadata._is_type_hint_from_example()
    for form, body in _bodies(frames.columns, frames.nulls):
        if form in forms:
            same, arranged = _compare(frames, body)
            enforced = enforced and arranged
            if not same:
                forms.discard(form)
    return forms, enforced and bool(forms)


def _compare(frames: Any, body: bytes) -> tuple[bool, bool]:
    ours = frames.parse(body)
    if ours is None:
        return False, False
    parsed = scoring_server._parse_json_data(body.decode(), frames.metadata, frames.schema)  # type: ignore[no-untyped-call]
    theirs = _enforce_schema(parsed.data, frames.schema)
    arranged = equal(ours, theirs) and same_blocks(ours, theirs)
    return arranged or equal(_enforce_schema(ours, frames.schema), theirs), arranged


def _bodies(columns: Any, nulls: bool) -> Iterator[tuple[str, bytes]]:
    made = random.Random(20240607)
    names = [column.name for column in columns]
    records = [_rows(made, columns, count, 0.3 if nulls else 0) for count in (7, 1)]
    splits = [_rows(made, columns, count, 0.3 if nulls else 0) for count in (7, 2)]
    if nulls:
        empty = _rows(made, columns, 1, 1)
        yield RECORDS, _encode(RECORDS, _records(names, empty))
        yield SPLIT, _encode(SPLIT, {"columns": names, "data": empty})
    yield RECORDS, _encode(RECORDS, _records(names, records[0]))
    yield SPLIT, _encode(SPLIT, {"columns": names, "data": splits[0], "index": list(range(7))})
    required = [column for column in columns if column.required]
    if 0 < len(required) < len(columns):
        few = _rows(made, required, 2, 0)
        few_names = [column.name for column in required]
        yield RECORDS, _encode(RECORDS, _records(few_names, few))
        yield SPLIT, _encode(SPLIT, {"columns": few_names[::-1], "data": [row[::-1] for row in few]})
    yield RECORDS, _encode(RECORDS, _records(names, records[1]))
    yield SPLIT, _encode(SPLIT, {"columns": names, "data": splits[1]})
    yield SPLIT, _encode(SPLIT, {"columns": names, "data": splits[1], "index": ["b", "a"]})
    for column in columns:
        if not column.required and nulls and column.kind in ("string", "double", "float", "datetime"):
            some = _records(names, _rows(made, columns, 3, 0))
            del some[1][column.name]
            yield RECORDS, _encode(RECORDS, some)
            break


def _encode(form: str, value: Any) -> bytes:
    return msgspec.json.encode({form: value})


def _records(names: list[str], rows: Rows) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def _rows(made: random.Random, columns: Any, count: int, nulls: float) -> Rows:
    values = []
    for column in columns:
        one = _values(made, column.kind, count)
        if column.kind in NULLABLE:
            one = [None if made.random() < nulls else value for value in one]
        values.append(one)
    return list(zip(*values, strict=True))


def _values(made: random.Random, kind: str, count: int) -> list[Any]:
    """Make values of a type.

    Some are whole numbers even in columns of fractions, because MLflow has to cast those.
    """
    if kind == "string":
        return [made.choice(_TEXTS) for _ in range(count)]
    if kind == "datetime":
        return made.choices(made.choice(_DATES), k=count)
    if kind == "binary":
        return [base64.encodebytes(made.randbytes(made.randint(0, 9))).decode() for _ in range(count)]
    if kind == "boolean":
        return [made.random() < 0.5 for _ in range(count)]
    numbers = [made.gauss(0, 1) * 10.0 ** made.randint(-2, 6) for _ in range(count)]
    if kind == "long":
        return [round(number * 2 ** made.randint(0, 39)) for number in numbers]
    if kind == "integer":
        return [round(number) for number in numbers]
    return [round(number) if made.random() < 0.3 else number for number in numbers]


def equal(ours: pd.DataFrame, theirs: Any) -> bool:
    """Tell whether two DataFrames are the same to a model.

    They have the same types and labels, and the same values to the last bit.
    """
    return (
        type(theirs) is pd.DataFrame
        and all(_same_labels(*pair) for pair in ((ours.columns, theirs.columns), (ours.index, theirs.index)))
        and all(_same_values(ours.iloc[:, n].array, theirs.iloc[:, n].array) for n in range(len(ours.columns)))
    )


def _same_labels(ours: pd.Index, theirs: pd.Index) -> bool:
    return (
        type(ours) is type(theirs) and ours.dtype == theirs.dtype and ours.equals(theirs) and ours.name == theirs.name
    )


def _same_values(ours: Any, theirs: Any) -> bool:
    if type(ours) is not type(theirs) or ours.dtype != theirs.dtype:
        return False
    if str(ours.dtype) == "object" or not hasattr(ours.dtype, "itemsize"):
        pairs = list(zip(ours, theirs, strict=True))
        return all(type(one) is type(other) and (one == other or one is other or one != one) for one, other in pairs)
    return bool(ours.to_numpy().tobytes() == theirs.to_numpy().tobytes())


def same_blocks(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    """Tell whether two equal DataFrames store their columns in the same arrays, in the same order of memory."""
    return _blocks(ours) == _blocks(theirs)


def _blocks(frame: pd.DataFrame) -> list[Any]:
    found = []
    for block in frame._mgr.blocks:
        flags = getattr(getattr(block.values, "_ndarray", block.values), "flags", None)
        order = (flags.c_contiguous, flags.f_contiguous, flags.writeable) if flags is not None else None
        found.append((list(block.mgr_locs), type(block.values), order))
    return found
