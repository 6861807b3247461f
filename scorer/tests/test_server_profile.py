"""The reference profile, and counting what is served into its bins."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

with warnings.catch_warnings():  # MLflow warns while it is imported
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


def test_a_profile_holds_equal_shares_and_what_is_missing():
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


def test_served_rows_are_counted_and_exported(tmp_path):
    data, predictions = made()
    log_profile(data[["a"]], predictions, tmp_path)
    metrics = Metrics()
    drift = load(tmp_path, ["a"], metrics)
    drift.fast([(0.0,), (100.0,)], b'{"predictions": [0.0, 200.0]}')
    assert drift.frame(pd.DataFrame({"a": [-100.0]}))
    drift.predicted(np.array([-200.0]))
    text = metrics.text().decode()
    assert 'profile_bin_total{kind="feature",name="a",bin="+Inf"} 1' in text
    assert 'profile_bin_total{kind="prediction",name="prediction",bin="+Inf"} 1' in text
    assert "profile_sampled_rows 3" in text
    assert 'profile_reference_bin{kind="feature",name="a",bin="null"} 10' in text


def test_only_so_many_rows_are_sampled():
    data, predictions = made()
    drift = Drift(make_profile(data[["a"]], predictions), ["a"])
    for _ in range(3000):
        drift.fast([(1.0,)], b'{"predictions": [1.0]}')
    drift.flush()
    assert drift.rows == 2000
