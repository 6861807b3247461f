"""Conversion of inputs to the request body of an MLflow model server.

An input is a DataFrame, a dict, a list, an array or a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ENVELOPES = ("dataframe_split", "dataframe_records", "instances", "inputs")


class WrongInput(ValueError):
    """The input cannot be sent. The text is the message for the user."""


def body(data: Any) -> str:
    """Return the JSON text to post to /invocations.

    Raises:
        WrongInput: the input has an unsupported type, or is a file that cannot be read.
    """
    import pandas as pd

    if isinstance(data, str | Path):
        data = _file(Path(data))
    if isinstance(data, pd.DataFrame):
        unpacked = _unpacked(data)
        if unpacked is None:
            return '{"dataframe_split": ' + str(data.to_json(orient="split", date_format="iso")) + "}"
        data = unpacked
    try:
        return json.dumps(_wrapped(_plain(data)))
    except TypeError as error:
        raise WrongInput(f"the input is not serializable as JSON: {error}") from error


def _plain(value: Any) -> Any:
    """Return an array as a list, and any other value unchanged."""
    return value.tolist() if hasattr(value, "tolist") else value


def _wrapped(data: Any) -> dict[str, Any]:
    if isinstance(data, dict):
        if any(key in data for key in ENVELOPES):
            return data
        if any(isinstance(value, list | tuple | dict) or hasattr(value, "tolist") for value in data.values()):
            return {"inputs": {key: _plain(value) for key, value in data.items()}}
        return {"dataframe_records": [data]}
    if isinstance(data, list):
        return {"dataframe_records" if data and all(isinstance(item, dict) for item in data) else "inputs": data}
    raise WrongInput(
        f"inputs of type {type(data).__name__} are not supported: use a DataFrame, dict or list, or a JSON or CSV file"
    )


def _unpacked(frame: Any) -> Any:
    """Restore a request from a DataFrame, or return None if the DataFrame is plain data.

    The mlflow command line reads every JSON file as a table, also one that contains a whole request.
    """
    columns = [str(name) for name in frame.columns]
    if len(columns) != 1 or columns[0] not in ENVELOPES:
        return None
    column = frame[frame.columns[0]]
    named = column.index.dtype.kind not in "iu"
    return {columns[0]: column.to_dict() if named else column.tolist()}


def _file(path: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(path) if path.suffix == ".csv" else json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WrongInput(f"{path} is not readable: {error}") from error
