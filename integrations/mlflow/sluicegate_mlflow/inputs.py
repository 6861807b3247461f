"""From what users predict with (DataFrame, dict, list, array, file) to the body that an MLflow model server reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ENVELOPES = ("dataframe_split", "dataframe_records", "instances", "inputs")


class WrongInput(ValueError):
    """The input is nothing that can be sent; a sentence."""


def body(given: Any) -> str:
    """The JSON text to post to /invocations.

    Raises:
        WrongInput: it is of a kind that cannot be sent, or a file that cannot be read.
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
    """A request that stands in a JSON file: the mlflow command line reads every file as a table, this one too."""
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
