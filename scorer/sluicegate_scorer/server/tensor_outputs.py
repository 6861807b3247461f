"""Predictions as tensors.

Numbers keep their type. Texts, bytes and times are BYTES. Every other value is a JSON text, with MLflow's own encoder,
so that it is the same as in a response of `/invocations`.
"""

import datetime
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from mlflow.utils.proto_json_utils import NumpyEncoder

from sluicegate_scorer.server.tensor_metadata import (
    ARRAY,
    ARRAYS,
    BASE64,
    DATETIME,
    FRAME,
    JSON_TEXTS,
    LIST,
    NUMBERS,
    TEXTS,
    VALUES,
    Described,
)
from sluicegate_scorer.server.tensors import FROM_NUMPY, Output

UNNAMED = "output-1"
"""The name of a prediction that has none, as in MLServer."""
_MISSING = (type(None), type(pd.NA), type(pd.NaT))
_TIMES = (datetime.date, datetime.datetime, pd.Timestamp)
_LARGEST = {"INT64": (-(2**63), 2**63 - 1), "UINT64": (0, 2**64 - 1)}


class Inexpressible(Exception):
    """The protocol cannot express a prediction. The text says why."""


class Prediction:
    """A prediction as tensors.

    Attributes:
        outputs: the tensors, with the names of the metadata where the signature has them.
        content: the content type of the response.
    """

    def __init__(self, raw: Any, described: list[Described]) -> None:
        """Make the tensors of a prediction.

        Args:
            raw: what the model returned.
            described: the outputs of the signature.

        Raises:
            Inexpressible: if tensors cannot express it.
        """
        if hasattr(raw, "model_dump"):
            raw = raw.model_dump()
        self._names = [tensor.name for tensor in described]
        self._others: dict[str, Output] = {}
        if isinstance(raw, pd.Series):
            # A Series without a name is one output without a name.
            raw = raw.to_frame(raw.name if raw.name is not None else UNNAMED)
        if isinstance(raw, pd.DataFrame):
            self.content = FRAME
            outputs = self._frame(raw)
        elif isinstance(raw, dict):
            self.content = ARRAYS
            outputs = [_values(str(name), value) for name, value in raw.items()]
        else:
            self.content = ARRAY
            outputs = self._unnamed(raw, described)
        names = [output.head["name"] for output in outputs]
        if len(set(names)) != len(names):
            raise Inexpressible(f"two outputs have the same name ({', '.join(names[:9])})")
        if len(outputs) == len(self._names) == 1:
            self._others[names[0]] = outputs[0]
            outputs = [_renamed(outputs[0], self._names[0])]
        self.outputs = outputs

    def find(self, name: str) -> Output | None:
        """Return an output by its name.

        That is its name in the metadata, or the name that the model or MLServer gives to it.
        """
        for output in self.outputs:
            if output.head["name"] == name:
                return output
        return self._others.get(name)

    def _frame(self, frame: pd.DataFrame) -> list[Output]:
        names = [str(name) for name in frame.columns]
        if isinstance(frame.columns, pd.RangeIndex) and len(names) == len(self._names):
            names = self._names  # pandas numbered columns without a name
        return [_series(name, frame.iloc[:, number]) for number, name in enumerate(names)]

    def _unnamed(self, raw: Any, described: list[Described]) -> list[Output]:
        """Return the outputs of a prediction without names.

        The columns of an array are the outputs of a signature with as many columns.
        """
        whole = _values(UNNAMED, raw)
        if isinstance(raw, list | str):
            self.content = {TEXTS: LIST, JSON_TEXTS: VALUES}.get(_content(whole), ARRAY)
        shape, count = whole.head["shape"], len(described)
        columns = count > 1 and not isinstance(described[0].type, np.dtype)
        if not columns or not isinstance(whole.values, np.ndarray) or len(shape) != 2 or shape[1] != count:
            return [whole]
        self._others[UNNAMED] = whole
        return [
            _output(name, column, [shape[0], 1], whole.head["datatype"], NUMBERS)
            for name, column in zip(self._names, whole.values.reshape(shape).T, strict=True)
        ]


def _content(output: Output) -> Any:
    return output.head.get("parameters", {}).get("content_type")


def _renamed(output: Output, name: str) -> Output:
    return Output({**output.head, "name": name}, output.values)


