"""The fast path of one model, from request body to response body."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from mlflow.utils.proto_json_utils import NumpyEncoder

from sluicegate_scorer.server import large
from sluicegate_scorer.server.fast.predictors import Predictor, predictor
from sluicegate_scorer.server.fast.shape import Matrix, Rows, Shape
from sluicegate_scorer.server.fast.split_points import split_points

# MLflow's encoder falls back on the same function. For floats, integers and strings both use the standard library.
_encode = json.JSONEncoder(default=NumpyEncoder().default).encode


class FastPath:
    """Parses, predicts and encodes without pandas.

    Attributes:
        shape: the bodies that the path reads.
        several: whether the path takes requests of several rows.
        seconds: time that a request of one row took at start-up.
        batch: how many requests of one row may be predicted together.
        forms: the keys of bodies that the path takes.
        threads: whether predictions run in threads only.
        split_points: the values at which the model's trees split, for the start-up comparison.
    """

    def __init__(self, model: Any) -> None:
        self.shape = Shape(model.metadata.get_input_schema())
        self.predictor: Predictor = predictor(model, self.shape)
        self.split_points = split_points(model)
        self.several = True
        self.seconds = 0.0
        self.batch = 1
        self.threads = False
        self.parse: Callable[[bytes], Rows | None] = self.shape.parse

    @property
    def forms(self) -> set[str]:
        """Return the keys of bodies that the path takes."""
        return self.shape.forms

    def matrix(self, rows: Rows) -> Matrix:
        """Return the array that the model's library makes of a DataFrame with these rows."""
        return self.shape.matrix(rows, self.predictor.dtype)

    def request(self, rows: Rows) -> bytes:
        """Return the response body of a single request."""
        return response_body(self.predictor.request(self.matrix(rows)))

    def singles(self, rows: Rows) -> list[bytes]:
        """Return the response bodies of one-row requests that are predicted together.

        Args:
            rows: one row for each request.
        """
        if self.predictor.singles is None:
            raise ValueError("rows of this model are not predicted together")
        return self.encode_all(self.predictor.singles(self.matrix(rows)))

    def encode_all(self, predictions: Sequence[Any]) -> list[bytes]:
        """Return the response body of each request."""
        return [response_body(prediction) for prediction in predictions]


def response_body(predictions: Any) -> bytes:
    """Return the response body with predictions, with the same bytes as MLflow's."""
    return b'{"predictions": ' + large.encode(_encode, predictions) + b"}"
