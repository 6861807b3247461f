"""The reference profile: how a model's features and predictions were distributed when it was trained.

A scoring pod counts what it serves into the same bins, so that the distance between the two can be computed from
counters that add up over pods. One call in training makes it:

    info = mlflow.sklearn.log_model(...)
    sluicegate_scorer.profile.log_profile(training_data, predictions, info)
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FILE = "sluicegate_profile.json"
_BINS = 10
_CATEGORIES = 20
_MAX_FEATURES = 200
_MAX_NAME = 128


def make_profile(data: Any, predictions: Any) -> dict[str, Any]:
    """Describes a DataFrame of features and the predictions for it.

    Args:
        data: the features, a column each; columns that are neither numbers nor short texts are left out.
        predictions: an array, Series or list; of several columns each is described.

    Returns:
        The profile, ready for JSON.
    """
    features = {}
    for name in list(data.columns)[:_MAX_FEATURES]:
        described = describe(np.asarray(data[name]))
        if described is not None:
            features[str(name)[:_MAX_NAME]] = described
    found = {name: describe(column) for name, column in prediction_columns(predictions).items()}
    return {
        "version": 1,
        "rows": len(data),
        "features": features,
        "predictions": {name: each for name, each in found.items() if each is not None},
    }


def log_profile(data: Any, predictions: Any, model: Any) -> dict[str, Any]:
    """Makes a profile and puts it into a model.

    Args:
        data: the features, as for `make_profile`.
        predictions: the predictions for them.
        model: what `mlflow.*.log_model` returned, the ID of a logged model, or a model's folder.

    Returns:
        The profile.
    """
    profile = make_profile(data, predictions)
    model_id = getattr(model, "model_id", None)
    if model_id is None and Path(str(model)).is_dir():
        write(profile, Path(str(model)) / FILE)
        return profile
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        write(profile, path)
        MlflowClient().log_model_artifact(model_id or str(model), str(path))
    return profile


def write(profile: dict[str, Any], path: Path) -> None:
    """Writes a profile to a file."""
    path.write_text(json.dumps(profile, indent=1))


def describe(values: Any) -> dict[str, Any] | None:
    """Bins of one column and how many values fell into each, or None where it cannot be binned."""
    array = np.asarray(values)
    if array.ndim != 1:
        return None
    if array.dtype.kind in "fiub":
        numbers = array.astype(np.float64)
        known = numbers[np.isfinite(numbers)]
        if not len(known):
            return None
        # Equal shares a bin make PSI and KS sensitive where the data is.
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])).tolist()
        described = {"kind": "number", "edges": edges}
    else:
        texts = [str(value) for value in array.tolist() if value is not None and value == value]
        names, counts = np.unique(texts, return_counts=True) if texts else (np.array([]), np.array([]))
        top = [str(names[index])[:_MAX_NAME] for index in np.argsort(-counts, kind="stable")[:_CATEGORIES]]
        if not top:
            return None
        described = {"kind": "category", "values": top}
    return {**described, "counts": count(described, array).tolist()}


def count(described: dict[str, Any], values: Any) -> Any:
    """How many values fall into each bin; the last one is for what is missing.

    A number on an edge belongs to the bin below it. Categories that the reference has not are in the bin before
    the last.
    """
    array = np.asarray(values)
    if described["kind"] == "number":
        edges = np.asarray(described["edges"], dtype=np.float64)
        numbers = array.astype(np.float64)
        bins = np.searchsorted(edges, numbers, side="left")
        bins[np.isnan(numbers)] = len(edges) + 1
        return np.bincount(bins, minlength=len(edges) + 2)
    known = {value: number for number, value in enumerate(described["values"])}
    other = len(known)
    found = [other + 1 if value is None or value != value else known.get(str(value), other) for value in array.tolist()]
    return np.bincount(found, minlength=other + 2)


def labels(described: dict[str, Any]) -> list[str]:
    """The bins' names in the order of their counts: upper bounds, or categories."""
    if described["kind"] == "number":
        return [*(repr(float(edge)) for edge in described["edges"]), "+Inf", "null"]
    return [*described["values"], "other", "null"]


def prediction_columns(predictions: Any) -> dict[str, Any]:
    """Each column of predictions, whatever they came as."""
    if hasattr(predictions, "columns"):
        return {str(name): np.asarray(predictions[name]) for name in predictions.columns}
    if isinstance(predictions, dict):
        return {str(name): np.asarray(value).reshape(len(value), -1)[:, 0] for name, value in predictions.items()}
    if isinstance(predictions, list) and predictions and isinstance(predictions[0], dict):
        return {str(name): np.array([row.get(name) for row in predictions]) for name in predictions[0]}
    array = np.asarray(predictions)
    if array.ndim == 1:
        return {"prediction": array}
    return {f"prediction_{number}": array[:, number] for number in range(array.shape[1])} if array.ndim == 2 else {}
