"""Parts of a table that a pipeline's transformers make, each from the values of a request.

scikit-learn spends most of the time of a small request on slicing the DataFrame and checking it again in every
transformer. A block gives the transformer the values themselves. What an encoder makes of a value is learned from the
encoder when the server starts.
"""

import contextlib
import copy
import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sluicegate_scorer.server.fast import rowwise
from sluicegate_scorer.server.fast.shape import NotFast, Rows

log = logging.getLogger("sluicegate_scorer.serve")

_ENCODERS = {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}
_BEFORE_ENCODERS = {"SimpleImputer"}
_VECTORIZERS = {"CountVectorizer", "TfidfVectorizer", "HashingVectorizer"}
_NUMERIC = {
    *("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "SimpleImputer", "FunctionTransformer"),
    *("QuantileTransformer", "KBinsDiscretizer", "Binarizer", "PolynomialFeatures"),
}
_EXACT = {"i": int, "u": int, "b": bool}
UNSEEN = "\u2603 a text that no encoder has seen"
_MOST_CELLS, _CELLS = 25_000_000, 500_000
"""Values from which the outputs of one encoder are learned: all, and at once."""


_TRIED = 16
"""Columns whose odd values are tried one by one."""


class Unplanned(Exception):
    """A block leaves a request to the model's own code."""

    def __init__(self) -> None:
        super().__init__("a value that the model's own code has to convert")


class Columns:
    """The values of a request, by column.

    Args:
        rows: values in the order of the signature.
        frame: makes the DataFrame that MLflow's code would pass to the model.
    """

    def __init__(self, rows: Rows, frame: Callable[[Rows], pd.DataFrame]) -> None:
        self.rows = rows
        self.raw: Sequence[Sequence[Any]] = list(zip(*rows, strict=True))
        self._frame = frame

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Return the DataFrame of the rows."""
        return self._frame(self.rows)


class Numbers:
    """Columns of numbers as an array, and transformers of numbers.

    Args:
        kinds: position and element type of each column.
        dtype: the type of the array that pandas makes of the columns.
        transformers: the fitted transformers, in their order.
    """

    def __init__(self, kinds: list[tuple[int, np.dtype[Any]]], dtype: np.dtype[Any], transformers: list[Any]) -> None:
        self._kinds, self._dtype = kinds, dtype
        self._transformers = [_without_names(transformer) for transformer in transformers]

    def __call__(self, columns: Columns) -> Any:
        """Return the output of the last transformer."""
        values: Any = np.empty((len(columns.rows), len(self._kinds)), self._dtype, order="F")
        for number, (position, kind) in enumerate(self._kinds):
            column = columns.raw[position]
            exact = _EXACT.get(kind.kind)
            if exact is not None and not all(type(value) is exact for value in column):  # numpy would convert them
                raise Unplanned
            values[:, number] = np.array(column, dtype=kind)
        for transformer in self._transformers:
            values = transformer.transform(values)
        return values


class Texts:
    """One column of texts, which a vectorizer reads.

    Args:
        position: of the column in the signature.
        transformers: the vectorizer and the transformers after it.
    """

    def __init__(self, position: int, transformers: list[Any]) -> None:
        self._position, self._transformers = position, transformers

    def __call__(self, columns: Columns) -> Any:
        """Return the output of the last transformer."""
        values: Any = columns.raw[self._position]
        if not all(type(value) is str for value in values):
            raise Unplanned
        values = list(values)
        for transformer in self._transformers:
            values = transformer.transform(values)
        return values


class Slice:
    """Some columns of the DataFrame, which any transformer reads.

    Args:
        names: of the columns; a text passes a Series, a list a DataFrame.
        transformer: the fitted transformer, or None to pass the columns.
    """

    def __init__(self, names: list[str] | str, transformer: Any) -> None:
        self._names, self._transformer = names, transformer

    def __call__(self, columns: Columns) -> Any:
        """Return the output of the transformer."""
        data = columns.frame[self._names]
        return data if self._transformer is None else self._transformer.transform(data)


class Lookup:
    """The output of encoders, looked up by the value of each column.

    Attributes:
        width: columns of the output.
    """

    def __init__(self, names: list[str], positions: list[int], transformer: Any, table: "Table") -> None:
        """Learn what `transformer` makes of each category, of any other text, and of a missing value.

        Raises:
            NotFast: if the columns do not determine their parts of the output alone.
        """
        encoder = rowwise.steps(transformer)[-1]
        if len(encoder.categories_) != len(names):
            raise NotFast("an imputer drops a column")
        self._positions = positions
        base = list(table.row)
        categories = [[_plain(value) for value in values] for values in encoder.categories_]
        categories = [[value for value in values if value is not None] for values in categories]
        for position, values in zip(positions, categories, strict=True):
            base[position] = values[0]

        def encode(pairs: list[tuple[int, Any]]) -> Any:
            """Encode the base row, and one row for each pair of a column and its value."""
            rows = [tuple(base)]
            for number, value in pairs:
                position = positions[number]
                rows.append((*base[:position], value, *base[position + 1 :]))
            return _dense(transformer.transform(table.frame(rows)[names]))

        first = encode([])[0]
        self.width = len(first)
        unseen = list(map(_unseen, categories))
        pairs = [(number, value) for number, values in enumerate(categories) for value in values]
        if len(pairs) * self.width > _MOST_CELLS:
            raise NotFast("an encoder has too many categories")
        pairs += _encodable(encode, [(number, None) for number in range(len(names))])
        pairs += _encodable(encode, [(number, value) for number, value in enumerate(unseen) if value is not None])
        self._learn(encode, pairs, first)
        self._others = [
            (type(value), outputs.pop(value)) if value is not None and value in outputs else None
            for value, outputs in zip(unseen, self._outputs, strict=True)
        ]

    def _learn(self, encode: Callable[[list[tuple[int, Any]]], Any], pairs: list[tuple[int, Any]], first: Any) -> None:
        own: list[set[int]] = [set() for _ in self._positions]
        learned: list[dict[Any, list[tuple[int, Any]]]] = [{} for _ in self._positions]
        size = max(_CELLS // self.width, 1)
        for start in range(0, len(pairs), size):
            part = pairs[start : start + size]
            output = encode(part)[1:]
            for index, number in zip(*(array.tolist() for array in np.nonzero(output != first)), strict=True):
                own[part[index][0]].add(number)
            kept: list[list[tuple[int, Any]]] = [[] for _ in part]
            cells = np.nonzero((output != 0) | np.signbit(output))
            for index, number, value in zip(*(array.tolist() for array in cells), output[cells].tolist(), strict=True):
                kept[index].append((number, value))
            for (column, value), entries in zip(part, kept, strict=True):
                learned[column][value] = entries
        if sum(map(len, own)) != len(set().union(*own)):
            raise NotFast("an output of an encoder depends on several columns")
        self._outputs = [
            {value: [entry for entry in entries if entry[0] in numbers] for value, entries in outputs.items()}
            for numbers, outputs in zip(own, learned, strict=True)
        ]
        changed = set().union(*own)
        fixed = ((number, value) for number, value in enumerate(first.tolist()) if number not in changed)
        self._fixed = [(number, value) for number, value in fixed if value != 0 or np.signbit(value)]

    def entries(self, columns: Columns) -> list[list[tuple[int, Any]]]:
        """Return the positions and values of each row of the output that are not zero."""
        rows: list[list[tuple[int, Any]]] = [list(self._fixed) for _ in columns.rows]
        for position, outputs, other in zip(self._positions, self._outputs, self._others, strict=True):
            for value, row in zip(columns.raw[position], rows, strict=True):
                entries = outputs.get(value)
                if entries is None:
                    # numpy ends a text at a zero byte where it has texts of fixed length.
                    if other is None or type(value) is not other[0] or (type(value) is str and "\0" in value):
                        raise Unplanned
                    entries = other[1]
                row += entries
        return rows


Block = Numbers | Texts | Slice | Lookup


class Table:
    """What the blocks of one model know about its columns.

    Attributes:
        names: of the signature's columns.
        row: a valid row.
        frame: makes the DataFrame of rows.
        kinds: the element type of each column of the DataFrame.
    """

    def __init__(self, names: list[str], row: tuple[Any, ...], frame: Callable[[Rows], pd.DataFrame]) -> None:
        self.names, self.row, self.frame = names, row, frame
        self._sample = frame([row])
        self.kinds = [self._sample[name].dtype for name in names]

    def block(self, transformer: Any, names: list[str] | str) -> Block:
        """Return the block of a transformer and its columns."""
        listed = [names] if isinstance(names, str) else names
        positions = [self.names.index(name) for name in listed]
        parts = rowwise.steps(transformer) if transformer is not None else []
        kinds = [type(part).__name__ for part in parts]
        if isinstance(names, str):
            if kinds and kinds[0] in _VECTORIZERS and self.text(positions[0]):
                return Texts(positions[0], parts)
            return Slice(names, transformer)
        if kinds and kinds[-1] in _ENCODERS and set(kinds[:-1]) <= _BEFORE_ENCODERS and all(map(self._key, positions)):
            try:
                return Lookup(listed, positions, transformer, self)
            except Exception as reason:
                log.debug("the output of an encoder cannot be looked up: %s", reason)
                return Slice(listed, transformer)
        passed = all(part.func is None for part in parts if hasattr(part, "func"))
        allowed = "iufb" if passed and set(kinds) <= {"FunctionTransformer"} else "iuf"
        numeric = all(_numeric(self.kinds[position], allowed) for position in positions)
        if numeric and set(kinds) <= _NUMERIC and not any(map(rowwise.obstacle, parts)):
            types = [(position, np.dtype(self.kinds[position])) for position in positions]
            common = self._sample[listed].to_numpy().dtype
            # pandas makes objects of numbers beside truth values, which the estimator converts to float64.
            return Numbers(types, np.dtype(np.float64) if common.kind == "O" else common, parts)
        return Slice(listed, transformer)

    def text(self, position: int) -> bool:
        """Tell whether the values of a column are texts."""
        return type(self.row[position]) is str and not _numeric(self.kinds[position])

    def _key(self, position: int) -> bool:
        """Tell whether the values of a column are equal exactly if the encoder sees equal values."""
        kind = self.kinds[position]
        return self.text(position) or (isinstance(kind, np.dtype) and kind.kind in "iub")


def _numeric(kind: Any, allowed: str = "iufb") -> bool:
    return isinstance(kind, np.dtype) and kind.kind in allowed


def _encodable(encode: Callable[[list[tuple[int, Any]]], Any], pairs: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Return the pairs of a column and an odd value that an encoder does not refuse.

    The model's own code responds to requests with the others. If there are many columns and one refuses, all are taken
    to refuse, because each attempt takes as long as a request.
    """
    for some in ([pairs], [[pair] for pair in pairs] if len(pairs) <= _TRIED else []):
        accepted = []
        for group in some:
            with contextlib.suppress(Exception):
                encode(group)
                accepted += group
        if accepted:
            return accepted
    return []


def _unseen(categories: list[Any]) -> Any:
    """Return a value that is no category; None for truth values."""
    kinds = {type(value) for value in categories}
    if kinds == {str}:
        return UNSEEN
    return max(categories) + 1 if kinds == {int} else None


def _plain(value: Any) -> Any:
    """Return the value of a request's row for a category; None for a missing value."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if value is None or value is pd.NA or value != value else value


def _dense(output: Any) -> Any:
    output = output.toarray() if hasattr(output, "toarray") else output
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "iuf":
        raise NotFast(f"an encoder returns {type(output).__name__}")
    return output


def _without_names(transformer: Any) -> Any:
    """Return a copy that takes arrays without a warning about missing names."""
    copied = copy.copy(transformer)
    vars(copied).pop("feature_names_in_", None)
    return copied
