"""The columns of a signature: how JSON values are read, and how pandas stores them.

Only values that every step of MLflow's code would leave as they are, or change in one known way, are read. MLflow's own
code handles a body with any other value.
"""

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from msgspec import UNSET, Meta

from sluicegate_scorer.server.fast.shape import LIMITS, NotFast, Rows

try:
    from pandas.api.internals import create_dataframe_from_blocks
except ImportError:  # before pandas 3
    create_dataframe_from_blocks = None

Values = Sequence[Any]

MAX_COLUMNS = 4096
"""Columns of a signature. The decoder of each model would grow, and wider rows take most of their time in parsing."""
_DATES = "0000-00-00"
_TIMES = tuple(f"{_DATES}{separator}00:00:00" for separator in "T ")
_SHAPES = frozenset({_DATES, *_TIMES, *(f"{time}.{'0' * digits}" for time in _TIMES for digits in range(1, 10))})
"""Date formats that pandas and numpy read alike, with 0 for each digit."""
_DIGITS = str.maketrans("123456789", "0" * 9)
_YEARS = ("1700", "2200")
"""Every time between these years fits into 64 bits of nanoseconds. numpy does not report an overflow."""


def _limited(number: type, least: float, most: float) -> Any:
    return Annotated[number, Meta(ge=least, le=most)]


_JSON: dict[str, Any] = {
    "double": float,
    "float": _limited(float, *LIMITS["float32"]),
    "long": _limited(int, -(2**63), 2**63 - 1),
    "integer": _limited(int, *LIMITS["int32"]),
    "boolean": bool,
    "string": str,
    "datetime": str,
    "binary": str,
}
NULLABLE = frozenset({"double", "float", "boolean", "string", "datetime"})
"""Types of which MLflow accepts null: as NaN, NaT, or False. It rejects a null of the other types."""
_DTYPES = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "bool",
    "datetime": "datetime64[ns]",
    "binary": "object",
    "string": "object",
}


class Column(NamedTuple):
    """A column of a signature. `kind` is MLflow's name of its type."""

    name: str
    kind: str
    required: bool

    def json(self, nulls: bool) -> Any:
        """Return the type that decodes a value."""
        kind = _JSON[self.kind]
        return kind | None if nulls and self.kind in NULLABLE else kind


def columns_of(schema: Any) -> tuple[Column, ...]:
    """Return the columns of a signature.

    Raises:
        NotFast: if MLflow's own code has to read the bodies.
    """
    if schema is None:
        raise NotFast("the model has no signature")
    if schema.is_tensor_spec():
        raise NotFast("the signature has a tensor")
    if not schema.has_input_names():
        raise NotFast("the signature's columns have no names")
    columns = tuple(
        Column(spec.name, str(getattr(spec.type, "name", spec.type)), bool(spec.required)) for spec in schema.inputs
    )
    names = {column.name for column in columns}
    if len(names) != len(columns) or not all(isinstance(name, str) and name.isprintable() for name in names):
        raise NotFast("the signature has unusual column names")
    if len(columns) > MAX_COLUMNS:
        raise NotFast(f"the signature has {len(columns)} columns")
    strange = sorted({column.kind for column in columns} - set(_JSON))
    if strange:
        raise NotFast(f"the signature has columns of other types ({', '.join(strange)})")
    return columns


def dates(values: Values) -> Values | None:
    """Return date texts if pandas reads them all by one format, and they are valid."""
    texts = [value for value in values if value is not None]
    if not texts:
        return values
    shape = texts[0].translate(_DIGITS)
    if shape not in _SHAPES or any(len(text) != len(shape) for text in texts):
        return None
    if "".join(texts).translate(_DIGITS) != shape * len(texts) or not _YEARS[0] <= min(texts) <= max(texts) < _YEARS[1]:
        return None
    try:
        np.array(texts, dtype="datetime64[ns]")
    except ValueError:
        return None
    return values


