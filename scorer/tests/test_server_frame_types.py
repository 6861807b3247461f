"""Frames with columns of every type, against those of MLflow's own code.

A frame that the server makes must equal what MLflow parses and enforces, to the last bit and label.
"""

import json
import warnings

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorer.tests.bodies import NUMBERS, of_mlflow

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from mlflow.pyfunc import scoring_server
    from mlflow.types.schema import ColSpec, DataType, Schema
    from sluicegate_scorer.server import frame_checks, frames
    from sluicegate_scorer.server.columns import string_dtype

pytestmark = pytest.mark.filterwarnings("ignore")
NAMES = ["a", "b", "caf\u00e9", "d e", "1"]
DATES = [
    '"2024-02-29"', '"2023-02-29"', '"2024-01-01T00:00:00"', '"2024-01-01 00:00:00"', '"2024-01-01T12:30"',
    '"2024-01-01T12:30:15.5"', '"2024-01-01T12:30:15.123456"', '"2024-01-01T12:30:15.123456789"',
    '"2024-01-01T12:30:15Z"', '"2024-01-01T12:30:15+01:00"', '"2024-01-01T24:00:00"', '"2024-01-01T12:30:60"',
    '"1677-01-01"', '"1700-01-01"', '"2199-12-31"', '"2262-04-12"', '"9999-12-31"', '"0001-01-01"', '"01/02/2024"',
    '"20240101"', '"2024-1-1"', '"2024"', '"2024-01"', '""', '"NaT"', '"now"', '"today"', '"nan"', "1704067200",
    "1704067200000000000", '"2024-01-01T12:30:15.1234567890"', '" 2024-01-01"', '"2024-01-01 "', '"\u0662024-01-01"',
    '"2024-13-01"', '"2024-00-01"', '"2024-01-01t00:00:00"', '"-024-01-01"', '"2024-01-01T-1:00:00"',
]  # fmt: skip
TEXTS = [
    '""', '"x"', '"y"', '"caf\\u00e9"', '"\\ud83d\\ude00"', '"\\ud800"', '"nan"', '"None"', '"NA"', '"1"',
    '"2024-01-01"',
    '"true"', '"\\u0000"', '"x\\u0000"', '"\\n"', '" "',
]  # fmt: skip
BINARIES = ['"aGVsbG8="', '"aGVsbG8=\\n"', '"aGVsbG8"', '""', '"a"', '"!!"', '"\u00e9"', '"YQ==YQ=="', '"AAECAw=="']
GOOD = {
    "double": ["0", "-0.0", "1", "2.5", "-1e300", "0.1", "9007199254740993"],
    "float": ["0", "-0.0", "1", "2.5", "0.1", "16777217", "1e-46"],
    "long": ["0", "-1", "7", "9007199254740993", "9223372036854775807", "-9223372036854775808"],
    "integer": ["0", "-1", "7", "2147483647", "-2147483648"],
    "boolean": ["true", "false"],
    "string": TEXTS[:3],
    "datetime": DATES[2:3],
    "binary": BINARIES[:2],
}
ODD = {"boolean": ["0", "1", "0.0", '"true"', '""'], "string": TEXTS, "datetime": DATES, "binary": BINARIES}
STRANGE = ["null", "true", '"x"', "1", "[]", "{}", "NaN", "Infinity"]
ODD_INDEXES = ["[]", "null", "[0]", "[0.0]", "[true]", '["x", 1]', "[9223372036854775808]", "{}", '[""]']


class Model:
    """The attributes of a loaded model that the code under test reads."""

    def __init__(self, columns, from_example=False):
        self.metadata = self
        self.from_example = from_example
        self.schema = Schema([ColSpec(DataType[kind], name, required=required) for name, kind, required in columns])

    def get_input_schema(self):
        return self.schema

    def get_params_schema(self):
        return None

    def _is_signature_from_type_hint(self):
        return False

    def _is_type_hint_from_example(self):
        return self.from_example


columns = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from([kind.name for kind in DataType]), st.booleans()),
    min_size=1,
    max_size=5,
    unique_by=lambda column: column[0],
)


def values(column, odd):
    _, kind, _ = column
    usual = st.sampled_from([*GOOD[kind], "null"] if kind not in ("long", "integer", "binary") else GOOD[kind])
    if not odd:
        return usual
    strange = st.sampled_from(STRANGE)
    return st.one_of(usual, usual, st.sampled_from(ODD.get(kind, NUMBERS)), st.one_of(usual, strange))


