"""The conditions that are not as desired, each cause once.

Conditions depend on each other, so one cause shows in several of them. It has the same reason in all of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from sluicegate.api.reasons import Reason
from sluicegate.api.status import Condition, ConditionType

_DESIRED = {
    ConditionType.READY: "True",
    ConditionType.MODEL_RESOLVED: "True",
    ConditionType.TRAFFIC_ROUTED: "True",
    ConditionType.AVAILABLE: "True",
    ConditionType.STALE: "False",
}
"""The desired status of conditions, the most important condition first. Others repeat what these say."""


def unmet(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """Return the conditions without their desired status, the most important one of each reason.

    A resource that its spec scales to zero is as desired.
    """
    by_type = {condition.type: condition for condition in conditions}
    by_reason: dict[str, Condition] = {}
    for kind, desired in _DESIRED.items():
        condition = by_type.get(kind.value)
        if condition is not None and condition.status != desired and condition.reason != Reason.SCALED_TO_ZERO:
            by_reason.setdefault(condition.reason, condition)
    return tuple(by_reason.values())
