"""The element type of the array that each flavor makes of a DataFrame.

MLflow passes a DataFrame to a model. The library behind the flavor converts it to one array before it predicts. The
rule of that conversion differs between libraries and between their versions. LightGBM 3 converts integer columns to
float32, and LightGBM 4 converts them to float64. Each function therefore calls the installed library.
"""

from typing import Any

import numpy as np
import pandas as pd

from sluicegate_scorer.server.fast.shape import NotFast, Rows, Shape


def data_frame(shape: Shape, rows: Rows) -> pd.DataFrame:
    """Make the DataFrame that MLflow's schema enforcement passes to a model.

    Args:
        shape: the columns of the signature.
        rows: values in the order of the columns.
    """
    columns = zip(shape.names, shape.kinds, zip(*rows, strict=True), strict=True)
    return pd.DataFrame({name: np.array(values, dtype=kind) for name, kind, values in columns})


def of_frame(shape: Shape) -> np.dtype[Any]:
    """Return the type of `DataFrame.to_numpy`.

    scikit-learn (`sklearn.utils.validation.check_array`) and MLflow's ONNX flavor (`_OnnxModelWrapper.predict`) convert
    a DataFrame to an array of this type. They process an array that already has this type in the same way.
    """
    return shape.dtype if shape.tensor else data_frame(shape, [_ones(shape)]).to_numpy().dtype


def of_lightgbm(shape: Shape, booster: Any) -> np.dtype[Any]:
    """Return the element type of LightGBM's own conversion.

    The function is `lightgbm.basic._data_from_pandas`. LightGBM converts an array by another rule: integers become
    float32. That rule applies to a tensor, which MLflow passes as an array.

    Args:
        shape: what the signature requires.
        booster: a `lightgbm.Booster`.
    """
    from lightgbm.basic import _data_from_pandas

    if shape.tensor:
        return shape.dtype
    frame = data_frame(shape, [_ones(shape)])
    return np.dtype(_data_from_pandas(frame, "auto", "auto", booster.pandas_categorical)[0].dtype)


def of_xgboost(shape: Shape) -> np.dtype[Any]:
    """Return the common type of the columns that XGBoost makes of a DataFrame.

    The function is `xgboost.data._transform_pandas_df`. XGBoost converts each column by itself, and then every value to
    float32. A value takes the same steps in an array of the common type, because integers that the fast path reads are
    exact in a double.
    """
    from xgboost.data import _transform_pandas_df

    if shape.tensor:
        return shape.dtype
    transformed = _transform_pandas_df(data_frame(shape, [_ones(shape)]), False)[0]
    # XGBoost before 2.0 makes one array of them.
    return np.result_type(*(column.dtype for column in getattr(transformed, "columns", [transformed])))


def of_sklearn(shape: Shape, first: Any, further: list[Any]) -> np.dtype[Any]:
    """Return the type for a scikit-learn estimator.

    Args:
        shape: what the signature requires.
        first: the estimator that receives the DataFrame, after steps that do not change it.
        further: other estimators to which it may pass the DataFrame.

    Raises:
        NotFast: if LightGBM may receive the DataFrame from another estimator.
    """
    common = of_frame(shape)
    if _is_lightgbm(first):
        return of_lightgbm(shape, first.booster_)
    if common.kind != "f" and any(map(_is_lightgbm, further)):
        raise NotFast(f"LightGBM inside {type(first).__name__} converts the DataFrame's integers in its own way")
    return common


def _is_lightgbm(estimator: Any) -> bool:
    return type(estimator).__module__.startswith("lightgbm.")


def _ones(shape: Shape) -> tuple[int, ...]:
    return (1,) * len(shape.kinds)