@st.composite
def bodies(draw, signature):
    """Make a body: valid, or with odd values, other columns, odd labels, or a change of its text."""
    odd = draw(st.integers(0, 2)) == 0
    # One column at most is odd, or hardly any body would be read.
    where = draw(st.integers(0, len(signature) - 1)) if odd else -1
    count = draw(st.sampled_from([1, 1, 2, 3]))
    cells = [
        draw(st.lists(values(column, number == where), min_size=count, max_size=count))
        for number, column in enumerate(signature)
    ]
    names = [json.dumps(column[0]) for column in signature]
    order = list(range(len(signature)))
    if draw(st.integers(0, 3)) == 0:
        order = draw(st.permutations(order))
    order = [n for n in order if signature[n][2] or draw(st.booleans())] or order
    if draw(st.booleans()):
        rows = []
        for row in range(count):
            keys = [n for n in order if signature[n][2] or draw(st.integers(0, 3))]
            parts = [f"{names[n]}: {cells[n][row]}" for n in keys]
            if odd and draw(st.integers(0, 5)) == 0:
                more = ['"other": 1', f"{names[0]}: null", f"{names[0]}: {cells[0][0]}"]
                parts.insert(0, draw(st.sampled_from(more)))
            rows.append("{" + ", ".join(parts) + "}")
        text = f'{{"dataframe_records": [{", ".join(rows)}]}}'
    else:
        rows = ["[" + ", ".join(cells[n][row] for n in order) + "]" for row in range(count)]
        split = [f'"columns": [{", ".join(names[n] for n in order)}]', f'"data": [{", ".join(rows)}]']
        if draw(st.booleans()):
            labels = st.one_of(
                st.just(list(range(count))),
                st.lists(st.integers(-(2**63), 2**63 - 1), min_size=count, max_size=count),
                st.lists(st.sampled_from(["x", "y", ""]), min_size=count, max_size=count),
            )
            usual = labels.map(json.dumps)
            split.append(f'"index": {draw(st.one_of(usual, st.sampled_from(ODD_INDEXES)) if odd else usual)}')
        text = f'{{"dataframe_split": {{{", ".join(split)}}}}}'
    if odd and draw(st.integers(0, 9)) == 0:
        position = draw(st.integers(0, len(text)))
        added = draw(st.sampled_from(["", " ", ",", "}", "]", '"', "\x00", "\ufeff", "0"]))
        text = text[:position] + added + text[position:]
    return text.encode()


@st.composite
def signature_and_bodies(draw):
    signature = draw(columns)
    return signature, draw(st.lists(bodies(signature), min_size=1, max_size=12))


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(signature_and_bodies())
def test_makes_frames_of_every_type_as_mlflow(case):
    signature, texts = case
    compare(signature, texts)


def compare(signature, texts):
    """Compare the frames of the bodies that the server reads with MLflow's, and return their number."""
    model = Model(signature)
    made = frames.Frames(model)
    taken = 0
    for text in texts:
        ours = made.parse(text)
        if ours is None:
            continue
        taken += 1
        theirs = of_mlflow(text, model, model.schema)
        assert theirs is not None, text
        assert frame_checks.equal(ours, theirs[1]), text
        assert frame_checks.same_blocks(ours, theirs[1]), text
    return taken


@pytest.mark.parametrize("kind", GOOD)
def test_reads_pairs_of_values_as_mlflow(kind):
    odd = [*GOOD[kind], *ODD.get(kind, NUMBERS), *STRANGE]
    pairs = [pair for value in odd for pair in ((value, GOOD[kind][0]), (GOOD[kind][-1], value), ("null", value))]
    texts = [f'{{"dataframe_split": {{"columns": ["a"], "data": [[{one}], [{other}]]}}}}' for one, other in pairs]
    texts += [f'{{"dataframe_records": [{{"a": {value}}}]}}' for value in odd]
    texts += [f'{{"dataframe_records": [{{"a": {value}}}, {{}}]}}' for value in odd]
    assert compare([("a", kind, False)], [text.encode() for text in texts]) >= len(GOOD[kind])


def test_reads_row_labels_as_mlflow():
    indexes = [*ODD_INDEXES, "[1]", "[-9223372036854775808]", '["x"]', "[1, 1]", "[2, 1]", '["x", "x"]', '["y", "x"]']
    rows = ('[1, "x"]', '[1, "x"], [2, "y"]')
    split = '"columns": ["a", "b"], "data"'
    texts = [f'{{"dataframe_split": {{{split}: [{data}], "index": {index}}}}}' for index in indexes for data in rows]
    assert compare([("a", "double", True), ("b", "string", True)], [text.encode() for text in texts]) == 9


KINDS = [kind.name for kind in DataType]
ALL = [(kind, kind, True) for kind in KINDS]
OPTIONAL = [(kind, kind, False) for kind in KINDS]


@pytest.mark.parametrize("signature", [ALL, OPTIONAL, *([column] for column in ALL)])
def test_needs_no_enforcement_of_the_signature(signature):
    made = frames.frames(Model(signature))
    assert made is not None
    assert made.forms == {"dataframe_split", "dataframe_records"}
    assert made.enforced


def test_converts_to_the_example_format_by_mlflow():
    assert frames.frames(Model(ALL, from_example=True)).enforced is False


ROW = {"boolean": True, "integer": 1, "long": 2**62, "float": 0.5, "double": 1, "string": "x", "binary": "aGVsbG8=\n"}
ROW["datetime"] = "2024-01-01T00:00:00"


