"""DataFrames made from request bodies without pandas' parsing.

They serve models that need a DataFrame. MLflow guesses the type of each column of the JSON and then casts it again. For
many models this takes longer than the prediction. If the signature has the names and types of the columns, the
DataFrame can be made in one step. Only the parsing is replaced. MLflow's own code still enforces the signature,
predicts, and makes the response.
"""

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import pandas as pd
from msgspec import UNSET, Raw, UnsetType

from sluicegate_scorer.server.columns import READERS, Builder, columns_of, without_unset
from sluicegate_scorer.server.fast.shape import NotFast, Rows
from sluicegate_scorer.server.frame_checks import RECORDS, SPLIT, check

log = logging.getLogger("sluicegate_scorer.serve")

_ORDERS = 16
"""Orders of columns of which the decoders are kept."""
_ALIKE = 8
"""Columns of each type that are compared with MLflow's."""
_INDEX: Any = list[int | str] | UnsetType
_INT64 = 2**63


class _Read(NamedTuple):
    """The rows of a body, the numbers of their columns, and the row labels (None for 0, 1, and so on by default)."""

    rows: Rows
    columns: tuple[int, ...]
    labels: list[Any] | None


class _Order(NamedTuple):
    """How rows are read that have their columns in another order than the signature, or only some of them.

    `sort` brings a row into the order of the signature.
    """

    decode: Callable[[Any], Rows]
    sort: Callable[[Any], Any]
    columns: tuple[int, ...]


