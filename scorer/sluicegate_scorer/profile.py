"""The reference profile: the distributions of a model's features and predictions.

It describes the training data. A scoring pod counts what it serves into the same bins. The distance between the two can
then be computed from counters, which can be added up over pods. One call in training makes the profile:

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
    """Describe a DataFrame of features and the predictions for it.

    Args:
        data: the features, one column each. Columns that are neither numbers nor categories are left out.
        predictions: an array, Series or list. If it has several columns, each one is described.

    Returns:
        The profile, ready for JSON.
    """
    features = {}
    for name in list(data.columns)[:_MAX_FEATURES]:
        described = describe(np.asarray(data[name]))
        if described is not None:
            features[str(name)[:_MAX_NAME]] = described
    columns = {name: describe(column) for name, column in prediction_columns(predictions).items()}
    return {
        "version": 1,
        "rows": len(data),
        "features": features,
        "predictions": {name: bins for name, bins in columns.items() if bins is not None},
    }


def log_profile(data: Any, predictions: Any, model: Any) -> dict[str, Any]:
    """Make a profile and add it to a model.

    Args:
        data: the features, as for `make_profile`.
        predictions: the predictions for them.
        model: the result of `mlflow.*.log_model`, the ID of a logged model, or a model's folder.

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
    """Write a profile to a file."""
    path.write_text(json.dumps(profile, indent=1))


def describe(values: Any) -> dict[str, Any] | None:
    """Return the bins of one column, and how many values are in each bin.

    The result is None if the column cannot be binned.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        return None
    if array.dtype.kind in "fiub":
        numbers = array.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        if not len(finite):
            return None
        # Bins with equal shares make PSI and KS sensitive where most values are.
        edges = np.unique(np.quantile(finite, np.linspace(0, 1, _BINS + 1)[1:-1])).tolist()
        bins = {"kind": "number", "edges": edges}
    else:
        texts = [str(value) for value in array.tolist() if value is not None and value == value]
        names, counts = np.unique(texts, return_counts=True) if texts else (np.array([]), np.array([]))
        top = [str(names[index])[:_MAX_NAME] for index in np.argsort(-counts, kind="stable")[:_CATEGORIES]]
        if not top:
            return None
        bins = {"kind": "category", "values": top}
    return {**bins, "counts": count(bins, array).tolist()}


def count(reference: dict[str, Any], values: Any) -> Any:
    """Return how many values are in each bin. The last bin counts missing values.

    A number on an edge belongs to the bin below it. Categories that the reference does not have are in the
    second-to-last bin.
    """
    array = np.asarray(values)
    if reference["kind"] == "number":
        edges = np.asarray(reference["edges"], dtype=np.float64)
        numbers = array.astype(np.float64)
        bins = np.searchsorted(edges, numbers, side="left")
        bins[np.isnan(numbers)] = len(edges) + 1
        return np.bincount(bins, minlength=len(edges) + 2)
    positions = {value: number for number, value in enumerate(reference["values"])}
    other = len(positions)
    indices = [
        other + 1 if value is None or value != value else positions.get(str(value), other) for value in array.tolist()
    ]
    return np.bincount(indices, minlength=other + 2)


def labels(bins: dict[str, Any]) -> list[str]:
    """Return the bins' names in the order of their counts.

    They are upper bounds, or categories.
    """
    if bins["kind"] == "number":
        return [*(repr(float(edge)) for edge in bins["edges"]), "+Inf", "null"]
    return [*bins["values"], "other", "null"]


def prediction_columns(predictions: Any) -> dict[str, Any]:
    """Return each column of predictions, whatever their type."""
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