def test_reads_every_type_from_every_form():
    made = frames.Frames(Model(ALL))
    names = list(ROW)[::-1]
    for body in (
        {"dataframe_records": [ROW]},
        {"dataframe_split": {"columns": KINDS, "data": [[ROW[kind] for kind in KINDS]]}},
        {"dataframe_split": {"columns": names, "data": [[ROW[kind] for kind in names]], "index": [7]}},
    ):
        assert made.parse(json.dumps(body).encode()) is not None, body


@pytest.mark.parametrize("kind", ["boolean", "float", "double", "string", "datetime"])
def test_reads_missing_values_that_mlflow_accepts(kind):
    made = frames.Frames(Model([("a", kind, True)]))
    value = json.dumps(ROW[kind])
    for rows in (f'[{{"a": {value}}}, {{"a": null}}]', '[{"a": null}]'):
        assert made.parse(f'{{"dataframe_records": {rows}}}'.encode()) is not None


def test_reads_bodies_without_optional_columns():
    made = frames.Frames(Model([("a", "string", False), ("b", "double", True), ("c", "double", False)]))
    assert list(made.parse(b'{"dataframe_records": [{"b": 1}, {"b": 2}]}').columns) == ["b"]
    assert list(made.parse(b'{"dataframe_records": [{"b": 1}, {"c": 3, "b": 2}]}').columns) == ["b", "c"]
    assert list(made.parse(b'{"dataframe_split": {"columns": ["c", "b"], "data": [[1, 2]]}}').columns) == ["b", "c"]
    assert made.parse(b'{"dataframe_split": {"columns": ["c", "a"], "data": [[1, "x"]]}}') is None


@pytest.mark.parametrize("names", [["a", "x"], ["b", "a", "b"], ["b"], []])
def test_keeps_no_decoder_of_columns_that_a_client_made_up(names):
    made = frames.Frames(Model([("a", "double", True), ("b", "double", False)]))
    body = {"dataframe_split": {"columns": names, "data": [[1] * len(names)]}}
    assert made.parse(json.dumps(body).encode()) is None
    assert made._ordered.cache_info().currsize <= (set(names) <= {"a", "b"} and len(names) < 3)


@pytest.mark.parametrize(
    "body",
    [
        '{"dataframe_records": [{"a": "x"}]}',
        '{"dataframe_split": {"columns": ["a"], "data": [["x"]]}}',
        '{"dataframe_split": {"columns": ["a", "b"], "data": [["x", 1]], "index": [5]}}',
        '{"dataframe_records": [{"a": null, "b": 1}]}',
    ],
    ids=["no optional column", "no optional column in split", "labels", "no text"],
)
def test_keeps_rows_apart_whose_frame_depends_on_the_others(body):
    made = frames.Frames(Model([("a", "string", True), ("b", "double", False)]))
    assert made.parse(body.encode()) is not None
    joins = "null" in body and string_dtype() == "object"  # pandas 2 keeps a null as None, whatever the other rows are
    assert (made.rows(body.encode()) is None) != joins


def test_joins_rows_of_several_bodies():
    made = frames.Frames(Model(ALL))
    other = {**ROW, "string": None, "datetime": "2023-05-05", "float": None}
    both = [ROW, {**other, "string": "y"}]
    rows = [row for one in both for row in made.rows(json.dumps({"dataframe_records": [one]}).encode())]
    joined = made.frame(rows)
    assert joined["datetime"].tolist() == [pd.Timestamp("2024-01-01"), pd.Timestamp("2023-05-05")]
    assert joined["binary"].tolist() == [b"hello", b"hello"]
    for number, one in enumerate(both):
        alone = made.parse(json.dumps({"dataframe_records": [one]}).encode())
        assert frame_checks.equal(joined.iloc[[number]].reset_index(drop=True), alone)


def test_a_model_cannot_rename_the_columns_of_later_frames():
    made = frames.Frames(Model([("a", "double", True), ("b", "string", True)]))
    body = b'{"dataframe_records": [{"a": 1, "b": "x"}]}'
    frame = made.parse(body)
    frame.columns.name = "features"
    frame.rename(columns={"a": "z"}, inplace=True)
    frame["c"] = 1
    later = made.parse(body)
    assert list(later.columns) == ["a", "b"]
    assert later.columns.name is None


def test_leaves_missing_values_to_mlflow_if_they_differ(monkeypatch):
    parse = scoring_server._parse_json_data

    def other(data, metadata, schema):
        found = parse(data, metadata, schema)
        found.data["a"] = found.data["a"].fillna(0.0)
        return found

    monkeypatch.setattr(scoring_server, "_parse_json_data", other)
    made = frames.frames(Model([("a", "double", True)]))
    assert made is not None
    assert made.parse(b'{"dataframe_records": [{"a": null}]}') is None
    assert made.parse(b'{"dataframe_records": [{"a": 1}]}') is not None
