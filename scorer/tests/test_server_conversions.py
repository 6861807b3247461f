"""Conversions of numbers on the fast path, compared with those of a DataFrame.

The fast path must pass the same numbers to a library. Otherwise the start-up comparison must detect the difference.
"""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import threadpoolctl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorer.tests import numbers

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import infer_signature
    from mlflow.pyfunc import scoring_server
    from sluicegate_scorer.server.fast.path import FastPath
    from sluicegate_scorer.server.fast.shape import NotFast
    from sluicegate_scorer.server.fast.verify import verify
    from sluicegate_scorer.server.general import General
    from sluicegate_scorer.server.settings import Policy

pytestmark = pytest.mark.filterwarnings("ignore")
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
GENERAL = {
    *((kind, signature) for kind in numbers.MODELS if kind.startswith("catboost") for signature in numbers.SIGNATURES),
    ("sklearn vote of lightgbm", "int32"),
    ("sklearn histogram", "long and double"),
    ("sklearn neighbours", "long and double"),
}
"""Models that have no fast path."""
BODIES = 40
"""Number of bodies for each model and signature on the fast path, where most bodies are taken."""
DAY = b'{"dataframe_records": [{"day": 20240103}]}'


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("numbers")


@pytest.fixture(autouse=True)
def one_thread():
    """Limit libraries to one thread.

    Libraries that start one thread per CPU wait for each other where tests share the CPUs.
    """
    with threadpoolctl.threadpool_limits(1):
        yield


def load(path):
    model = mlflow.pyfunc.load_model(str(path))
    library = getattr(model._model_impl, "xgb_model", None)
    if library is not None:
        library.set_param({"nthread": 1}) if hasattr(library, "set_param") else library.set_params(n_jobs=1)
    return model


def verify_as(kind, model, path):
    """Return a fast path of the class `kind`, verified against MLflow's own code."""
    fast = kind(model)
    general = General(model, Policy(400, True))
    example = (path / "serving_input_example.json").read_bytes()
    verify(fast, lambda body: general.respond(body, "application/json"), example, 16)
    return fast


def stock(model, body):
    """Return the status and the body of the response of MLflow's server."""
    try:
        response = scoring_server.invocations(body, "application/json", model, model.metadata.get_input_schema())
    except MlflowException as error:
        return error.get_http_status_code(), None
    return response.status, response.response.encode()


def bodies(names, rows):
    """Return the rows in each form."""
    records = [dict(zip(names, row, strict=True)) for row in rows]
    forms = [{"columns": names, "data": rows}, records, records, records]
    return {form: json.dumps({form: value}).encode() for form, value in zip(FORMS, forms, strict=True)}


def differential(count):
    """Return a decorator that runs a test with `count` bodies.

    The bodies are the same in every run.
    """
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="session")
def days(folder):
    """Save a LightGBM model that distinguishes odd days from even ones.

    Returns:
        The path of the model. A day is a number such as 20240103.
    """
    import lightgbm

    features = pd.DataFrame({"day": [20240101 + number for number in range(28)] * 20})
    target = (features.day % 2) * 10.0
    fitted = lightgbm.LGBMRegressor(n_estimators=30, min_child_samples=5, verbose=-1, n_jobs=1).fit(features, target)
    signature = infer_signature(features, fitted.predict(features))
    options = {"signature": signature, "input_example": features.head(2), "pip_requirements": ["mlflow"]}
    mlflow.lightgbm.save_model(fitted, str(folder / "days"), **options)
    return folder / "days"


def test_lightgbm_distinguishes_integers_above_2_to_24(days):
    model = load(days)
    expected = stock(model, DAY)[1]
    fast = verify_as(FastPath, model, days)
    assert json.loads(expected)["predictions"] == pytest.approx([9.788], abs=0.001)
    assert fast.request(fast.parse(DAY)) == expected


