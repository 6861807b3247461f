"""A condition without its time: what the rules of conditions return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sluicegate.api.reasons import Reason

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class ConditionState:
    """A condition without its time."""

    status: Truth
    reason: Reason
    message: str
    held: bool = False
    """Whether the change waits until the user ends a pause."""
