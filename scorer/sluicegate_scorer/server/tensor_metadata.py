"""The tensors of a model's signature: their names, datatypes and content types."""

from typing import Any, NamedTuple

import numpy as np

from sluicegate_scorer.server.tensors import FROM_NUMPY

NUMBERS, TEXTS, BASE64, DATETIME, JSON_TEXTS = "np", "str", "base64", "datetime", "pd_json"
"""Content types of one tensor."""
FRAME, ARRAY, ARRAYS, LIST, VALUES = "pd", "np", "dict", "str", "json"
"""Content types of a request: what the model gets."""

_COLUMNS = {
    "boolean": ("BOOL", NUMBERS),
    "integer": ("INT32", NUMBERS),
    "long": ("INT64", NUMBERS),
    "float": ("FP32", NUMBERS),
    "double": ("FP64", NUMBERS),
    "string": ("BYTES", TEXTS),
    "binary": ("BYTES", BASE64),
    "datetime": ("BYTES", DATETIME),
}


class Described(NamedTuple):
    """One input or output of a signature.

    Attributes:
        name: its name. It is made from the position if the signature has none.
        kind: the datatype.
        content: the content type.
        shape: the shape, with -1 for any size.
        type: MLflow's type of the column, or the numpy type of the tensor.
    """

    name: str
    kind: str
    content: str
    shape: list[int]
    type: Any

    @property
    def is_list(self) -> bool:
        """Tell whether each row is a list."""
        return type(self.type).__name__ == "Array"


def describe(schema: Any, prefix: str, first: int) -> list[Described]:
    """Return the inputs or outputs of a signature.

    Args:
        schema: MLflow's schema, or None.
        prefix: the name of those without a name, which their number follows.
        first: the number of the first.
    """
    if schema is None:
        return []
    tensors = schema.is_tensor_spec()
    described = []
    for number, spec in enumerate(schema.inputs, first):
        name = str(spec.name) if spec.name is not None and spec.name != "" else f"{prefix}{number}"
        kind, content = _tensor_type(spec.type) if tensors else _column_type(spec.type)
        described.append(Described(name, kind, content, list(spec.shape) if tensors else [-1, 1], spec.type))
    return described


def _tensor_type(dtype: Any) -> tuple[str, str]:
    dtype = np.dtype(dtype)
    if dtype.kind == "M":
        return "BYTES", DATETIME
    return FROM_NUMPY.get(dtype.name, "BYTES"), NUMBERS


def _column_type(column: Any) -> tuple[str, str]:
    return _COLUMNS.get(getattr(column, "name", ""), ("BYTES", JSON_TEXTS))


def request_content(schema: Any, hinted: bool) -> str:
    """Return the content type of requests that name none.

    Args:
        schema: the inputs of the signature, or None.
        hinted: whether the signature comes from type hints. Such a model gets a list.
    """
    if hinted:
        return VALUES
    if schema is None or not schema.is_tensor_spec():
        return FRAME
    return ARRAYS if schema.has_input_names() else ARRAY


def as_json(described: list[Described]) -> list[dict[str, Any]]:
    """Return inputs or outputs as the protocol's metadata."""
    return [
        {
            "name": tensor.name,
            "datatype": tensor.kind,
            "shape": tensor.shape,
            "parameters": {"content_type": tensor.content},
        }
        for tensor in described
    ]
