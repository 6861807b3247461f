"""Termination messages of containers.

The scoring image writes a report when it succeeds, and `{"reason": ..., "message": ...}` when it fails
(`sluicegate_scorer/termination.py`). Decisions follow the reason. The message is for users, and no decision depends on
its wording. Other images, and processes that were killed, leave text or nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec

from sluicegate.core.snapshot.redaction import last_line


@dataclass(frozen=True, slots=True)
class Failure:
    """What a container left when it failed."""

    reason: str = ""
    """The cause as one word; empty where the container gave none."""
    message: str = ""
    """The cause for users, redacted and in one line."""


class _Written(msgspec.Struct):
    reason: str
    message: str


def parse_failure(text: str) -> Failure:
    """Read the termination message of a container that failed.

    Args:
        text: The message as the pod has it. Any process in the container can write it, so its content is not trusted.
    """
    try:
        written = msgspec.json.decode(text, type=_Written)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return Failure(message=last_line(text))
    return Failure(written.reason, last_line(written.message))


def parse_report(text: str) -> dict[str, str]:
    """Read the report of a container that succeeded, such as the digest and the signature of a fetched model.

    Returns:
        The values that are texts. An empty mapping unless `text` is a JSON object.
    """
    try:
        report = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {key: value for key, value in report.items() if isinstance(value, str)} if isinstance(report, dict) else {}
