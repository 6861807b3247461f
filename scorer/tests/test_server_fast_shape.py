"""The fast path's reader never takes a body whose rows MLflow's own parsing and enforcement would see otherwise."""

import json
import math
import random
import warnings

import numpy as np
import pandas as pd
import pytest

with warnings.catch_warnings():  # MLflow warns while it is imported
    warnings.simplefilter("ignore")
    from mlflow.exceptions import MlflowException
    from mlflow.models.utils import _enforce_schema
    from mlflow.pyfunc import scoring_server
    from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec
    from sluicegate_scorer.server.fast.shape import NotFast, Shape

pytestmark = pytest.mark.filterwarnings("ignore")

NUMBERS = [
    "0", "-0", "-0.0", "1", "-1", "2.5", "1e5", "1E-5", "1e-400", "1e400", "-1e400", "4.9e-324", "2.2250738585072011e-308",
    "9007199254740992", "9007199254740993", "-9007199254740993", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "123456789012345678901234567890", "2147483647", "2147483648", "-2147483649", "16777217",
    "0.1", "0.30000000000000004", "1.7976931348623157e308", "3.4028236e38", "1.0", "3.0", "1e2", "01", "+1", ".5", "1.",
]  # fmt: skip
OTHERS = [
    "null",
    "true",
    "false",
    '"1"',
    '"x"',
    "NaN",
    "Infinity",
    "-Infinity",
    "[]",
    "[1]",
    "{}",
    '{"a": 1}',
    "",
    "nan",
]
KEYS = ['"a"', '"b"', '"\\u0061"', '"A"', '"a "', '""', "a"]
FORMS = ["dataframe_split", "dataframe_records", "instances", "inputs", "params", "predictions", "prompt", "columns"]


def value(made):
    kind = made.random()
    if kind < 0.6:
        return made.choice(NUMBERS)
    if kind < 0.85:
        text = repr(made.uniform(-1, 1) * 10.0 ** made.randint(-30, 30))
        return text if made.random() < 0.5 else str(made.randint(-(2**66), 2**66) >> made.randint(0, 60))
    return made.choice(OTHERS) if made.random() < 0.3 else "7"


def record(made):
    keys = ['"a"', '"b"']
    if made.random() < 0.25:
        made.shuffle(keys)
        if made.random() < 0.6:
            keys.insert(made.randint(0, 2), made.choice(KEYS))
        if made.random() < 0.3:
            keys.pop()
    return "{" + ", ".join(f"{key}: {value(made)}" for key in keys) + "}"


def row(made):
    count = 2 if made.random() < 0.9 else made.randint(0, 3)
    return "[" + ",".join(value(made) for _ in range(count)) + "]"


def some(made, one):
    return "[" + ", ".join(one(made) for _ in range(made.choice([0, 1, 1, 1, 2, 3]))) + "]"


def content(made, form):
    kind = made.random()
    if form == "dataframe_split" and kind < 0.9:
        parts = [
            f'"columns": {made.choice(["[" + chr(34) + "a" + chr(34) + "," + chr(34) + "b" + chr(34) + "]"] * 8 + ["[]", "null", "[1, 2]"])}'
        ]
        parts.append(f'"data": {some(made, row)}')
        if made.random() < 0.2:
            parts.append(f'"index": {made.choice(["[0]", "[0, 1]", "[1]", "null", "[0.0]", "[true]"])}')
        if made.random() < 0.1:
            parts.append(made.choice(['"data": [[5, 6]]', '"other": 1', '"columns": ["b", "a"]']))
        return "{" + ", ".join(parts) + "}"
    if kind < 0.5:
        return some(made, record)
    if kind < 0.7:
        return some(made, row)
    return "{" + ", ".join(f'"{name}": {some(made, value)}' for name in "ab") + "}"


def body(made):
    forms = [made.choice(FORMS[:4])]
    while made.random() < 0.15:
        forms.append(made.choice([*FORMS, forms[0]]))
    text = "{" + ", ".join(f'"{form}": {content(made, form)}' for form in forms) + "}"
    if made.random() < 0.1:
        position = made.randint(0, len(text))
        text = (
            text[:position]
            + made.choice(["", " ", "\n", ",", "}", "]", '"', "\x00", "\x0b", "\ufeff", "\\"])
            + text[position:]
        )
    return text.encode()


def of_mlflow(text, schema):
    """What the model would be given, or None where the request would be refused."""
    metadata = type("Metadata", (), {"get_params_schema": lambda self: None})()
    try:
        parsed = scoring_server._parse_json_data(text, metadata, schema)
        if parsed.is_unified_llm_input:
            return None
        found = _enforce_schema(parsed.data, schema)
    except (MlflowException, ValueError, RecursionError, TypeError, KeyError, OverflowError, AttributeError):
        return None
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
def test_what_the_fast_reader_takes_is_what_mlflow_reads(name):
    schema = SCHEMAS[name]
    shape = Shape(schema)
    if name in ("float", "integer"):
        shape.forms -= {"inputs"}  # the start-up check takes it away: MLflow widens such records and then refuses
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
        assert ours.tobytes() == np.ascontiguousarray(theirs).tobytes(), text  # so that -0.0 is not 0.0
    assert taken > 50


@pytest.mark.parametrize("number", [number for number in NUMBERS if number[0] not in "+." and number[-1] != "."])
def test_numbers_are_read_as_python_reads_them(number):
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
def test_signatures_that_have_no_fast_path(schema):
    with pytest.raises(NotFast):
        Shape(schema)
