"""The table of invalid and unusual ModelDeployments (`inputs.yaml`).

The offline tests and those on a real API server share it.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_MINIMAL = {
    "apiVersion": "sluicegate.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "table"},
    "spec": {"model": {"uri": "models:/churn/1"}},
}
_TABLE = yaml.safe_load(Path(__file__).with_name("inputs.yaml").read_text())


class Case(NamedTuple):
    """One ModelDeployment, and the message that it must get."""

    document: dict[str, Any]
    field: str
    says: str
    title: str
    options: tuple[str, ...] = ()
    """Options of kubectl apply, where the API server's response depends on them."""


def _changed(changes: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(_MINIMAL)
    for path, value in changes.items():
        place = document
        *parents, last = path.split(".")
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = None if value == "NULL" else value
    return document


def _title(changes: dict[str, Any]) -> str:
    return " ".join(f"{path}={value}" for path, value in changes.items())[:90].replace("\n", " ")


WRONG = [
    Case(_changed(row["set"]), row["field"], row.get("says", ""), _title(row["set"]), tuple(row.get("options", ())))
    for row in _TABLE["wrong"]
]
RIGHT = [Case(_changed(row), "", "", _title(row)) for row in _TABLE["right"]]
