"""One model's fast path: from a body to the bytes of the answer."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from mlflow.utils.proto_json_utils import NumpyEncoder

from sluicegate_scorer.server.fast.predictors import Predictor, predictor
from sluicegate_scorer.server.fast.shape import Matrix, Rows, Shape
from sluicegate_scorer.server.fast.split_points import split_points


class FastPath:
    """Parses, predicts and encodes without pandas.

    Attributes:
        shape: what bodies it reads.
        several: whether requests of several rows are taken.
        seconds: what a request of one row took at start-up.
        batch: how many requests of one row may be predicted at once.
        forms: the keys of bodies that are taken.
        split_points: where the model's trees split, for the start-up check.
    """

    def __init__(self, model: Any) -> None:
        self.shape = Shape(model.metadata.get_input_schema())
        self.predictor: Predictor = predictor(model, self.shape)
        self.split_points = split_points(model)
        self.several = True
        self.seconds = 0.0
        self.batch = 1
        self.parse: Callable[[bytes], Rows | None] = self.shape.parse
        # The same function that MLflow's encoder falls back on: floats, integers and strings are the standard
        # library's in both.
        self._encode = json.JSONEncoder(default=NumpyEncoder().default).encode

    @property
    def forms(self) -> set[str]:
        """The keys of bodies that are taken."""
        return self.shape.forms

    def matrix(self, rows: Rows) -> Matrix:
        """The array that the model's library makes of a DataFrame with these rows."""
        return self.shape.matrix(rows, self.predictor.dtype)

    def request(self, rows: Rows) -> bytes:
        """The answer to one request by itself."""
        return self._body(self.predictor.request(self.matrix(rows)))

    def singles(self, rows: Rows) -> list[bytes]:
        """The answers to requests of one row each, predicted together."""
        if self.predictor.singles is None:
            raise ValueError("rows of this model are not predicted together")
        return self.encode_all(self.predictor.singles(self.matrix(rows)))

    def encode_all(self, predictions: Sequence[Any]) -> list[bytes]:
        """Each request's answer."""
        return [self._body(each) for each in predictions]

    def _body(self, predictions: Any) -> bytes:
        return b'{"predictions": ' + self._encode(predictions).encode() + b"}"
