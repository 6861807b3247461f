"""The predictions of a scikit-learn pipeline without a DataFrame."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from sluicegate_scorer.server.fast import predictors, rowwise
from sluicegate_scorer.server.fast.blocks import Block, Columns, Lookup, Table
from sluicegate_scorer.server.fast.shape import NotFast, Rows

MOST = 2000
"""Rows of a request up to which a plan is quicker than scikit-learn's own code."""

Jsonable = Any


class Plan:
    """The steps of one pipeline.

    The first step makes a table of the columns, block by block. The other steps are scikit-learn's own.

    Args:
        pipeline: a fitted pipeline with several steps.
        name: of the predict function.
        table: the columns of the signature.

    Attributes:
        batched: whether rows of several requests may be predicted together.
        width: columns of the table.
        confidence: returns the continuous values behind predictions of a table, if they are labels.
    """

    def __init__(self, pipeline: Any, name: str, table: Table) -> None:
        if not rowwise.is_a(pipeline, "Pipeline"):
            raise NotFast(f"{type(pipeline).__name__} is not a pipeline")
        parts = rowwise.steps(pipeline)
        self.first, *self._middle, self._final = parts
        if self.first is self._final or _has_output_type(pipeline, parts):
            raise NotFast("the pipeline has one step, or passes DataFrames between its steps")
        self._frame = table.frame
        sample = self.first.transform(table.frame([table.row, table.row, table.row]))
        self._sparse = is_sparse(sample)
        self._kind = type(sample)
        if not (self._sparse or type(sample) is np.ndarray) or sample.dtype.kind not in "iufO":
            raise NotFast(f"the first step returns {type(sample).__name__}")
        self.width = int(sample.shape[1])
        # Columns of truth values make an array of objects, which the next step converts.
        self._dtype = np.dtype(np.float64) if sample.dtype.kind == "O" else sample.dtype
        self._order: Any = "C" if self._sparse or sample.flags.c_contiguous else "F"
        self._blocks: list[Block] = [table.block(*part) for part in _parts(self.first, table.names)]
        self._call = getattr(self._final, name)
        self.batched = all(rowwise.obstacle(part) is None for part in parts[:-1])
        self._linear = None if self._sparse else predictors.linear(self._final, name)
        self._together = rowwise.together(self._final, self._sparse)
        scores = getattr(self._final, "predict_proba", None) or getattr(self._final, "decision_function", None)
        self.confidence: Callable[[Any], Any] | None = scores if self._together else None
        warnings.filterwarnings("ignore", message="X does not have valid feature names")

    def table(self, rows: Rows) -> Any:
        """Return what the first step makes of rows.

        Raises:
            Unplanned: if the model's own code has to predict them.
        """
        columns = Columns(rows, self._frame)
        return self._sparse_table(columns) if self._sparse else self._dense_table(columns)

    def prepared(self, table: Any) -> Any:
        """Return what the final step receives."""
        for step in self._middle:
            table = step.transform(table)
        return table

    def request(self, rows: Rows) -> Jsonable:
        """Return the predictions of one request."""
        return predictors.array(self._call(self.prepared(self.table(rows))))

    def singles(self, rows: Rows) -> list[Jsonable]:
        """Return the predictions of many requests of one row each."""
        data = self.prepared(self.table(rows))
        if self._linear is not None and data.flags.c_contiguous:
            return self._linear(data)
        if self._together:
            return [[prediction] for prediction in predictors.array(self._call(data))]
        call = self._call
        return [predictors.array(call(_contiguous(data[row : row + 1]))) for row in range(len(rows))]

    def _dense_table(self, columns: Columns) -> Any:
        table = np.zeros((len(columns.rows), self.width), self._dtype, order=self._order)
        start = 0
        for block in self._blocks:
            if isinstance(block, Lookup):
                for row, entries in zip(table, block.entries(columns), strict=True):
                    for number, value in entries:
                        row[start + number] = value
                start += block.width
                continue
            values = block(columns)
            values = values.toarray() if is_sparse(values) else np.asarray(values)
            end = start + values.shape[1]
            table[:, start:end] = values
            start = end
        return table

    def _sparse_table(self, columns: Columns) -> Any:
        blocks = []
        for block in self._blocks:
            if isinstance(block, Lookup):
                blocks.append(self._sparse_block(block.entries(columns), block.width))
                continue
            values = block(columns)
            blocks.append(values if is_sparse(values) else np.asarray(values, dtype=np.float64))
        if len(blocks) == 1:
            return self._kind(blocks[0])
        from scipy import sparse  # type: ignore[import-untyped]  # scikit-learn has imported it

        return self._kind(sparse.hstack(blocks).tocsr())

    def _sparse_block(self, entries: list[list[tuple[int, Any]]], width: int) -> Any:
        ordered = [sorted(row) for row in entries]
        data = np.array([value for row in ordered for _, value in row], dtype=self._dtype)
        indices = np.array([number for row in ordered for number, _ in row], dtype=np.int32)
        ends = np.array([0, *map(len, ordered)], dtype=np.int32).cumsum(dtype=np.int32)
        return self._kind((data, indices, ends), shape=(len(ordered), width))


def is_sparse(table: Any) -> bool:
    """Tell whether a table is a sparse matrix of scipy."""
    return hasattr(table, "tocsr")


def same_tables(ours: Any, theirs: Any) -> bool:
    """Tell whether two tables are the same to the last bit, for an estimator.

    Args:
        ours: the table of a plan.
        theirs: what the pipeline's first step returns.
    """
    if is_sparse(theirs):
        pairs = ((getattr(ours, part), getattr(theirs, part)) for part in ("data", "indices", "indptr"))
        return type(ours) is type(theirs) and ours.shape == theirs.shape and all(_same(*pair) for pair in pairs)
    if theirs.dtype.kind == "O":
        theirs = theirs.astype(np.float64)
    return _same(ours, theirs) and ours.flags.c_contiguous == theirs.flags.c_contiguous


def _same(ours: Any, theirs: Any) -> bool:
    return bool(ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes())


def _contiguous(row: Any) -> Any:
    return row if is_sparse(row) else np.ascontiguousarray(row)


def _parts(first: Any, names: list[str]) -> list[tuple[Any, list[str] | str]]:
    """Return each transformer of the first step and the names of its columns."""
    if rowwise.is_a(first, "FeatureUnion") and not first.transformer_weights:
        transformers = [part[1] for part in first.transformer_list if part[1] != "drop"]
        return [part for one in transformers for part in _parts(None if one == "passthrough" else one, names)]
    if not rowwise.is_a(first, "ColumnTransformer"):
        if list(getattr(first, "feature_names_in_", names)) != names:
            raise NotFast("the model's features are not the signature's columns in their order")
        return [(first, names)]
    if first.transformer_weights or not hasattr(first, "feature_names_in_"):
        raise NotFast("the ColumnTransformer has weights, or was fitted without names")
    parts: list[tuple[Any, list[str] | str]] = []
    for name, transformer, columns in first.transformers_:
        indices = list(first._transformer_to_input_indices[name])
        if not indices or transformer == "drop":
            continue
        chosen = [str(first.feature_names_in_[index]) for index in indices]
        passed = transformer == "passthrough"
        parts.append((None if passed else transformer, chosen[0] if isinstance(columns, str | int) else chosen))
    return parts


def _has_output_type(pipeline: Any, parts: list[Any]) -> bool:
    configured = [getattr(part, "_sklearn_output_config", {}) for part in [pipeline, *parts]]
    return any(config.get("transform") not in (None, "default") for config in configured)
