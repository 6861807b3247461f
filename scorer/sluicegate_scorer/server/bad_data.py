"""What in a request's own data may make any model raise an exception.

The analysis of a rollout compares the failures of versions. A caller must not be able to fail a version, so a failure
that the request's data explains has the error class `client` (`general.py`). The data is looked at only after a
failure.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

_LARGEST = float(np.finfo(np.float32).max)
"""The largest number that libraries which compute in single precision, such as scikit-learn's trees, accept."""


def optional_columns(schema: Any) -> frozenset[str]:
    """Return the names of the columns whose values may be missing.

    MLflow's signature has a column as optional if the training data had missing values in it, so a model has to handle
    them there.
    """
    if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
        return frozenset()
    return frozenset(str(spec.name) for spec in schema.inputs if not getattr(spec, "required", True))


def find(data: Any, optional: frozenset[str] = frozenset()) -> str | None:
    """Describe what is wrong with the data of a request.

    Args:
        data: what the model was called with: a DataFrame, an array, or lists and dictionaries of them.
        optional: columns whose values may be missing.

    Returns:
        The first problem, or None if nothing in the data explains a failure of the model.
    """
    if isinstance(data, pd.DataFrame | pd.Series):
        frame = data.to_frame() if isinstance(data, pd.Series) else data
        if not len(frame):
            return "the request has no rows"
        names = (str(name) for name in frame.columns)
        columns = (frame.iloc[:, number] for number in range(frame.shape[1]))
        return _first(
            _column(f"the column {name!r}", values, name in optional)
            for name, values in zip(names, columns, strict=True)
        )
    if isinstance(data, np.ndarray):
        return _array("the input", data)
    if isinstance(data, dict) and any(isinstance(value, np.ndarray) for value in data.values()):
        return _first(_array(f"the tensor {str(name)!r}", np.asarray(value)) for name, value in data.items())
    if isinstance(data, list) and not data:
        return "the request has no rows"
    return _first(_number("the input", value) for value in _floats(data))


def _first(problems: Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem is not None), None)


def _column(where: str, values: pd.Series, optional: bool) -> str | None:
    missing = values.isna()
    if missing.any() and not optional:
        return f"{where} has a missing value"
    present = values[~missing].to_numpy()
    return _array(where, present) if present.size and present.dtype.kind == "f" else None


def _array(where: str, values: Any) -> str | None:
    if not values.size:
        return "the request has no rows"
    if values.dtype.kind == "O":
        return f"{where} has a missing value" if pd.isna(values).any() else None
    if values.dtype.kind != "f":
        return None
    return _number(where, float(np.abs(values).max()))  # the maximum is NaN if any value is


def _number(where: str, value: float) -> str | None:
    if np.isnan(value):
        return f"{where} has a missing value"
    return f"{where} has a number over the range of single precision" if abs(value) > _LARGEST else None


def _floats(data: Any) -> Iterator[float]:
    """Yield the fractions of nested lists and dictionaries, without recursion."""
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, float):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)
