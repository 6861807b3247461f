"""Frames that the server makes without MLflow's parsing.

They must equal the frames of MLflow's own parsing, to the last bit and label.
"""

import random
import warnings

import pandas as pd
import pytest

from scorer.tests.bodies import body, of_mlflow

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from mlflow.models.utils import _enforce_schema
    from mlflow.pyfunc import scoring_server
    from mlflow.types.schema import Array, ColSpec, DataType, Schema
    from sluicegate_scorer.server import frame_checks, frames
    from sluicegate_scorer.server.fast.shape import NotFast

pytestmark = pytest.mark.filterwarnings("ignore")
FORMS = {"dataframe_split", "dataframe_records"}
TYPES = [
    (DataType.double, DataType.double),
    (DataType.float, DataType.float),
    (DataType.long, DataType.long),
    (DataType.integer, DataType.integer),
    (DataType.long, DataType.double),
    (DataType.double, DataType.integer),
]


class Model:
    """The attributes of a loaded model that the code under test reads."""

    def __init__(self, *types, hinted=False):
        self.metadata = self
        self.hinted = hinted
        self.schema = Schema([ColSpec(kind, name) for kind, name in zip(types, "ab", strict=True)])

    def get_input_schema(self):
        return self.schema

    def get_params_schema(self):
        return None

    def _is_signature_from_type_hint(self):
        return self.hinted

    def _is_type_hint_from_example(self):
        return False


@pytest.mark.parametrize("types", TYPES, ids=lambda types: "-".join(kind.name for kind in types))
def test_makes_the_dataframe_that_mlflow_makes(types):
    model = Model(*types)
    made = frames.frames(model)
    assert made is not None
    assert made.forms == FORMS
    chance = random.Random(str(types))
    taken = 0
    for _ in range(8000):
        text = body(chance)
        ours = made.parse(text)
        if ours is None:
            continue
        taken += 1
        theirs = of_mlflow(text, model, model.schema)
        assert theirs is not None, text
        parsed, enforced = theirs
        in_order = parsed[["a", "b"]]  # Enforcing the signature puts the columns in its order.
        assert frame_checks.equal(ours, in_order), text
        assert frame_checks.equal(_enforce_schema(ours, model.schema), enforced), text
    assert taken > 20


def test_mlflow_reads_a_form_whose_frames_differ(monkeypatch):
    """Check a form for which pandas makes other labels.

    Another version of pandas may label records in another way.
    """
    parse = scoring_server._parse_json_data

    def other(data, metadata, schema):
        found = parse(data, metadata, schema)
        if "dataframe_records" in data:
            found.data.index = pd.Index(list(found.data.index))
        return found

    monkeypatch.setattr(scoring_server, "_parse_json_data", other)
    made = frames.frames(Model(DataType.double, DataType.double))
    assert made is not None
    assert made.forms == {"dataframe_split"}
    assert made.parse(b'{"dataframe_records": [{"a": 1, "b": 2}]}') is None
    assert made.parse(b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}') is not None


@pytest.mark.parametrize(
    "model", [Model(DataType.double, DataType.double, hinted=True), Model(Array(DataType.double), DataType.double)]
)
def test_mlflow_reads_the_bodies_of_other_models(model, caplog):
    with pytest.raises(NotFast):
        frames.Frames(model)
    caplog.set_level("INFO", logger="sluicegate_scorer.serve")
    assert frames.frames(model) is None
    assert "MLflow's own code parses request bodies" in caplog.text
