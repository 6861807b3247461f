"""What a model gets from the tensors of a request.

The content type of a tensor says what its values are. If the request names none, the signature says it.
"""

import base64
import json
from typing import Any

import numpy as np

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
from sluicegate_scorer.server.tensors import BadRequest, Tensor

_CONTENTS = (NUMBERS, TEXTS, BASE64, DATETIME, JSON_TEXTS)


class Inputs:
    """Reads the tensors of requests.

    Args:
        described: the inputs of the signature.
        content: the content type of requests that name none.
    """

    def __init__(self, described: list[Described], content: str) -> None:
        self.content = content
        self._described = described
        self._by_name = {tensor.name: tensor for tensor in described}

    def read(self, tensors: list[Tensor], content: str | None) -> Any:
        """Return what the model gets.

        Args:
            tensors: the tensors.
            content: the content type that the request names, or None.

        Raises:
            BadRequest: if the values are not what the content types say.
        """
        content = content or self.content
        if content == FRAME:
            import pandas as pd

            return pd.DataFrame({tensor.name: self._column(tensor, number) for number, tensor in enumerate(tensors)})
        if content == ARRAYS:
            return {tensor.name: self._array(tensor, number) for number, tensor in enumerate(tensors)}
        if content not in (ARRAY, LIST, VALUES):
            raise BadRequest(f"The content type {content!r} is not supported. Use pd, np, dict, str or json.")
        if len(tensors) != 1:
            raise BadRequest(f"The content type {content!r} takes one tensor. The request has {len(tensors)}.")
        if content == ARRAY:
            return self._array(tensors[0], 0)
        if content == LIST:
            return [_text(value) for value in tensors[0].array.reshape(-1).tolist()]
        return self._list(tensors[0])

    def _spec(self, tensor: Tensor, number: int) -> Described | None:
        """Return the input of the signature that a tensor is for.

        The only input of a signature may have any name.
        """
        named = self._by_name.get(tensor.name)
        if named is None and number == 0 and len(self._described) == 1:
            return self._described[0]
        return named

    def _content(self, tensor: Tensor, spec: Described | None) -> str:
        if tensor.content is not None:
            content = JSON_TEXTS if tensor.content == VALUES else tensor.content
            if content not in _CONTENTS:
                raise BadRequest(
                    f"The content type {tensor.content!r} of the tensor {tensor.name} is not supported."
                    f" Use {', '.join(_CONTENTS)}."
                )
            return str(content)
        if spec is None or (spec.content == JSON_TEXTS and tensor.array.size != len(tensor.array)):
            return NUMBERS  # rows of several values are not JSON texts
        return spec.content

    def _values(self, tensor: Tensor, spec: Described | None) -> Any:
        """Return the values of a tensor in its shape: numbers, or objects."""
        array = tensor.array
        content = self._content(tensor, spec)
        if tensor.kind != "BYTES":
            whole = array.dtype.kind in "iu"
            is_time = content == DATETIME or (spec is not None and spec.content == DATETIME)
            return array.astype(np.int64).view("datetime64[ns]") if is_time and whole else array
        if content == DATETIME:
            return _times(tensor)
        if content == BASE64:
            # Bytes after the JSON are the values themselves, unless the request says that they are base64.
            convert = _from_base64 if tensor.content == BASE64 else _bytes
        elif content == JSON_TEXTS:
            convert = _from_json
        else:
            convert = _text
        converted = np.empty(array.size, dtype=object)
        try:
            converted[:] = [convert(value) for value in array.reshape(-1).tolist()]
        except (ValueError, TypeError, RecursionError) as error:
            what = {BASE64: "base64", JSON_TEXTS: "JSON"}.get(content, "text in UTF-8")
            raise BadRequest(f"The tensor {tensor.name} is not {what}: {error}.") from None
        return converted.reshape(array.shape)

    def _column(self, tensor: Tensor, number: int) -> Any:
        """Return a tensor as a column of a DataFrame."""
        spec = self._spec(tensor, number)
        values = self._values(tensor, spec)
        rows = spec is not None and spec.is_list and tensor.kind != "BYTES"
        if values.ndim == 2 and values.shape[1] == 1 and not rows:
            values = values[:, 0]
        # pandas reads the type of texts from a list, as it does for a body of MLflow's protocol.
        return list(values.tolist()) if values.ndim > 1 or values.dtype.kind == "O" else values

    def _array(self, tensor: Tensor, number: int) -> Any:
        """Return a tensor as an array of the signature's type, if it holds texts or times."""
        spec = self._spec(tensor, number)
        values = self._values(tensor, spec)
        dtype = np.dtype(spec.type) if spec is not None and isinstance(spec.type, np.dtype) else None
        if dtype is None or dtype.kind not in "USM" or values.dtype.kind not in "OM":
            return values
        if dtype.kind == "S":
            values = np.array([_bytes(value) for value in values.reshape(-1)], dtype=object).reshape(values.shape)
        return values.astype(dtype)

    def _list(self, tensor: Tensor) -> list[Any]:
        """Return a tensor as a list with one item for each row."""
        spec = self._spec(tensor, 0)
        values = self._values(tensor, spec)
        if values.dtype.kind == "M":
            import pandas as pd

            times = (pd.Timestamp(value) for value in values.reshape(-1))
            return [None if time is pd.NaT else time.to_pydatetime() for time in times]
        rows = spec is not None and spec.is_list and tensor.kind != "BYTES"
        if values.ndim == 2 and values.shape[1] == 1 and not rows:
            values = values[:, 0]
        items: list[Any] = values.tolist()
        return items if isinstance(items, list) else [items]


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _bytes(value: Any) -> Any:
    return value if value is None or isinstance(value, bytes) else _from_base64(value)


def _from_base64(value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str | bytes):
        raise TypeError(f"{value!r:.60} is not a text")
    text = value if isinstance(value, bytes) else value.encode()
    return base64.b64decode(b"".join(text.split()), validate=True)  # it would skip other characters otherwise


def _from_json(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str | bytes):
        raise TypeError(f"{value!r:.60} is not a text")
    return json.loads(value)


def _times(tensor: Tensor) -> Any:
    """Return ISO 8601 texts as times in nanoseconds.

    MLflow's protocol reads them in the same way. It refuses times with a time zone later.
    """
    import pandas as pd

    texts = pd.Series([_text(value) for value in tensor.array.reshape(-1).tolist()], dtype=object)
    try:
        try:
            times = pd.to_datetime(texts)
        except ValueError:  # the texts have different precisions
            times = pd.to_datetime(texts, format="ISO8601")
        if times.dt.tz is not None:
            raise BadRequest(f"The tensor {tensor.name} has times with a time zone. Send them in UTC without one.")
        return times.to_numpy().astype("datetime64[ns]").reshape(tensor.array.shape)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise BadRequest(f"The tensor {tensor.name} is not a time in ISO 8601: {error}.") from None
