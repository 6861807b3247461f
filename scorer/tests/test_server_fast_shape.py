"""Comparison of the fast path's reader with MLflow's parsing and enforcement.

The reader must not take a body from which MLflow would make other rows.
"""

import json
import math
import random
import warnings

import numpy as np
import pandas as pd
import pytest

from scorer.tests import bodies
from scorer.tests.bodies import NUMBERS, body

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec
    from sluicegate_scorer.server.fast.shape import NotFast, Shape

pytestmark = pytest.mark.filterwarnings("ignore")


def of_mlflow(text, schema):
    """Return what MLflow passes to the model, or None for a rejected request."""
    metadata = type("Metadata", (), {"get_params_schema": lambda self: None})()
    read = bodies.of_mlflow(text, metadata, schema)
    if read is None:
        return None
    _, found = read
    if isinstance(found, dict):
        found = next(iter(found.values()))
    return found.to_numpy() if isinstance(found, pd.DataFrame) else np.asarray(found)


def columns(*types):
    return Schema([ColSpec(kind, name) for kind, name in zip(types, "ab", strict=True)])


SCHEMAS = {
    "double": columns(DataType.double, DataType.double),
    "float": columns(DataType.float, DataType.float),
    "long": columns(DataType.long, DataType.long),
    "integer": columns(DataType.integer, DataType.integer),
    "mixed": columns(DataType.long, DataType.double),
    "tensor": Schema([TensorSpec(np.dtype("float64"), (-1, 2))]),
    "float tensor": Schema([TensorSpec(np.dtype("float32"), (-1, 2))]),
    "long tensor": Schema([TensorSpec(np.dtype("int64"), (-1, 2))]),
    "named tensor": Schema([TensorSpec(np.dtype("float32"), (-1, 2), "a")]),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_fast_reader_equals_mlflows(name):
    schema = SCHEMAS[name]
    shape = Shape(schema)
    if name in ("float", "integer"):
        # The start-up check removes this form, because MLflow widens such records and then rejects them.
        shape.forms -= {"inputs"}
    made = random.Random(name)
    taken = 0
    for _ in range(20000):
        text = body(made)
        rows = shape.parse(text)
        if rows is None:
            continue
        taken += 1
        ours, theirs = shape.matrix(rows), of_mlflow(text, schema)
        assert theirs is not None, text
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, text
        assert ours.tobytes() == np.ascontiguousarray(theirs).tobytes(), text  # Bytes distinguish -0.0 from 0.0.
    assert taken > 50


@pytest.mark.parametrize("number", [number for number in NUMBERS if number[0] not in "+." and number[-1] != "."])
def test_reads_numbers_as_python_does(number):
    text = f'{{"inputs": [[{number}, 1]]}}'
    rows = Shape(SCHEMAS["tensor"]).parse(text.encode())
    try:
        expected = float(json.loads(number))
    except ValueError:
        assert rows is None
        return
    assert (rows is None) == math.isinf(expected)
    assert rows is None or repr(rows[0][0]) == repr(expected)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        columns(DataType.string, DataType.double),
        columns(DataType.boolean, DataType.boolean),
        columns(DataType.float, DataType.double),
        Schema([ColSpec(DataType.double), ColSpec(DataType.double)]),
        Schema([TensorSpec(np.dtype("float64"), (-1, -1))]),
        Schema([TensorSpec(np.dtype("float64"), (-1, 2), "a"), TensorSpec(np.dtype("float64"), (-1, 2), "b")]),
        Schema([TensorSpec(np.dtype("uint8"), (-1, 2))]),
    ],
)
def test_refuses_other_signatures(schema):
    with pytest.raises(NotFast):
        Shape(schema)
