"""The rules of the Gateway API's CRD for the HTTPRoutes that the operator renders, without an API server.

`httproute.json` has the schema and the CEL rules. `python -m tools.docsgen.gateway_api` generates it from the CRD.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluicegate.api.resource import Manifest

if TYPE_CHECKING:
    from sluicegate.cli.validation.crd import Problem

RULES_FILE = Path(__file__).with_name("httproute.json")


def problems(route: Manifest) -> list[Problem]:
    """Return what the API server would reject about a rendered HTTPRoute.

    Raises:
        ModuleNotFoundError: A package that evaluates the rules is not installed.
    """
    from sluicegate.cli.validation.crd import violations

    return violations(_schema(), route["spec"], "spec")


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(RULES_FILE.read_text(encoding="utf-8"))["spec"]
    return schema