def _series(name: str, series: Any) -> Output:
    """Return a column of a DataFrame as a tensor."""
    shape = [len(series), 1]
    dtype = getattr(series.dtype, "numpy_dtype", None)  # the type of a column that may have missing values
    if dtype is not None and not isinstance(series.dtype, np.dtype) and np.dtype(dtype).kind in "biuf":
        dtype = np.dtype(dtype)
        if dtype.kind == "f":
            return _array(name, series.to_numpy(dtype=dtype, na_value=np.nan), shape, None)
        if not series.isna().any():
            return _array(name, series.to_numpy(dtype=dtype), shape, None)
        return _output(name, _list(series.astype(object), _plain), shape, FROM_NUMPY[dtype.name], None)
    array = series.to_numpy()
    if array.dtype.kind == "O":
        return _objects(name, array.tolist(), shape, None)
    return _array(name, array, shape, None)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _values(name: str, value: Any) -> Output:
    """Return anything that is not a DataFrame as a tensor."""
    if isinstance(value, pd.Series):
        return _series(name, value)
    if isinstance(value, pd.DataFrame):
        value = value.to_dict(orient="records")
    if isinstance(value, str):
        return _objects(name, [value], [1], None)
    if not isinstance(value, list | tuple):
        array = np.asarray(value)
        shape = list(array.shape) if array.ndim > 1 else [*array.shape, 1]
        if array.ndim == 0:
            shape = [1]
        if array.dtype.kind == "O":
            return _objects(name, array.reshape(-1).tolist(), shape, NUMBERS)
        return _array(name, array, shape, NUMBERS)
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return _objects(name, list(value), [len(value), 1], None)
    if array.dtype.kind in "OUST":
        # numpy makes texts of all values if one is a text.
        array = np.array(value, dtype=object)
        flat = array.reshape(-1).tolist()
        if _kind(flat) == JSON_TEXTS and array.ndim > 1:
            return _objects(name, list(value), [len(value), 1], None)
        return _objects(name, flat, list(array.shape) if array.ndim > 1 else [len(flat), 1], None)
    shape = list(array.shape) if array.ndim > 1 else [*array.shape, 1]
    return _array(name, array, shape, NUMBERS)


def _array(name: str, array: Any, shape: list[int], content: str | None) -> Output:
    """Return a numpy array, except one of objects, as a tensor."""
    flat = array.reshape(-1)
    datatype = FROM_NUMPY.get(array.dtype.name)
    if datatype is not None:
        return _output(name, flat, shape, datatype, content)
    if array.dtype.kind == "M":
        times = pd.Series(flat)
        return _output(name, _list(times, lambda value: value.isoformat()), shape, "BYTES", DATETIME)
    if array.dtype.kind in "UST":
        return _objects(name, flat.tolist(), shape, content)
    raise Inexpressible(f"{array.dtype} is not a type of the protocol")


def _list(values: Any, convert: Callable[[Any], Any]) -> list[Any]:
    return [None if _is_missing(value) else convert(value) for value in values]


def _is_missing(value: Any) -> bool:
    return isinstance(value, _MISSING) or (isinstance(value, float) and value != value)


def _objects(name: str, values: list[Any], shape: list[int], content: str | None) -> Output:
    """Return Python objects as a tensor.

    Args:
        name: the name.
        values: the objects.
        shape: the shape.
        content: the content type of texts without missing values and of numbers: that of arrays, or None for a column.
    """
    kind = _kind(values)
    if kind == NUMBERS:
        return _numbers(name, values, shape, content)
    if kind == TEXTS:
        texts = _list(values, str)
        return _output(name, texts, shape, "BYTES", TEXTS if content is None or None in texts else content)
    if kind == BASE64:
        return _output(name, _list(values, bytes), shape, "BYTES", BASE64)
    if kind == DATETIME:
        return _output(name, _list(values, lambda value: value.isoformat()), shape, "BYTES", DATETIME)
    return _output(name, [_json_text(value) for value in values], shape, "BYTES", JSON_TEXTS)


def _kind(values: list[Any]) -> str:
    """Return the content type that fits all of some objects."""
    present = [value for value in values if not _is_missing(value)]
    if all(isinstance(value, str) for value in present):
        return TEXTS
    if all(isinstance(value, bytes) for value in present):
        return BASE64
    if all(isinstance(value, _TIMES) for value in present):
        return DATETIME
    if all(isinstance(value, bool | np.bool_) for value in present):
        return NUMBERS
    numbers = all(isinstance(value, int | float | np.number) and not isinstance(value, bool) for value in present)
    return NUMBERS if numbers and _datatype(present) is not None else JSON_TEXTS


def _datatype(present: list[Any]) -> str | None:
    """Return the datatype for numbers, or None if no datatype holds all of them."""
    if any(isinstance(value, float | np.floating) for value in present):
        return "FP64"
    for datatype, (least, largest) in _LARGEST.items():
        if all(least <= value <= largest for value in present):
            return datatype
    return None


def _numbers(name: str, values: list[Any], shape: list[int], content: str | None) -> Output:
    present = [value for value in values if not _is_missing(value)]
    if isinstance(present[0], bool | np.bool_):
        return _output(name, _list(values, bool), shape, "BOOL", content)
    datatype = _datatype(present) or "FP64"
    if datatype == "FP64":
        return _output(name, np.array(_list(values, float), dtype=np.float64), shape, datatype, content)
    return _output(name, _list(values, int), shape, datatype, content)


def _json_text(value: Any) -> str:
    """Return a value as JSON. NaN and infinity are null."""
    try:
        return json.dumps(value, cls=NumpyEncoder, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except TypeError as error:
        raise Inexpressible(str(error)) from error
    except ValueError:
        text = json.dumps(value, cls=NumpyEncoder)
        return json.dumps(
            json.loads(text, parse_constant=lambda constant: None), ensure_ascii=False, separators=(",", ":")
        )


def _output(name: str, values: Any, shape: list[int], datatype: str, content: str | None) -> Output:
    head: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
    if content is not None:
        head["parameters"] = {"content_type": content}
    return Output(head, values)
