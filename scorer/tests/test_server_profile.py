"""The reference profile, and the counts of served values in its bins."""

import json
import pathlib
import warnings

import numpy as np
import pandas as pd
import pytest

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from sluicegate_scorer.profile import count, labels, log_profile, make_profile
    from sluicegate_scorer.server.drift import Drift, load
    from sluicegate_scorer.server.metrics import Metrics

pytestmark = pytest.mark.filterwarnings("ignore")


def made():
    random = np.random.default_rng(1)
    data = pd.DataFrame({"a": random.normal(size=1000), "b": random.choice(["x", "y"], 1000)})
    data.loc[:9, "a"] = np.nan
    return data, data.a.fillna(0) * 2


def test_profile_has_equal_shares_and_missing_values():
    data, predictions = made()
    profile = make_profile(data, predictions)
    assert profile["features"]["a"]["counts"] == [99] * 10 + [10]
    assert profile["features"]["b"]["kind"] == "category" and sum(profile["features"]["b"]["counts"][:2]) == 1000
    assert sum(profile["predictions"]["prediction"]["counts"]) == 1000
    assert json.loads(json.dumps(profile)) == profile


def test_unknown_categories_and_infinities_have_bins():
    data, predictions = made()
    features = make_profile(data, predictions)["features"]
    assert count(features["b"], np.array(["x", "new", None], dtype=object)).tolist()[-2:] == [1, 1]
    assert count(features["a"], np.array([np.inf, -np.inf])).tolist() == [1, *[0] * 8, 1, 0]
    assert labels(features["a"])[-2:] == ["+Inf", "null"]


def test_counts_and_exports_served_rows(tmp_path):
    data, predictions = made()
    log_profile(data[["a"]], predictions, tmp_path)
    metrics = Metrics()
    drift = load(tmp_path, {"a": "float64"}, metrics)
    drift.fast([(0.0,), (100.0,)], b'{"predictions": [0.0, 200.0]}')
    assert drift.frame(pd.DataFrame({"a": [-100.0]}))
    drift.predicted(np.array([-200.0]))
    text = metrics.text().decode()
    assert 'profile_bin_total{kind="feature",name="a",bin="+Inf"} 1' in text
    assert 'profile_bin_total{kind="prediction",name="prediction",bin="+Inf"} 1' in text
    assert "profile_sampled_rows 3" in text
    assert 'profile_reference_bin{kind="feature",name="a",bin="null"} 10' in text


def test_both_paths_count_float_columns_alike(tmp_path):
    """Check that both paths count a float32 value in the same bin.

    0.1 as a float32 is above 0.1 as a double, and is often an edge of a bin itself.
    """
    data = pd.DataFrame({"a": np.array([0.1, 0.2, 0.3, 0.7] * 50, dtype=np.float32)})
    log_profile(data, data.a, tmp_path)
    texts = []
    for path in ("fast", "frame"):
        metrics = Metrics()
        drift = load(tmp_path, {"a": "float32"}, metrics)
        for value in (0.1, 0.2, 0.3, 0.7):
            if path == "fast":
                drift.fast([(value,)], b'{"predictions": [0.5]}')
            else:
                assert drift.frame(pd.DataFrame({"a": np.array([value], dtype=np.float32)}))
                drift.predicted([0.5])
        texts.append([line for line in metrics.text().decode().splitlines() if "profile_bin_total" in line])
    assert texts[0] == texts[1]


def test_limits_the_sampled_rows():
    data, predictions = made()
    drift = Drift(make_profile(data[["a"]], predictions), {"a": "float64"})
    for _ in range(3000):
        drift.fast([(1.0,)], b'{"predictions": [1.0]}')
    drift.flush()
    assert drift.rows == 2000


def test_log_profile_adds_it_to_the_logged_model(registry, tmp_path):
    import mlflow
    from sklearn.linear_model import LinearRegression

    frame = pd.DataFrame({"a": np.arange(50.0), "b": np.ones(50)})
    model = LinearRegression().fit(frame, frame.a)
    tracking = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(registry)
    try:
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            input_example=frame.head(2),
            pip_requirements=["mlflow"],
            registered_model_name="profiled",
        )
        log_profile(frame, model.predict(frame), info)
        path = mlflow.artifacts.download_artifacts(artifact_uri="models:/profiled/1", dst_path=str(tmp_path))
    finally:
        mlflow.set_tracking_uri(tracking)
    metrics = Metrics()
    assert load(pathlib.Path(path), dict.fromkeys(["a", "b"], "float64"), metrics) is not None
    assert 'profile_reference_bin{kind="feature",name="a",bin="null"} 0' in metrics.text().decode()


def test_command_makes_a_profile_of_a_data_set(scorer, tmp_path):
    import mlflow
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    frame = pd.DataFrame({"a": np.arange(50.0), "b": np.arange(50.0) % 7})
    model = LinearRegression().fit(frame, frame.a)
    folder = tmp_path / "model"
    options = {"pip_requirements": ["mlflow"], "serialization_format": "cloudpickle"}
    mlflow.sklearn.save_model(model, str(folder), signature=infer_signature(frame, frame.a), **options)
    frame.assign(other="x").to_csv(tmp_path / "data.csv", index=False)
    done = scorer("profile", tmp_path / "data.csv", "-m", folder)
    assert done.returncode == 0, done.stderr
    assert "50 rows, 2 features" in done.stdout
    profile = json.loads((folder / "sluicegate_profile.json").read_text())
    assert set(profile["features"]) == {"a", "b"} and set(profile["predictions"]) == {"prediction"}
    frame[["a"]].to_csv(tmp_path / "short.csv", index=False)
    assert (
        "does not have the model's columns b"
        in scorer("profile", tmp_path / "short.csv", "-m", folder).termination_message
    )
