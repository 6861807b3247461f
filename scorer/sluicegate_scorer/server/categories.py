"""Text columns as the categories that a model was trained on.

LightGBM and XGBoost learn from pandas' categories. In MLflow's signature and in a request these are texts, which both
libraries refuse, so MLflow's own code cannot serve such a model. The model holds the categories of its training data.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

log = logging.getLogger("sluicegate_scorer.serve")


class Categories(NamedTuple):
    """The categories of a model.

    Attributes:
        columns: the categories of each categorical column, by the position of the column.
        as_codes: whether the model takes the number of each category instead. MLflow passes a DataFrame to an XGBoost
            `Booster` in a way that refuses categories.
    """

    columns: dict[int, list[Any]]
    as_codes: bool = False


def prepare(model: Any, predict: Callable[..., Any]) -> Callable[..., Any]:
    """Return the predict function of a model, which turns texts into the model's categories if it has any.

    Args:
        model: the loaded pyfunc model.
        predict: its predict function.
    """
    try:
        categories = _of_model(model)
    except Exception as error:  # a library's internals differ from what this code expects
        log.info("cannot read the categories of the model: %r", error)
        return predict
    if not categories.columns:
        return predict

    @functools.wraps(predict)
    def converting(data: Any, *args: Any, **kwargs: Any) -> Any:
        return predict(convert(data, categories), *args, **kwargs)

    return converting


def convert(data: Any, categories: Categories) -> Any:
    """Return a DataFrame whose texts are categories.

    A text that was not in the training data is a missing value, as in the libraries.

    Args:
        data: what the model is called with. Anything but a DataFrame with texts is returned as it is.
        categories: the categories.
    """
    if not isinstance(data, pd.DataFrame) or max(categories.columns) >= data.shape[1]:
        return data
    texts = [number for number in categories.columns if pd.api.types.is_string_dtype(data.dtypes.iloc[number])]
    if not texts:
        return data
    data = data.copy(deep=False)
    for number in texts:
        known = categories.columns[number]
        column = data.iloc[:, number]
        values = pd.Categorical(column.where(column.isin(known)), categories=known)
        data[data.columns[number]] = np.where(values.isna(), np.nan, values.codes) if categories.as_codes else values
    return data


def _of_model(model: Any) -> Categories:
    raw = getattr(model, "_model_impl", None)
    raw = raw.get_raw_model() if hasattr(raw, "get_raw_model") else raw
    library = type(raw).__module__.partition(".")[0]
    if library == "lightgbm":
        columns = _lightgbm(getattr(raw, "booster_", raw))
    elif library == "xgboost":
        columns = _xgboost(raw.get_booster() if hasattr(raw, "get_booster") else raw)
    else:
        columns = {}
    texts = {number: values for number, values in columns.items() if all(isinstance(value, str) for value in values)}
    return Categories(texts, as_codes=library == "xgboost" and not hasattr(raw, "get_booster"))


def _lightgbm(booster: Any) -> dict[int, list[Any]]:
    """Return the categories of a LightGBM model.

    It holds them in the order of the categorical columns. The list of its features says which columns those are.
    """
    categories = booster.pandas_categorical
    if not categories:
        return {}
    lines = booster.model_to_string(num_iteration=1).splitlines()
    infos = next(line for line in lines if line.startswith("feature_infos=")).partition("=")[2].split(" ")
    # A number has its range in brackets, and a column that no tree can use has "none".
    columns = [number for number, info in enumerate(infos) if info != "none" and not info.startswith("[")]
    if len(columns) != len(categories):
        log.warning(
            "the model was trained on pandas categories, and the server cannot tell in which columns. It can predict"
            " only if their values are numbers. Encode the categories in a scikit-learn pipeline"
        )
        return {}
    return dict(zip(columns, categories, strict=True))


def _xgboost(booster: Any) -> dict[int, list[Any]]:
    """Return the categories of an XGBoost model, which holds them from version 3.1 on."""
    if "c" not in (booster.feature_types or ()):
        return {}
    if not hasattr(booster, "get_categories"):
        log.warning(
            "the model was trained on pandas categories, which XGBoost keeps only from version 3.1 on. It can predict"
            " only if their values are numbers. Encode the categories in a scikit-learn pipeline"
        )
        return {}
    columns = booster.get_categories(export_to_arrow=True).to_arrow()
    return {number: values.to_pylist() for number, (_, values) in enumerate(columns) if values is not None}