def binaries(values: Values) -> Values | None:
    """Return the bytes that base64 texts stand for, decoded as MLflow does it."""
    try:
        return [base64.decodebytes(value.encode()) for value in values]
    except binascii.Error:
        return None


READERS: dict[str, Callable[[Values], Values | None]] = {"datetime": dates, "binary": binaries}
"""What is done with the decoded values of a column. The result is None if MLflow's own code has to read the body."""


def without_unset(kind: str, values: Values) -> Values | None:
    """Return the values of an optional column that only some of the records have.

    The result is None if MLflow's own code has to read the body. It makes True of a missing boolean, for example.
    """
    if kind in ("double", "float", "datetime"):
        missing = None
    elif kind == "string" and any(type(value) is str for value in values):
        missing = math.nan if string_dtype() == np.dtype(object) else None
    else:
        return None
    return [missing if value is UNSET else value for value in values]


@lru_cache(1)
def string_dtype() -> Any:
    """Return the type that pandas infers for texts. It depends on pandas' version, its options and pyarrow."""
    return pd.DataFrame([["a"]])[0].dtype


class Builder:
    """Makes DataFrames with given columns, from rows that have been read.

    The DataFrame has the blocks that MLflow's enforcement of the signature leaves: one array for all columns of a type.
    The last digit of a sum may depend on that.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._names = pd.Index([column.name for column in columns])
        texts = string_dtype()
        self._texts: tuple[int, ...] = ()
        if texts != np.dtype(object):
            self._texts = tuple(number for number, column in enumerate(columns) if column.kind == "string")
            self._text = partial(texts.construct_array_type()._from_sequence, dtype=texts)
        self._dtypes = [_DTYPES[column.kind] for column in columns]
        self._blocks = lru_cache(16)(self._plan)
        self._dtype = self._dtypes[0] if len(set(self._dtypes)) == 1 and not self._texts else None
        self._all = np.arange(len(columns))

    def depends_on_other_rows(self, rows: Rows) -> bool:
        """Tell whether other rows in the DataFrame would change how it stores these."""
        return any(all(row[number] is None for row in rows) for number in self._texts)

    def frame(self, rows: Rows, index: pd.Index | None = None) -> pd.DataFrame:
        """Return the DataFrame of rows, with the row labels 0, 1, and so on by default."""
        if self._dtype is not None:
            blocks = [(np.ascontiguousarray(np.array(rows, dtype=self._dtype).T), self._all)]
        else:
            columns = list(zip(*rows, strict=True))
            nulls = tuple(number for number in self._texts if columns[number].count(None) == len(rows))
            blocks = [(make([columns[n] for n in numbers]), numbers) for make, numbers in self._blocks(nulls)]
        if index is None:
            index = pd.RangeIndex(len(rows))
        if create_dataframe_from_blocks is not None:
            # A model may rename its own view of the names. Their values are read-only.
            return create_dataframe_from_blocks(blocks, index=index, columns=self._names.view())
        if self._dtype is not None and self._dtype != "object":
            return pd.DataFrame(blocks[0][0].T, index=index, columns=self._names.copy(deep=True))
        made: dict[int, Any] = {}
        for block, numbers in blocks:
            made.update(zip(numbers, [block] if block.ndim == 1 else block, strict=True))
        return pd.DataFrame({name: made[number] for number, name in enumerate(self._names)}, index=index)

    def _plan(self, nulls: tuple[int, ...]) -> list[tuple[Callable[[list[Values]], Any], Any]]:
        """Return how each block is made, and the numbers of its columns.

        Args:
            nulls: numbers of the text columns that have no text. pandas stores them as objects.
        """
        blocks: dict[Any, list[int]] = {}
        texts = set(self._texts) - set(nulls)
        for number, dtype in enumerate(self._dtypes):
            blocks.setdefault(number if number in texts else dtype, []).append(number)
        return [
            (partial(np.array, dtype=key) if isinstance(key, str) else self._alone, np.array(numbers))
            for key, numbers in blocks.items()
        ]

    def _alone(self, columns: list[Values]) -> Any:
        return self._text(list(columns[0]))