@pytest.mark.parametrize("kind", numbers.MODELS)
def test_converts_numbers_as_a_dataframe_does(kind, folder):
    for signature in numbers.signatures(kind):
        path = numbers.save(kind, signature, folder)
        model = load(path)
        if (kind, signature) in GENERAL:
            with pytest.raises(NotFast):
                verify_as(FastPath, model, path)
            ask_general(model, signature)
        else:
            ask_fast(model, verify_as(FastPath, model, path), signature)


def ask_general(model, signature):
    general = General(model, Policy(400, True))
    names = list(numbers.SIGNATURES[signature])

    @differential(BODIES // 4)
    @given(rows=numbers.rows(signature), form=st.sampled_from(FORMS))
    def compare(rows, form):
        body = bodies(names, rows)[form]
        response = general.respond(body, "application/json")
        status, expected = stock(model, body)
        assert (response.status, response.body if expected is not None else None) == (status, expected), body

    compare()


def ask_fast(model, fast, signature):
    names = list(numbers.SIGNATURES[signature])
    taken = []

    @differential(BODIES)
    @given(rows=numbers.rows(signature), form=st.sampled_from(FORMS))
    def compare(rows, form):
        body = bodies(names, rows)[form]
        parsed = fast.parse(body)
        if parsed is None or (len(parsed) > 1 and not fast.several):
            return
        try:
            ours = fast.request(parsed)
        except Exception:  # MLflow's own code responds to such a request.
            return
        taken.append(body)
        assert ours == stock(model, body)[1], body
        if len(parsed) == 1 and fast.batch > 1:
            assert fast.singles(parsed * 2) == [ours] * 2, body

    compare()
    assert len(taken) > BODIES / 3, len(taken)


@pytest.mark.parametrize("signature", ["integer and float", "boolean and long"])
@pytest.mark.parametrize(
    "kind", ["lightgbm LGBMRegressor", "xgboost Booster", "catboost CatBoostRegressor", "sklearn tree"]
)
def test_mlflow_handles_other_mixtures_of_types(kind, signature, folder):
    model = load(numbers.save(kind, signature, folder))
    with pytest.raises(NotFast):
        FastPath(model)
    ask_general(model, signature)


def single(matrix):
    return matrix.astype(np.float32)


def below(matrix):
    """Return the next lower float32 of each number.

    A cast that truncates would make this value of many numbers.
    """
    return np.nextafter(matrix.astype(np.float32), np.float32(-np.inf))


def whole(matrix):
    return np.trunc(matrix)


WRONG = [
    ("lightgbm LGBMRegressor", "int64", single),
    ("lightgbm LGBMRegressor", "long and double", single),
    ("lightgbm LGBMClassifier", "int32", single),
    ("lightgbm Booster", "int32", single),
    ("lightgbm Booster", "float64", single),
    ("xgboost XGBRegressor", "float64", whole),
    ("xgboost XGBClassifier", "int64", below),
    ("xgboost Booster", "int32", below),
    ("sklearn tree", "float64", whole),
    ("sklearn forest", "int32", below),
    ("sklearn histogram", "int64", single),
    ("sklearn linear", "int64", single),
    ("sklearn bare linear", "int32", single),
    ("sklearn logistic", "int32", single),
    ("sklearn neighbours", "int64", single),
    ("sklearn lightgbm", "int64", single),
    ("onnx float tree", "float64", below),
    ("onnx float linear", "float32", below),
    ("onnx double linear", "float64", whole),
]


@pytest.mark.parametrize(
    "kind, signature, wrong", WRONG, ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_wrong_conversion_turns_the_fast_path_off(kind, signature, wrong, folder):
    class Wrong(FastPath):
        def matrix(self, rows):
            return wrong(super().matrix(rows))

    path = numbers.save(kind, signature, folder)
    with pytest.raises(NotFast, match=r"differs? from"):
        verify_as(Wrong, load(path), path)


def test_log_names_the_column_and_the_value(days):
    class Wrong(FastPath):
        def matrix(self, rows):
            return single(super().matrix(rows))

    with pytest.raises(NotFast, match=r"its response to a row with day=\d+ differs from MLflow's"):
        verify_as(Wrong, load(days), days)
