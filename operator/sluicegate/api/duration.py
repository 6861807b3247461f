"""Conversion of durations.

Users write `1h30m`. The operator calculates with seconds, and writes durations in the format of the Gateway API.
"""

from __future__ import annotations

import re
from functools import lru_cache

from sluicegate.api.fields import DURATION_PATTERN

_PART = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_WHOLE = re.compile(DURATION_PATTERN)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@lru_cache(maxsize=1024)
def seconds(text: str) -> float:
    """Return the length of `text` in seconds.

    Raises:
        ValueError: `text` is not a duration. The message says how to write one.
    """
    if not text or not _WHOLE.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a duration: write whole numbers with the units d, h, m, s or ms, largest unit first, "
            "such as 90s or 1h30m"
        )
    return sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def gateway(length: float) -> str:
    """Format `length`, in seconds, as a duration of the Gateway API (GEP-2257).

    The format has no days, no fractions, and at most five digits for each unit. Valid values of spec.traffic.timeout
    (`fields.RequestDuration`) stay within the five digits.
    """
    milliseconds = round(length * 1000)
    parts = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
