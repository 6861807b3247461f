"""Large bodies, which the server reads in pieces.

The rows must be those of the whole body. A piece has a few bytes here, so that every place of a body is cut.
"""

import json
import random
import warnings
from typing import ClassVar

import msgspec
import numpy as np
import pandas as pd
import pytest

from scorer.tests.bodies import body as any_body
from scorer.tests.bodies import of_mlflow
from scorer.tests.test_server_frames import Model

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from mlflow.types.schema import DataType
    from sluicegate_scorer.server import frames, large
    from sluicegate_scorer.server.batching import Batcher
    from sluicegate_scorer.server.fast.path import FastPath
    from sluicegate_scorer.server.fast.shape import Shape

pytestmark = pytest.mark.filterwarnings("ignore")
COLUMNS = ["t", "x"]
ROWS = [
    ["a", 1.0],
    ['],["', 2.0],
    ['"data":[', 3.0],
    ["}, {", 4.0],
    ['\\"]', 5.0],
    ["\\", 6.0],
    [']]}}"', 7.0],
    ["é", 8.5],
]
RECORDS = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
SPLIT = {"columns": COLUMNS, "data": ROWS}
INDEXED = {"index": list(range(len(ROWS))), **SPLIT}


class Split(msgspec.Struct, forbid_unknown_fields=True):
    """The value of `dataframe_split`."""

    columns: list[str]
    data: list[tuple[str, float]]
    index: list[int] | None = None


class Record(msgspec.Struct, forbid_unknown_fields=True):
    """One item of `dataframe_records`."""

    t: str
    x: float


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A request with a text and a number in each row."""

    dataframe_split: Split | None = None
    dataframe_records: list[Record] | None = None
    instances: list[Record] | None = None


class Texts:
    """Parses the requests of `Body` like the server's own parsers, and keeps the size of each body."""

    decode: ClassVar = msgspec.json.Decoder(Body).decode

    def __init__(self):
        self.sizes = []

    def rows(self, body):
        self.sizes.append(len(body))
        try:
            request = self.decode(body)
        except msgspec.MsgspecError:
            return None
        split = request.dataframe_split
        records = request.dataframe_records or request.instances
        if split is None:
            return [(record.t, record.x) for record in records] if records else None
        if split.columns != COLUMNS or (split.index is not None and split.index != list(range(len(split.data)))):
            return None
        return split.data or None

    def frame(self, body):
        rows = self.rows(body)
        return None if rows is None else pd.DataFrame(rows, columns=pd.Index(COLUMNS))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(large, "LARGE", 0)
    monkeypatch.setattr(large, "PIECE", 3)


def as_objects(rows):
    return np.array(rows, dtype=object)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "request_",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": INDEXED},  # the order of pandas' to_dict(orient="split")
        {"dataframe_split": dict(reversed(INDEXED.items()))},
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
    ],
    ids=["split", "index", "data-first", "records", "instances"],
)
def test_rows_in_pieces_are_those_of_the_body(request_, indent):
    body = json.dumps(request_, indent=indent).encode()
    texts = Texts()
    rows = large.matrix(texts.rows, as_objects, body)
    assert rows is not None
    assert len(texts.sizes) == len(ROWS)
    assert rows.tolist() == ROWS
    frame = large.frame(Texts().frame, body)
    assert frame is not None
    whole = Texts().frame(body)
    if "index" in request_.get("dataframe_split", {}):
        whole.index = pd.Index(list(range(len(ROWS))))
    pd.testing.assert_frame_equal(frame, whole, check_index_type="exact", check_column_type="exact")


def mark(text):
    return text.replace("MARK", str(large._MARK))


@pytest.mark.parametrize(
    "body",
    [
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", null]]}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", 2.0]], "data": 5}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", 2.0]], "data": [["c", 3.0]]}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", 2.0]]}, "params": {}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", 2.0]]}} x',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", 2.0]], "index": [0, 2]}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", 2.0]], "index": [0, true]}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", 2.0]], "index": [0]}}',
        '{"dataframe_split": {"columns": ["t", "x"], "other": 1, "data": [["a", 1.0], ["b", 2.0]]}}',
        '{"dataframe_split": {"data": [["a", 1.0], ["b", 2.0]]}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", [2.0]]]}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", 2.0],]}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0] ["b", 2.0]]}}',
        '{"dataframe_split": {"columns": "\\"data\\":[[1], [2]]", "data": MARK}}',
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0], ["b", 2.0]]}, "dataframe_split": 1}',
        '{"dataframe_records": [{"t": "a", "x": 1.0}, {"t": "b"}]}',
        '{"dataframe_records": [{"t": "a", "x": 1.0}, {"t": "b", "x": {"y": 2}}]}',
        '{"dataframe_records": {"t": ["a"], "x": [1.0]}}',
        '{"dataframe_records": []}',
        '{"instances": [{"t": "a", "x": 1.0}, {"t": "b", "x": 2.0}], "dataframe_records": [{"t": "a", "x": 1.0}]}',
        '{"other": [{"t": "a", "x": 1.0}, {"t": "b", "x": 2.0}]}',
        '[{"t": "a", "x": 1.0}, {"t": "b", "x": 2.0}]',
        "",
        '{"dataframe_split": {"columns": ["t", "x"], "data": [["a", 1.0]',
    ],
)
def test_other_bodies_are_read_whole(body):
    assert large.matrix(Texts().rows, as_objects, mark(body).encode()) is None
    assert large.frame(Texts().frame, mark(body).encode()) is None


