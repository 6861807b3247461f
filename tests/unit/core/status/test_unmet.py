"""Which conditions are not as desired."""

from sluicegate.api.status import Condition
from sluicegate.core.status.unmet import unmet


def condition(kind: str, status: str, reason: str, message: str = "Why.") -> Condition:
    return Condition(type=kind, status=status, reason=reason, message=message)  # type: ignore[arg-type]


def test_conditions_as_desired_are_left_out() -> None:
    assert unmet([condition("Ready", "True", "Serving"), condition("Stale", "False", "Current")]) == ()


def test_the_most_important_condition_of_a_cause_comes_first_and_alone() -> None:
    ready = condition("Ready", "False", "OOMKilled", "Container model used more memory than its limit.")
    available = condition("Available", "False", "NoReadyPods")
    routed = condition("TrafficRouted", "False", "OOMKilled", "The same, in other words.")
    assert unmet([available, routed, ready]) == (ready, available)


def test_equal_messages_with_other_reasons_are_both_kept() -> None:
    conditions = (condition("Ready", "False", "OOMKilled"), condition("Stale", "True", "NewerVersion"))
    assert unmet(conditions) == conditions