class Frames:
    """Makes the DataFrame that MLflow would make of a body.

    MLflow reads the bodies that it does not take. The columns are already in the order of the signature. MLflow brings
    them into that order before the model sees them.

    Attributes:
        names: the names of the columns.
        forms: the keys of bodies that it takes. `verify` removes those whose DataFrame differs.
        enforced: whether MLflow's enforcement of the signature would not change the DataFrame, nor the arrangement of
            its values in memory. `verify` sets it.
    """

    def __init__(self, model: Any, nulls: bool = True, numbers: Sequence[int] | None = None) -> None:
        """Build the decoder of `model`, a loaded pyfunc model.

        Args:
            model: the model.
            nulls: whether to read nulls.
            numbers: numbers of the columns, by default all of the signature.

        Raises:
            NotFast: if MLflow has to read the bodies.
        """
        self._model = model
        self.metadata = model.metadata
        if self.metadata._is_signature_from_type_hint():
            raise NotFast("the signature comes from type hints")
        self.schema = self.metadata.get_input_schema()
        self.columns = columns_of(self.schema)
        if numbers is not None:
            self.columns = tuple(self.columns[number] for number in numbers)
            self.schema = type(self.schema)([self.schema.inputs[number] for number in numbers])
        self.names = [column.name for column in self.columns]
        self.nulls = nulls
        self.forms = {SPLIT, RECORDS}
        self.enforced = False
        self._all = tuple(range(len(self.columns)))
        self._number = {name: number for number, name in enumerate(self.names)}
        self._types = [column.json(nulls) for column in self.columns]
        self._optional = [number for number, column in enumerate(self.columns) if not column.required]
        kinds = enumerate(column.kind for column in self.columns)
        self._read_values = [(number, READERS[kind]) for number, kind in kinds if kind in READERS]
        self._builder = Builder(self.columns)
        self._builders = lru_cache(_ORDERS)(lambda numbers: Builder([self.columns[number] for number in numbers]))
        self._ordered = lru_cache(_ORDERS)(self._decoder_of)
        self._decode = msgspec.json.Decoder(
            self._body(self._rows_type(self._all), list.__class_getitem__(self._record()))
        ).decode
        self._decode_other = msgspec.json.Decoder(self._body(Raw, UnsetType)).decode

    def parse(self, body: bytes) -> pd.DataFrame | None:
        """Return the DataFrame of a body, or None if MLflow's own code has to read it."""
        read = self._read(body)
        if read is None:
            return None
        # MLflow makes the index of a list, so it is not a RangeIndex.
        index = None if read.labels is None else pd.Index(read.labels)
        builder = self._builder if read.columns == self._all else self._builders(read.columns)
        return builder.frame(read.rows, index)

    def rows(self, body: bytes) -> Rows | None:
        """Return the rows of a body, with values in the order of the signature's columns.

        Their DataFrame does not change if rows of other bodies are added: it has all columns, and row labels that say
        nothing. The result is None if MLflow's own code has to read the body, and if the DataFrame would change.
        """
        read = self._read(body)
        if read is None or read.columns != self._all or self._builder.depends_on_other_rows(read.rows):
            return None
        if read.labels is not None and read.labels != list(range(len(read.rows))):
            return None
        return read.rows

    def frame(self, rows: Rows, index: pd.Index | None = None) -> pd.DataFrame:
        """Return the DataFrame that MLflow's code would pass to the model for these rows.

        Args:
            rows: the result of `rows`, or rows of several such results.
            index: the row labels. None means 0, 1, and so on.
        """
        return self._builder.frame(rows, index)

    def verify(self) -> None:
        """Compare with the DataFrames that MLflow makes of the same bodies.

        The model is not called. MLflow takes 0.3 ms for each column, so there are a few columns of each type.

        Raises:
            NotFast: if no form is left.
        """
        numbers: dict[tuple[str, bool], list[int]] = {}
        for number, column in enumerate(self.columns):
            numbers.setdefault((column.kind, column.required), []).append(number)
        few = sorted(number for alike in numbers.values() for number in alike[:_ALIKE])
        self.forms, self.enforced = check(
            self if len(few) == len(self.columns) else Frames(self._model, self.nulls, few)
        )
        if not self.forms:
            raise NotFast("the DataFrames differ from MLflow's")

    def _read(self, body: bytes) -> _Read | None:
        try:
            request = self._decode(body)
        except msgspec.ValidationError:
            return self._read_other(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if (request.split is UNSET) == (request.records is UNSET):
            return None
        if request.split is UNSET:
            return self._records(request.records)
        split = request.split
        if split.columns != self.names:
            return self._read_other(body)
        return self._split(split.data, self._all, split.index)

    def _read_other(self, body: bytes) -> _Read | None:
        """Read a `dataframe_split` that has its columns in another order, or lacks optional ones."""
        try:
            split = self._decode_other(body).split
            if split is UNSET or split.columns == self.names:
                return None
            if len(split.columns) > len(self.names) or not self._number.keys() >= set(split.columns):
                return None  # and the cache does not keep names that a client made up
            reading = self._ordered(tuple(split.columns))
            if reading is None:
                return None
            rows = [reading.sort(row) for row in reading.decode(split.data)]
            return self._split(rows, reading.columns, split.index)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None

    def _split(self, rows: Rows, columns: tuple[int, ...], index: Any) -> _Read | None:
        if not rows or SPLIT not in self.forms:
            return None
        if index is UNSET:
            labels = None
        else:
            kind = type(index[0]) if index else None
            if len(index) != len(rows) or not all(type(label) is kind for label in index):
                return None
            if kind is int and not -_INT64 <= min(index) <= max(index) < _INT64:
                return None
            labels = index
        return self._converted(_Read(rows, columns, labels))

    def _records(self, records: list[Any]) -> _Read | None:
        if not records or RECORDS not in self.forms:
            return None
        rows = [msgspec.structs.astuple(record) for record in records]
        if not self._optional or not any(UNSET in row for row in rows):
            return self._converted(_Read(rows, self._all, None))
        columns: dict[int, Any] = dict(enumerate(zip(*rows, strict=True)))
        for number in self._optional:
            values = columns[number]
            unset = sum(value is UNSET for value in values)
            if unset == len(rows):
                del columns[number]
            elif unset:
                columns[number] = without_unset(self.columns[number].kind, values) if self.nulls else None
                if columns[number] is None:
                    return None
        if not columns:
            return None
        return self._converted(_Read(list(zip(*columns.values(), strict=True)), tuple(columns), None))

    def _converted(self, read: _Read) -> _Read | None:
        """Convert and check the values of the types that JSON does not have."""
        if not self._read_values:
            return read
        columns: dict[int, Any] = dict(zip(read.columns, zip(*read.rows, strict=True), strict=True))
        changed = False
        for number, reader in self._read_values:
            if number in columns:
                values = reader(columns[number])
                if values is None:
                    return None
                changed = changed or values is not columns[number]
                columns[number] = values
        return read._replace(rows=list(zip(*columns.values(), strict=True))) if changed else read

    def _decoder_of(self, names: tuple[str, ...]) -> _Order | None:
        """Return how rows of columns in this order are read, or None if MLflow's own code has to do it."""
        positions = {name: position for position, name in enumerate(names)}
        columns = tuple(number for name, number in self._number.items() if name in positions)
        missing = any(column.required and column.name not in positions for column in self.columns)
        if missing or not names or len(columns) != len(names):
            return None
        decode = msgspec.json.Decoder(self._rows_type(tuple(self._number[name] for name in names))).decode
        order = [positions[self.names[number]] for number in columns]
        return _Order(decode, itemgetter(*order) if len(order) > 1 else tuple, columns)

    def _rows_type(self, numbers: tuple[int, ...]) -> Any:
        return list.__class_getitem__(tuple.__class_getitem__(tuple(self._types[number] for number in numbers)))

    def _record(self) -> Any:
        fields: list[Any] = []
        for number, (column, kind) in enumerate(zip(self.columns, self._types, strict=True)):
            fields.append((f"c{number}", kind) if column.required else (f"c{number}", kind | UnsetType, UNSET))
        rename = {f"c{number}": name for number, name in enumerate(self.names)}
        return msgspec.defstruct("Record", fields, rename=rename, forbid_unknown_fields=True, kw_only=True, gc=False)

    def _body(self, rows: Any, records: Any) -> Any:
        fields: list[Any] = [("columns", list[str]), ("data", rows), ("index", _INDEX, UNSET)]
        split = msgspec.defstruct("Split", fields, forbid_unknown_fields=True)
        parts: list[Any] = [("split", split | UnsetType, UNSET), ("records", records | UnsetType, UNSET)]
        return msgspec.defstruct(
            "FrameBody", parts, rename={"split": SPLIT, "records": RECORDS}, forbid_unknown_fields=True
        )


def frames(model: Any) -> Frames | None:
    """Return the `Frames` of a model, checked against MLflow's.

    It is None if the model cannot have it. The log then has the reason.
    """
    for nulls in (True, False):  # another version of pandas may store missing values in another way
        try:
            decoder = Frames(model, nulls)
            decoder.verify()
        except NotFast as reason:
            text = str(reason)
        except Exception as error:  # a library's internals differ from what this code expects: do without the shortcut
            text = repr(error)
        else:
            return decoder
    log.info("MLflow's own code parses request bodies: %s", text)
    return None
