"""Rows with which the frame path is compared with MLflow's own code.

They hold the values of the model's example, the categories of its encoders, values next to these, and values that no
encoder has seen.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from sluicegate_scorer.server.fast import boundaries, rowwise
from sluicegate_scorer.server.fast.blocks import UNSEEN
from sluicegate_scorer.server.fast.split_points import evenly

_ELEMENTS = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}
_DEFAULTS: dict[str, list[Any]] = {
    "boolean": [False, True],
    "string": ["a"],
    "datetime": ["2024-01-01T00:00:00", "2024-02-29T12:34:56"],
    "binary": ["YQ=="],
}
_ODD: dict[str, list[Any]] = {"string": [UNSEEN, "", "é\U0001f600", "two words", " a", "A", "1", "nan", "None"]}
_MOST = 24
"""Categories of one column that are tried."""
_SPREAD = 0.5


class JsonRows:
    """Makes rows as they are in a request body.

    Args:
        model: a loaded pyfunc model whose signature has named columns.
        example: the model's input example as a request, or None.

    Attributes:
        names: of the columns.
        examples: the rows of the example.
    """

    def __init__(self, model: Any, example: bytes | None) -> None:
        schema = model.metadata.get_input_schema()
        self.names: list[str] = list(schema.input_names())
        self._types = [str(getattr(spec.type, "name", "")) for spec in schema.inputs]
        self.examples = _example_rows(example, self.names)
        learned = dict(_learned(model, self.names))
        self._pools = [self._pool(number, learned.get(name, [])) for number, name in enumerate(self.names)]
        self._random = np.random.default_rng(20240607)

    def _pool(self, column: int, learned: list[Any]) -> list[Any]:
        """Return values that the model has seen in a column, or their neighbors."""
        kind = self._types[column]
        seen = [row[column] for row in self.examples if row[column] is not None]
        if kind in _ELEMENTS:
            numbers = [float(value) for value in [*seen, *learned] if isinstance(value, int | float)]
            near = boundaries.neighbors(_ELEMENTS[kind], evenly([n for n in numbers if np.isfinite(n)], _MOST), [])
            return [*learned, *seen, *near] if kind in ("double", "float") else [*seen, *learned, *near]
        known = list(dict.fromkeys([*seen, *evenly(learned, _MOST)]))
        return known or list(_DEFAULTS.get(kind, [None]))

    def usual(self) -> list[Any]:
        """Return one row of values that the model knows."""
        return [self._value(column) for column in range(len(self.names))]

    def _value(self, column: int) -> Any:
        kind, pool = self._types[column], self._pools[column]
        value = pool[int(self._random.integers(len(pool)))]
        if kind in ("double", "float") and self._random.random() < _SPREAD and np.isfinite(value):
            return float(value) * (1 + float(self._random.normal())) + float(self._random.normal())
        return value

    def first(self) -> list[Any]:
        """Return a row that the model most probably accepts."""
        example = next((row for row in self.examples if None not in row), None)
        return list(example) if example is not None else [pool[0] for pool in self._pools]

    def odd(self, most: int) -> Iterator[list[Any]]:
        """Yield rows with one unusual value each: a limit of its type, an unseen text, or a missing value.

        Args:
            most: how many rows.
        """
        cells = []
        for column, kind in enumerate(self._types):
            odd = [None, *_ODD.get(kind, []), *boundaries.EDGES.get(_ELEMENTS.get(kind, ""), [])]
            cells += [(column, value) for value in odd]
        for number in sorted(self._random.permutation(len(cells))[:most].tolist()):
            column, value = cells[number]
            row = self.usual()
            row[column] = value
            yield row

    def body(self, rows: list[list[Any]], form: str) -> bytes:
        """Return the request body of rows in a form."""
        if form == "dataframe_split":
            return json.dumps({form: {"columns": self.names, "data": rows}}).encode()
        return json.dumps({form: [dict(zip(self.names, row, strict=True)) for row in rows]}).encode()


def _example_rows(example: bytes | None, names: list[str]) -> list[list[Any]]:
    try:
        fields = json.loads(example or b"{}")
        if "dataframe_split" in fields:
            split = fields["dataframe_split"]
            places = [split["columns"].index(name) for name in names]
            return [[row[place] for place in places] for row in split["data"]]
        records = fields.get("dataframe_records") or fields.get("inputs") or []
        return [[record.get(name) for name in names] for record in records]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _learned(model: Any, names: list[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield columns, and the values at which the model's encoders change their output."""
    estimator = rowwise.unwrapped(getattr(model._model_impl, "sklearn_model", None))
    for step in rowwise.steps(estimator):
        if rowwise.is_a(step, "ColumnTransformer"):
            for name, transformer, columns in step.transformers_:
                if not isinstance(transformer, str):
                    indices = getattr(step, "_transformer_to_input_indices", {}).get(name, [])
                    listed = [str(step.feature_names_in_[index]) for index in indices]
                    yield from _of_transformer(transformer, listed, isinstance(columns, str))
        else:
            yield from _of_transformer(step, names, False)


def _of_transformer(transformer: Any, names: list[str], single: bool) -> Iterator[tuple[str, list[Any]]]:
    for part in rowwise.steps(transformer):
        if single and hasattr(part, "vocabulary_"):
            words = evenly(sorted(map(str, part.vocabulary_)), _MOST)
            yield names[0], [*words, " ".join(words), *(f"{word} {word} {words[0]}" for word in words)]
        for attribute in ("categories_", "bin_edges_"):
            values = getattr(part, attribute, None)
            if values is not None and len(values) == len(names):
                for name, column in zip(names, values, strict=True):
                    plain = [value.item() if isinstance(value, np.generic) else value for value in column]
                    yield name, [value for value in plain if isinstance(value, str | int | float) and value == value]
