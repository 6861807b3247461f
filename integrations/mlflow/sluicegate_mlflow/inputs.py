"""Conversion of inputs to the request body of an MLflow model server.

An input is a DataFrame, a dict, a list, an array or a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ENVELOPES = ("dataframe_split", "dataframe_records", "instances", "inputs")


class WrongInput(ValueError):
    """The input cannot be sent. The text is a sentence for the user."""


def body(given: Any) -> str:
    """Return the JSON text to post to /invocations.

    Raises:
        WrongInput: the input has an unsupported type, or is a file that cannot be read.
    """
    import pandas as pd

    if isinstance(given, str | Path):
        given = _file(Path(given))
    if isinstance(given, pd.DataFrame):
        unpacked = _unpacked(given)
        if unpacked is None:
            return '{"dataframe_split": ' + str(given.to_json(orient="split", date_format="iso")) + "}"
        given = unpacked
    if hasattr(given, "tolist"):
        given = given.tolist()
    try:
        return json.dumps(_wrapped(given))
    except TypeError as error:
        raise WrongInput(f"the input cannot be written as JSON: {error}") from error


def _wrapped(given: Any) -> dict[str, Any]:
    if isinstance(given, dict):
        if any(key in given for key in ENVELOPES):
            return given
        if any(isinstance(each, list | tuple | dict) or hasattr(each, "tolist") for each in given.values()):
            return {"inputs": {key: each.tolist() if hasattr(each, "tolist") else each for key, each in given.items()}}
        return {"dataframe_records": [given]}
    if isinstance(given, list):
        return {"dataframe_records" if given and all(isinstance(each, dict) for each in given) else "inputs": given}
    raise WrongInput(
        f"inputs of type {type(given).__name__} cannot be sent: give a DataFrame, a dict, a list, or a JSON or CSV file"
    )


def _unpacked(frame: Any) -> Any:
    """Restore a request from a DataFrame, or return None if the DataFrame is plain data.

    The mlflow command line reads every JSON file as a table, also one that contains a whole request.
    """
    columns = [str(each) for each in frame.columns]
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
        raise WrongInput(f"{path} cannot be read: {error}") from error
