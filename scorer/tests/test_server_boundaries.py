"""The rows that the start-up comparison tries.

They are next to the values that a model has seen, and at the limits of each type.
"""

import json
import warnings

import numpy as np
import pytest
import threadpoolctl

from scorer.tests import numbers

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec
    from sluicegate_scorer.server.fast import boundaries, verify
    from sluicegate_scorer.server.fast.path import FastPath
    from sluicegate_scorer.server.fast.shape import Shape
    from sluicegate_scorer.server.fast.split_points import split_points

pytestmark = pytest.mark.filterwarnings("ignore")
TYPES = {
    "int32": DataType.integer,
    "int64": DataType.long,
    "float32": DataType.float,
    "float64": DataType.double,
}


def shape(*kinds):
    return Shape(Schema([ColSpec(TYPES[kind], f"c{number}") for number, kind in enumerate(kinds)]))


def columns(rows):
    return [set(column) for column in zip(*rows, strict=True)]


def test_tries_integers_near_example_and_split_points():
    (values,) = columns(boundaries.rows(shape("int64"), [[20240101]], {0: [20240110.5]}))
    assert {20240100, 20240101, 20240102} | {20240109, 20240110, 20240111, 20240112} <= values
    assert {2**24 + 1, 2**31 - 1, 2**53 - 1, -(2**63)} <= values
    assert all(isinstance(value, int) for value in values)


def test_tries_neighbors_of_both_widths():
    (values,) = columns(boundaries.rows(shape("float64"), [[0.5]], {0: [0.1]}))
    for value in (0.5, 0.1):
        assert {float(np.nextafter(value, way)) for way in (-np.inf, np.inf)} <= values
        narrow = np.float32(value)
        assert {float(np.nextafter(narrow, np.float32(way))) for way in (-np.inf, np.inf)} <= values
    assert {-0.5, 1.5} <= values


@pytest.mark.parametrize("width", [1, 30, 1000, 4096])
def test_wide_model_gets_few_rows(width):
    rows = boundaries.rows(shape(*["int32", "float64"] * (width // 2) or ["int32"]), [], {})
    assert 8 <= len(rows) <= 200
    assert len(rows) * width <= 8 * 4096


def test_rows_have_the_dimensions_of_the_tensor():
    tensor = Shape(Schema([TensorSpec(np.dtype("float32"), (-1, 2, 3))]))
    rows = boundaries.rows(tensor, [[0.0] * 6], {})
    assert tensor.matrix(rows).shape[1:] == (2, 3)
    taken = [row for row in rows if tensor.parse(json.dumps({"inputs": [row]}).encode()) is not None]
    assert len(rows) / 2 < len(taken) < len(rows)  # The tensor's reader does not take NaN and the largest numbers.


@pytest.mark.parametrize(
    "kind",
    ["lightgbm LGBMRegressor", "lightgbm Booster", "xgboost XGBClassifier", "xgboost Booster", "onnx float tree"]
    + [f"sklearn {name}" for name in ("tree", "forest", "histogram", "lightgbm", "scaled lightgbm")],
)
def test_reads_split_points_of_each_library(kind, tmp_path):
    signature = "float32" if kind in ("onnx float tree", "sklearn scaled lightgbm") else "int64"
    with threadpoolctl.threadpool_limits(1):
        points = split_points(mlflow.pyfunc.load_model(str(numbers.save(kind, signature, tmp_path))))
    assert points
    starts = numbers.STARTS[signature]
    for column, values in points.items():
        assert len(values) <= 16
        assert all(abs(value - starts[column]) < 600 for value in values), (column, values)


def test_unreadable_trees_have_no_split_points():
    broken = type("Model", (), {"loader_module": "mlflow.lightgbm", "_model_impl": None})()
    assert split_points(broken) == {}


@pytest.mark.parametrize(
    "kind, signature", [("onnx float linear", "float64"), ("onnx float linear", "long and double")]
)
def test_refuses_batches_that_add_in_another_order(kind, signature, tmp_path):
    """Check that the server makes no batches whose sums depend on their size.

    An ONNX graph computes the product of one row in another order than that of several rows.
    """
    path = FastPath(mlflow.pyfunc.load_model(str(numbers.save(kind, signature, tmp_path))))
    rows = [row for row in boundaries.rows(path.shape, [], {}) if verify._reads(path, row)]
    verify._check_batches(path, rows, 8)
    for size in range(2, path.batch + 1):
        for start in range(0, len(rows) - size, size):
            some = rows[start : start + size]
            assert path.singles(some) == [path.request([row]) for row in some]


def test_narrows_a_difference_to_a_row_or_a_batch():
    assert verify._narrowed([1, 2, 3, 4], lambda some: 3 in some) == [3]
    assert verify._narrowed([1, 2, 3, 4], lambda some: len(some) > 2) == [1, 2, 3, 4]
