"""Decoding of the request bodies that the fast path takes.

The decoder is built from the model's signature. It takes a body only if each value has exactly the type that MLflow's
parsing and schema enforcement would not change. It refuses nulls, strings and booleans, fractions for integers, missing
or additional columns, and keys that MLflow reads in another way. MLflow's own code responds to a request that is
refused, so refusing is always safe.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray

Matrix = NDArray[Any]
Rows = list[Any]

_EXACT = 2**53
"""Integers up to this are exact in a double, so the number of steps of a conversion does not matter."""
_INT32 = 2**31 - 1
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_MAX_VALUES = 4096
"""Values of a row. Parsing dominates the time of wider rows, and the decoder of each model would grow."""


class NotFast(Exception):
    """The reason why a model cannot have the fast path. The text is logged."""


LIMITS = {"float32": (-_EXACT, _EXACT), "int64": (-_EXACT, _EXACT), "int32": (-_INT32 - 1, _INT32)}
"""The smallest and the largest value of an element type that the fast path reads."""


class _Kind(NamedTuple):
    """How one element type is decoded and stored."""

    json: Any
    dtype: str


def _limited(number: type, kind: str) -> Any:
    least, most = LIMITS[kind]
    return Annotated[number, Meta(ge=least, le=most)]


_KINDS = {
    "float64": _Kind(float, "float64"),
    "float32": _Kind(_limited(float, "float32"), "float32"),
    "int64": _Kind(_limited(int, "int64"), "int64"),
    "int32": _Kind(_limited(int, "int32"), "int32"),
}
_COLUMN_TYPES = {"double": "float64", "float": "float32", "long": "int64", "integer": "int32"}


class Shape:
    """What a signature requires, and the decoder of bodies that match it exactly.

    Attributes:
        names: names of the columns. For a tensor, its name or nothing.
        dtype: common element type of the columns, by numpy's rule. A model may convert them to another type
            (`conversions`).
        mixed: whether the columns have several types.
        tensor: whether the signature has a tensor instead of columns.
        kinds: element type of each column.
        inner: dimensions of one row.
        split: type of the value of `dataframe_split`, or None for a tensor.
        record: type of one item of `dataframe_records`, or None for a tensor.
    """

    split: Any = None
    record: Any = None

    def __init__(self, schema: Any) -> None:
        if schema is None:
            raise NotFast("the model has no signature")
        self.tensor = bool(schema.is_tensor_spec())
        if self.tensor:
            self._from_tensor(schema)
        else:
            self._from_columns(schema)
        self.forms = set(self._decoders)
        self._decode = msgspec.json.Decoder(self._body_type()).decode

    def _from_columns(self, schema: Any) -> None:
        if not schema.has_input_names():
            raise NotFast("the signature's columns have no names")
        names = list(schema.input_names())
        if len(set(names)) != len(names) or not all(_plain(name) for name in names):
            raise NotFast("the signature has unusual column names")
        if not 0 < len(names) <= _MAX_VALUES:
            raise NotFast(f"the signature has {len(names)} columns")
        types = [getattr(spec.type, "name", "") for spec in schema.inputs]
        strange = sorted({str(kind) for kind in types if kind not in _COLUMN_TYPES})
        if strange:
            raise NotFast(f"the signature has columns that are not numbers ({', '.join(strange) or 'nested'})")
        self.names: list[str] = names
        self.kinds = [_COLUMN_TYPES[kind] for kind in types]
        self.mixed = len(set(self.kinds)) > 1
        if self.mixed and "float32" in self.kinds:
            raise NotFast("the signature mixes float with other column types")
        self.dtype = np.result_type(*self.kinds)
        self.inner: tuple[int, ...] = (len(names),)
        self._decoders = self._column_decoders()

    def _from_tensor(self, schema: Any) -> None:
        if len(schema.inputs) != 1:
            raise NotFast("the signature has several tensors")
        spec = schema.inputs[0]
        kind = str(spec.type)
        if kind not in _KINDS:
            raise NotFast(f"the signature's tensor is of type {kind}")
        shape = tuple(spec.shape)
        inner = shape[1:]
        if shape[0] != -1 or not inner or any(size < 1 for size in inner) or np.prod(inner) > _MAX_VALUES:
            raise NotFast(f"the signature's tensor has the shape {shape}")
        if spec.name is not None and not _plain(spec.name):
            raise NotFast("the signature has an unusual tensor name")
        self.names = [spec.name] if spec.name is not None else []
        self.kinds = [kind]
        self.mixed = False
        self.dtype = np.dtype(kind)
        self.inner = inner
        self._decoders = self._tensor_decoders()

    def _column_decoders(self) -> "dict[str, _Form]":
        fields = [(f"c{number}", _KINDS[kind].json) for number, kind in enumerate(self.kinds)]
        rename = {f"c{number}": name for number, name in enumerate(self.names)}
        record: Any = msgspec.defstruct("Record", fields, rename=rename, forbid_unknown_fields=True, gc=False)
        lists = [(field, list.__class_getitem__(kind)) for field, kind in fields]
        columns: Any = msgspec.defstruct("Columns", lists, rename=rename, forbid_unknown_fields=True)
        row: Any = tuple.__class_getitem__(tuple(kind for _, kind in fields))
        split: Any = msgspec.defstruct(
            "Split",
            [("columns", list[str]), ("data", list[row]), ("index", list[int] | UnsetType, UNSET)],
            forbid_unknown_fields=True,
        )
        self.split, self.record = split, record
        names = self.names
        as_tuple = msgspec.structs.astuple

        def from_split(value: Any) -> Rows | None:
            if value.columns != names:
                return None
            if value.index is not UNSET and value.index != list(range(len(value.data))):
                return None
            rows: Rows = value.data
            return rows

        def from_records(value: Any) -> Rows | None:
            return [as_tuple(item) for item in value]

        def from_inputs(value: Any) -> Rows | None:
            if type(value) is list:
                return [as_tuple(item) for item in value]
            values = as_tuple(value)
            length = len(values[0])
            if any(len(item) != length for item in values):
                return None
            return list(zip(*values, strict=True))

        return {
            "dataframe_split": _Form(split, from_split),
            "dataframe_records": _Form(list[record], from_records),
            "instances": _Form(list[record] | columns, from_inputs),
            "inputs": _Form(list[record] | columns, from_inputs),
        }

    def _tensor_decoders(self) -> "dict[str, _Form]":
        row: Any = _KINDS[self.kinds[0]].json
        for size in reversed(self.inner):
            row = tuple.__class_getitem__((row,) * size)

        def from_list(value: Any) -> Rows | None:
            rows: Rows = value
            return rows

        if not self.names:
            return {"instances": _Form(list[row], from_list), "inputs": _Form(list[row], from_list)}
        named: Any = msgspec.defstruct(
            "Named", [("tensor", list[row])], rename={"tensor": self.names[0]}, forbid_unknown_fields=True
        )

        def from_named(value: Any) -> Rows | None:
            rows: Rows = value if type(value) is list else value.tensor
            return rows

        either = _Form(list[row] | named, from_named)
        return {"instances": either, "inputs": either}

    def _body_type(self) -> Any:
        fields = [(name, form.json | UnsetType, UNSET) for name, form in self._decoders.items()]
        return msgspec.defstruct("Body", fields, forbid_unknown_fields=True)

    def parse(self, body: bytes) -> Rows | None:
        """Return the rows of a body in the order of the signature.

        The result is None if MLflow's own code has to read the body.
        """
        try:
            request = self._decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        rows: Rows | None = None
        seen = False
        for name, form in self._decoders.items():
            value = getattr(request, name)
            if value is UNSET:
                continue
            if seen or name not in self.forms:
                return None
            seen = True
            rows = form.rows(value)
        return rows or None

    @property
    def columns(self) -> dict[str, str]:
        """Return the names and element types of the columns; empty for a tensor."""
        return {} if self.tensor else dict(zip(self.names, self.kinds, strict=True))

    def matrix(self, rows: Rows, dtype: Any = None) -> Matrix:
        """Make an array of rows.

        Args:
            rows: the result of `parse`.
            dtype: its element type, `self.dtype` if None.
        """
        return np.array(rows, dtype=self.dtype if dtype is None else dtype)


class _Form(NamedTuple):
    """One key of a body: its type, and the function that makes rows of it."""

    json: Any
    rows: Callable[[Any], Rows | None]


def _plain(name: Any) -> bool:
    """Tell whether a name means the same to every JSON parser."""
    return isinstance(name, str) and name.isprintable()  # so it has no lone surrogate and no control character
