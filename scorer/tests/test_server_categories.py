"""Models that were trained on pandas' categories.

Their answers have to be those of the library for a DataFrame with the categories of the training data.
"""

import io
import json
import warnings

import numpy as np
import pandas as pd
import pytest

from scorer.tests.open_inference import tensor

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import lightgbm
    import mlflow
    import xgboost
    from mlflow.models import infer_signature
    from sluicegate_scorer.server import categories
    from sluicegate_scorer.server.categories import Categories
    from sluicegate_scorer.server.general import General
    from sluicegate_scorer.server.settings import Policy
    from sluicegate_scorer.server.v2 import OpenInference

pytestmark = pytest.mark.filterwarnings("ignore")

COLORS = ["red", "blue", "green"]
FRAME = pd.DataFrame(
    {
        "number": np.arange(120.0),
        "color": pd.Categorical(COLORS * 40, categories=COLORS),
        "size": pd.Categorical(["s", "m"] * 60),
    }
)
TARGET = (FRAME.color == "red") * 10.0 + (FRAME["size"] == "s") * 3 + FRAME.number * 0.01
ROWS = pd.DataFrame(
    {"number": [1.0, 2.0, 3.0, 4.0, 5.0], "color": ["green", "red", "blue", "pink", "red"], "size": list("smsmx")}
)


def with_categories(rows):
    """Return rows with the categories of the training data."""
    return rows.assign(
        color=pd.Categorical(rows.color, categories=COLORS), size=pd.Categorical(rows["size"], categories=["m", "s"])
    )


def light(booster):
    options = {"n_estimators": 10, "min_child_samples": 5, "verbose": -1, "n_jobs": 1}
    model = lightgbm.LGBMRegressor(**options).fit(FRAME, TARGET)
    return mlflow.lightgbm, model.booster_ if booster else model, model.predict(with_categories(ROWS))


def xgb(booster):
    options = {"n_estimators": 10, "max_depth": 3, "n_jobs": 1, "enable_categorical": True}
    model = xgboost.XGBRegressor(**options).fit(FRAME, TARGET)
    return mlflow.xgboost, model.get_booster() if booster else model, model.predict(with_categories(ROWS))


@pytest.mark.parametrize("booster", [False, True], ids=["estimator", "booster"])
@pytest.mark.parametrize("make", [light, xgb])
def test_texts_are_the_categories_of_training(tmp_path, make, booster):
    flavor, model, expected = make(booster)
    signature = infer_signature(FRAME, np.ones(3))
    assert [spec.type.name for spec in signature.inputs] == ["double", "string", "string"]
    flavor.save_model(model, str(tmp_path / "m"), signature=signature, pip_requirements=["mlflow"])
    general = General(mlflow.pyfunc.load_model(str(tmp_path / "m")), Policy())
    table = io.StringIO()
    ROWS.to_csv(table, index=False)
    bodies = [
        ("application/json", json.dumps({"dataframe_records": ROWS.to_dict("records")})),
        ("application/json", json.dumps({"dataframe_split": ROWS.to_dict("split")})),
        ("application/json", json.dumps({"dataframe_split": ROWS[["size", "number", "color"]].to_dict("split")})),
        ("text/csv", table.getvalue()),
    ]
    for kind, body in bodies:
        response = general.respond(body.encode(), kind)
        assert response.status == 200, response.body
        np.testing.assert_allclose(json.loads(response.body)["predictions"], expected)
    inputs = [
        tensor("number", "FP64", ROWS.number.tolist()),
        tensor("color", "BYTES", ROWS.color.tolist()),
        tensor("size", "BYTES", ROWS["size"].tolist()),
    ]
    response = OpenInference(general, "model", "").infer(json.dumps({"inputs": inputs}).encode(), None)
    np.testing.assert_allclose(json.loads(response.body)["outputs"][0]["data"], expected)


def test_leaves_everything_else_alone():
    columns = Categories({1: COLORS})
    for data in (FRAME, ROWS[["color"]], ROWS.to_numpy(), ROWS.assign(color=1)):
        assert categories.convert(data, columns) is data
    converted = categories.convert(ROWS, columns)
    assert ROWS.color.dtype != "category" and converted.color.isna().tolist() == [False, False, False, True, False]


def test_says_why_it_cannot_convert(caplog):
    """A column that no tree can use is not among the features that the model describes."""
    frame = FRAME.assign(size=pd.Categorical(["s"] * 120))
    model = lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(frame, TARGET)
    assert categories._lightgbm(model.booster_) == {}
    assert "Encode the categories in a scikit-learn pipeline" in caplog.text
