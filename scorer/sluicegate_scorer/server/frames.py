"""DataFrames made from request bodies without pandas' parsing.

They serve models that need a DataFrame. MLflow guesses the type of each column of the JSON and then casts it again. For
many models this takes longer than the prediction. If the signature has the names of the columns and all columns are
numbers, the DataFrame can be made in one step. Only the parsing is replaced. MLflow's own code still enforces the
signature, predicts, and makes the response.
"""

import logging
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from mlflow.pyfunc import scoring_server
from msgspec import UNSET, UnsetType

from sluicegate_scorer.server.fast.shape import NotFast, Rows, Shape

log = logging.getLogger("sluicegate_scorer.serve")

SPLIT, RECORDS = "dataframe_split", "dataframe_records"
_ROWS = (1, 2, 7)


class Frames:
    """Makes the DataFrame that MLflow would make of a body.

    MLflow reads the bodies that it does not take. The columns are already in the order of the signature. MLflow brings
    them into that order before the model sees them.

    Attributes:
        forms: the keys of bodies that it takes. `verify` removes those whose DataFrame differs.
    """

    def __init__(self, model: Any) -> None:
        """Build the decoder of `model`, a loaded pyfunc model.

        Raises:
            NotFast: if MLflow has to read the bodies.
        """
        metadata = model.metadata
        if metadata._is_signature_from_type_hint():
            raise NotFast("the signature comes from type hints")
        self._metadata, self._schema = metadata, metadata.get_input_schema()
        self.shape = Shape(self._schema)
        if self.shape.tensor:
            raise NotFast("the signature has a tensor")
        self.forms = {SPLIT, RECORDS}
        self._names = pd.Index(self.shape.names)
        fields = [
            ("split", self.shape.split | UnsetType, UNSET),
            ("records", list[self.shape.record] | UnsetType, UNSET),
        ]
        body: Any = msgspec.defstruct(
            "FrameBody", fields, rename={"split": SPLIT, "records": RECORDS}, forbid_unknown_fields=True
        )
        self._decode = msgspec.json.Decoder(body).decode

    def parse(self, body: bytes) -> pd.DataFrame | None:
        """Return the DataFrame of a body, or None if MLflow's own code has to read it."""
        read = self._read(body)
        if read is None:
            return None
        rows, has_index = read
        # MLflow makes the index of a list, so it is not a RangeIndex.
        return self.frame(rows, pd.Index(list(range(len(rows)))) if has_index else None)

    def rows(self, body: bytes) -> Rows | None:
        """Return the rows of a body, with values in the order of the signature's columns.

        The result is None if MLflow's own code has to read the body.
        """
        read = self._read(body)
        return None if read is None else read[0]

    def frame(self, rows: Rows, index: pd.Index | None = None) -> pd.DataFrame:
        """Return the DataFrame that MLflow's code would pass to the model for these rows.

        Args:
            rows: the result of `rows`, or rows of several such results.
            index: the row labels. None means 0, 1, and so on.
        """
        if not self.shape.mixed:
            return pd.DataFrame(self.shape.matrix(rows), columns=self._names, index=index)
        columns = zip(self.shape.names, self.shape.kinds, zip(*rows, strict=True), strict=True)
        made = {name: np.array(values, dtype=kind) for name, kind, values in columns}
        return pd.DataFrame(made, columns=self._names, index=index)

    def _read(self, body: bytes) -> tuple[Rows, bool] | None:
        """Return the rows of a body, and whether it has an index, which is then 0, 1, and so on."""
        try:
            request = self._decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if (request.split is UNSET) == (request.records is UNSET):
            return None
        if request.split is UNSET:
            rows = [msgspec.structs.astuple(record) for record in request.records]
            return (rows, False) if rows and RECORDS in self.forms else None
        split = request.split
        if split.columns != self.shape.names or not split.data or SPLIT not in self.forms:
            return None
        if split.index is UNSET:
            return split.data, False
        return (split.data, True) if split.index == list(range(len(split.data))) else None

    def verify(self) -> None:
        """Compare with the DataFrames that MLflow makes of the same bodies.

        The model is not called.

        Raises:
            NotFast: if no form is left.
        """
        random = np.random.default_rng(20240607)
        for count in _ROWS:
            rows = [self._row(random) for _ in range(count)]
            for form, body in self._bodies(rows):
                if form in self.forms and not self._same(body):
                    self.forms.discard(form)
        if not self.forms:
            raise NotFast("the DataFrames differ from MLflow's")

    def _row(self, random: np.random.Generator) -> tuple[Any, ...]:
        """Make a row of random numbers.

        Some are whole numbers even in columns of fractions, because MLflow has to cast those.
        """
        values = (random.normal(size=len(self.shape.names)) * 10.0 ** random.integers(-2, 6)).tolist()
        whole = random.random(len(values)) < 0.3
        return tuple(
            round(value) if as_whole or kind.startswith("int") else value
            for kind, value, as_whole in zip(self.shape.kinds, values, whole, strict=True)
        )

    def _bodies(self, rows: Rows) -> list[tuple[str, bytes]]:
        split = {"columns": self.shape.names, "data": rows}
        bodies: list[tuple[str, Any]] = [
            (SPLIT, split),
            (SPLIT, {**split, "index": list(range(len(rows)))}),
            (RECORDS, [dict(zip(self.shape.names, row, strict=True)) for row in rows]),
        ]
        return [(form, msgspec.json.encode({form: value})) for form, value in bodies]

    def _same(self, body: bytes) -> bool:
        ours = self.parse(body)
        theirs = scoring_server._parse_json_data(body.decode(), self._metadata, self._schema).data  # type: ignore[no-untyped-call]
        return ours is not None and _equal(ours, theirs)


def _equal(ours: pd.DataFrame, theirs: Any) -> bool:
    """Tell whether two DataFrames are the same to a model.

    They have the same types and labels, and the same values to the last bit.
    """
    return (
        type(theirs) is pd.DataFrame
        and list(ours.dtypes) == list(theirs.dtypes)
        and all(_same_labels(*pair) for pair in ((ours.columns, theirs.columns), (ours.index, theirs.index)))
        and all(ours[name].to_numpy().tobytes() == theirs[name].to_numpy().tobytes() for name in ours.columns)
    )


def _same_labels(ours: pd.Index, theirs: pd.Index) -> bool:
    return type(ours) is type(theirs) and ours.dtype == theirs.dtype and ours.equals(theirs)


def frames(model: Any) -> Frames | None:
    """Return the `Frames` of a model, checked against MLflow's.

    It is None if the model cannot have it. The log then has the reason.
    """
    try:
        decoder = Frames(model)
        decoder.verify()
    except NotFast as reason:
        log.info("MLflow's own code parses request bodies: %s", reason)
        return None
    except Exception as error:  # a library's internals differ from what this code expects: do without the shortcut
        log.info("MLflow's own code parses request bodies: %r", error)
        return None
    return decoder
