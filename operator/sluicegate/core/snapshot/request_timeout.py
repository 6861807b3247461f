"""The time limit of requests that a revision's pods were created with.

The pods keep it for their life. `spec.traffic.timeout` may since have become longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sluicegate.api import names

FLAG = "--timeout"


def request_timeout(template: Mapping[str, Any]) -> float | None:
    """Return the time limit in seconds that a pod template passes to the scoring server.

    Return None where the template passes none, as for other servers than the scoring server.
    """
    for container in (template.get("spec") or {}).get("containers") or ():
        if container.get("name") == names.MODEL_CONTAINER:
            return _flag([str(argument) for argument in container.get("args") or ()])
    return None


def _flag(arguments: list[str]) -> float | None:
    value: str | None = None
    for index, argument in enumerate(arguments):
        if argument == FLAG:
            value = arguments[index + 1] if index + 1 < len(arguments) else None
        elif argument.startswith(f"{FLAG}="):
            value = argument.removeprefix(f"{FLAG}=")
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None
