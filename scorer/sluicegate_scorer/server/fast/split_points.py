"""A bounded sample of the values at which a model's trees split.

The keys are the positions of the columns.
"""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

log = logging.getLogger("sluicegate_scorer.serve")

SplitPoints = dict[int, list[float]]

_TREES = 24
"""Number of trees to read. Reading all trees of a large model would take seconds."""
_PER_COLUMN = 16
_LARGEST_GRAPH = 16 << 20
"""Maximum bytes of an ONNX file that is read for its trees. Larger files mostly hold the weights of a network."""


def split_points(model: Any) -> SplitPoints:
    """Sample the split points of a loaded pyfunc model.

    The result is empty if the model has none, or if they cannot be read.
    """
    read = _READERS.get(model.loader_module)
    try:
        return _sample(read(model._model_impl)) if read is not None else {}
    except Exception as error:  # the libraries' dumps differ between versions, and the comparison has other values too
        log.debug("the model's split points cannot be read: %r", error)
        return {}


def _sample(pairs: Iterable[tuple[int, float]]) -> SplitPoints:
    values: defaultdict[int, set[float]] = defaultdict(set)
    for column, value in pairs:
        if column >= 0 and np.isfinite(value):
            values[column].add(float(value))
    return {column: evenly(sorted(column_values), _PER_COLUMN) for column, column_values in values.items()}


def evenly(values: list[Any], count: int) -> list[Any]:
    """Return at most `count` of the values, at even distances.

    The first and the last value are among them.
    """
    if len(values) <= count:
        return values
    return [values[number] for number in np.linspace(0, len(values) - 1, count).round().astype(int)]


def _iterations(count: int) -> list[tuple[int, int]]:
    """Return spans of a boosted model's iterations.

    They are the first, the middle and the last ones, or all.
    """
    size = _TREES // 3
    if count <= _TREES:
        return [(0, count)]
    return [(start, start + size) for start in (0, (count - size) // 2, count - size)]


def _of_lightgbm(model: Any) -> Iterator[tuple[int, float]]:
    booster = model if hasattr(model, "model_to_string") else model.booster_
    columns: list[str] = []
    for start, end in _iterations(booster.current_iteration()):
        text = booster.model_to_string(num_iteration=end - start, start_iteration=start)
        for line in text.splitlines():
            name, _, values = line.partition("=")
            if name == "split_feature":
                columns = values.split()
            elif name == "threshold":  # comes after the columns of the same tree
                yield from ((int(column), float(value)) for column, value in zip(columns, values.split(), strict=True))


def _of_xgboost(model: Any) -> Iterator[tuple[int, float]]:
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    names = booster.feature_names
    for start, end in _iterations(booster.num_boosted_rounds()):
        for tree in booster[start:end].get_dump(dump_format="json"):
            waiting = [json.loads(tree)]
            while waiting:
                node = waiting.pop()
                waiting.extend(node.get("children", ()))
                if isinstance(node.get("split_condition"), int | float):
                    yield (names.index(node["split"]) if names else int(node["split"][1:])), node["split_condition"]


def _of_sklearn(model: Any) -> Iterator[tuple[int, float]]:
    steps = [step for _, step in getattr(model, "steps", [("", model)]) if step is not None and step != "passthrough"]
    before = steps[:-1]
    pairs = list(_of_estimator(steps[-1]))
    if not before:
        yield from pairs
        return
    # The trees receive the output of the steps before them.
    width = steps[-1].n_features_in_
    sample = _sample(pairs)
    points = np.zeros((max(map(len, sample.values()), default=0), width))
    for column, values in sample.items():
        points[:, column] = np.resize(values, len(points))
    for step in reversed(before):
        points = step.inverse_transform(points)
    yield from ((column, value) for row in points.tolist() for column, value in enumerate(row))


def _of_estimator(estimator: Any) -> Iterator[tuple[int, float]]:
    kind = type(estimator).__module__
    if kind.startswith("lightgbm."):
        yield from _of_lightgbm(estimator)
    elif kind.startswith("xgboost."):
        yield from _of_xgboost(estimator)
    elif hasattr(estimator, "tree_"):
        tree = estimator.tree_
        yield from zip(tree.feature.tolist(), tree.threshold.tolist(), strict=True)  # a leaf's feature is negative
    elif hasattr(estimator, "_predictors"):  # HistGradientBoosting
        for tree in evenly([tree for iteration in estimator._predictors for tree in iteration], _TREES):
            nodes = tree.nodes[tree.nodes["is_leaf"] == 0]
            yield from zip(nodes["feature_idx"].tolist(), nodes["num_threshold"].tolist(), strict=True)
    elif hasattr(estimator, "estimators_"):
        for tree in evenly(np.asarray(estimator.estimators_, dtype=object).reshape(-1).tolist(), _TREES):
            yield from _of_estimator(tree)
    elif hasattr(estimator, "best_estimator_"):
        yield from _of_estimator(estimator.best_estimator_)


def _of_onnx(wrapper: Any) -> Iterator[tuple[int, float]]:
    import onnx

    path = wrapper.rt._model_path
    if os.path.getsize(path) > _LARGEST_GRAPH:
        return
    for node in onnx.load(path, load_external_data=False).graph.node:
        if not node.op_type.startswith("TreeEnsemble"):
            continue
        fields = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        values = fields.get("nodes_values")
        if values is None:  # the operators of later versions have tensors
            tensor = fields.get("nodes_values_as_tensor", fields.get("nodes_splits"))
            values = onnx.numpy_helper.to_array(tensor).tolist()
        modes = fields.get("nodes_modes", [b""] * len(values))  # the modes mark the leaves in the older operators
        for column, value, mode in zip(fields["nodes_featureids"], values, modes, strict=True):
            if mode != b"LEAF":
                yield column, value


_READERS: dict[str, Callable[[Any], Iterable[tuple[int, float]]]] = {
    "mlflow.sklearn": lambda wrapper: _of_sklearn(wrapper.sklearn_model),
    "mlflow.xgboost": lambda wrapper: _of_xgboost(wrapper.xgb_model),
    "mlflow.lightgbm": lambda wrapper: _of_lightgbm(wrapper.lgb_model),
    "mlflow.onnx": _of_onnx,
}