@pytest.mark.parametrize(
    "records",
    [[{"x": 1}, {"x": 2}, {"x": None}, {"x": 3}], [{"x": 1}, {"x": 1}, {"y": 2}], [{"x": 1, "y": 2}, {"y": 1, "x": 2}]],
    ids=["types", "names", "order"],
)
def test_frames_whose_columns_depend_on_the_piece_are_not_joined(records):
    def parse(piece):
        return pd.DataFrame(json.loads(piece)["dataframe_records"])

    body = json.dumps({"dataframe_records": records}).encode()
    assert large.frame(parse, body) is None


@pytest.mark.parametrize("types", [(DataType.double, DataType.double), (DataType.long, DataType.double)], ids=str)
def test_any_body_in_pieces_has_the_rows_that_mlflow_reads(types):
    model = Model(*types)
    made, shape = frames.frames(model), Shape(model.schema)
    assert made is not None
    chance = random.Random(str(types))
    taken = 0
    for _ in range(3000):
        text = any_body(chance)
        rows = large.matrix(shape.parse, shape.matrix, text)
        frame = large.frame(made.parse, text)
        if rows is None and frame is None:
            continue
        taken += 1
        theirs = of_mlflow(text, model, model.schema)
        assert theirs is not None, text
        if not isinstance(theirs[0], pd.DataFrame):  # MLflow makes one of `instances` later
            assert np.array_equal(rows, shape.matrix(shape.parse(text))), text
            continue
        whole = theirs[0][["a", "b"]]
        if rows is not None:
            assert np.array_equal(rows, whole), text
        if frame is not None:
            assert frame.dtypes.equals(whole.dtypes), text
            assert frame.index.equals(whole.index) and type(frame.index) is type(whole.index), text
            assert frame.to_numpy().tobytes() == whole.to_numpy().tobytes(), text
    assert taken > 20


@pytest.mark.parametrize(
    "labels, expected",
    [("[0, 1,2]", True), ("[0]", False), ("[0, 1, 2, 3]", False), ("[1, 2, 3]", False), ("[0, 1.5, 2]", False)]
    + [(text, False) for text in ("[0, true, 2]", '["0", "1", "2"]', "[0, 1, [2]]", "{}", "[]", "null", "[0, 1, 2.5]")],
)
def test_index_of_a_large_body_is_read_in_pieces(labels, expected):
    assert large._counts(labels.encode(), 3) is expected


@pytest.mark.parametrize("length", [0, 1, large.ENCODED, large.ENCODED + 1, 3 * large.ENCODED])
def test_predictions_encoded_in_pieces_have_the_same_bytes(length):
    encode = json.JSONEncoder().encode
    values = [number / 7 for number in range(length)]
    for predictions in (values, [[value, "a, [b"] for value in values], {"a": values}):
        assert large.encode(encode, predictions) == encode(predictions).encode()


class KeepsSizes(FastPath):
    """A fast path that keeps the sizes of the bodies that it parses."""

    def __init__(self):
        self.texts = Texts()
        self.parse = self.texts.rows
        self.several = True

    def matrix(self, rows):
        return as_objects(rows)


def test_no_parser_reads_a_large_body_at_once(monkeypatch):
    """Other threads, and with them /health, run between two pieces."""
    monkeypatch.setattr(large, "LARGE", 1 << 20)
    monkeypatch.setattr(large, "PIECE", 128 << 10)
    body = json.dumps({"dataframe_split": {"columns": COLUMNS, "data": ROWS * 10_000}}).encode()
    assert len(body) > large.LARGE
    path = KeepsSizes()
    batcher = Batcher.__new__(Batcher)
    batcher.path = path
    assert len(batcher.decode(body)) == len(ROWS) * 10_000
    assert max(path.texts.sizes) < 2 * large.PIECE
    texts = Texts()
    assert len(large.data_frame(texts.frame, body)) == len(ROWS) * 10_000
    assert max(texts.sizes) < 2 * large.PIECE


def test_a_body_that_is_not_cut_is_read_whole():
    path = KeepsSizes()
    batcher = Batcher.__new__(Batcher)
    batcher.path = path
    body = json.dumps({"dataframe_split": SPLIT}).replace("dataframe_split", r"dataframe_\u0073plit").encode()
    assert large.matrix(path.parse, path.matrix, body) is None
    assert batcher.decode(body) == [tuple(row) for row in ROWS]
    assert large.data_frame(path.texts.frame, body) is not None


def test_general_path_reads_large_bodies_of_a_path_that_makes_no_array():
    batcher = Batcher.__new__(Batcher)
    batcher.path = type("FramePath", (), {"parse": lambda self, body: [(1.0,)], "several": True})()
    assert batcher.decode(b"{}") is None
