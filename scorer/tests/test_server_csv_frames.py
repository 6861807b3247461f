"""Frames of CSV bodies, against those of MLflow's own code."""

import warnings
from io import StringIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorer.tests.test_server_frame_types import ALL, Model, columns

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server
    from mlflow.types.schema import Schema, TensorSpec
    from sluicegate_scorer.server import frame_checks
    from sluicegate_scorer.server.csv_frames import CsvFrames, csv_frames

pytestmark = pytest.mark.filterwarnings("ignore")
CELLS = [
    "1", "2.5", "0.1", "-0", "1e300", "16777217", "9223372036854775808", "", "NA", "nan", "true", "False", "x",
    "caf\u00e9", "\U0001f600", '"a,b"', '"a""b"', '"a\nb"', "2024-01-01", "aGVsbG8=", '"', " 1", "\x00", "\ufeff",
]  # fmt: skip
CUTS = [b"\xff", b"\xc3", b"\r", b"\n\n", b",", b'"', b"\x00", b"\xef\xbb\xbf"]


@st.composite
def texts(draw, names):
    """Make a CSV: valid, or with odd cells, columns, ends of lines or bytes."""
    header = draw(st.sampled_from([names, names[::-1], [*names, "other"], names[:-1]]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    usual = st.sampled_from(CELLS[: draw(st.sampled_from([2, 5, 9, len(CELLS)]))])
    rows = draw(st.lists(st.lists(usual, min_size=len(header), max_size=len(header)), max_size=3))
    text = end.join(",".join(row) for row in (header, *rows)).encode()
    if draw(st.integers(0, 5)) == 0:
        position = draw(st.integers(0, len(text)))
        text = text[:position] + draw(st.sampled_from(CUTS)) + text[position:]
    return text


def of_mlflow(text, schema):
    try:
        return scoring_server.parse_csv_input(StringIO(text.decode()), schema)
    except (MlflowException, UnicodeDecodeError):
        return None


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.one_of(columns, columns, st.none()).flatmap(lambda s: st.tuples(st.just(s), texts([c[0] for c in s or ALL]))))
def test_makes_frames_of_csv_as_mlflow(case):
    signature, text = case
    schema = Model(signature).schema if signature else None
    ours = CsvFrames(schema).parse(text)
    theirs = of_mlflow(text, schema)
    assert (ours is None) == (theirs is None)
    if ours is not None:
        assert frame_checks.equal(ours, theirs)
        assert frame_checks.same_blocks(ours, theirs)


@pytest.mark.parametrize("size", [3, 20_000])
def test_reads_text_that_spans_the_pieces_of_pandas(size):
    model = Model([("a", "double", True), ("b", "string", True)])
    text = "a,b\n" + "".join(f"{number / 7},caf\u00e9{number % 9}\U0001f600\n" for number in range(size))
    ours = csv_frames(model).parse(text.encode())
    assert frame_checks.equal(ours, of_mlflow(text.encode(), model.schema))


def test_compares_with_mlflow_at_startup(monkeypatch):
    model = Model(ALL)
    assert csv_frames(model) is not None
    model.schema = Schema([TensorSpec(np.dtype("float32"), (-1, 2))])
    assert csv_frames(model) is None
    model = Model([("a", "double", True)])
    parse = scoring_server.parse_csv_input
    monkeypatch.setattr(scoring_server, "parse_csv_input", lambda *a, **o: parse(*a, **o).fillna(0.0))
    assert csv_frames(model) is None
