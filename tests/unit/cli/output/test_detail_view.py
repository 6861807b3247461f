"""Which problems the view of one ModelDeployment shows."""

from typing import Any

from sluicegate.api.resource import decode
from sluicegate.cli.output import detail_view

from tests.support.rollout_status import HOLDING, NEXT, raw, revision


def _problems(conditions: list[tuple[str, str, str, str]], **candidate: Any) -> list[str]:
    resource = raw(HOLDING)
    resource["status"]["conditions"] = [
        {"type": kind, "status": status, "reason": reason, "message": message}
        for kind, status, reason, message in conditions
    ]
    resource["status"]["revisions"] = [revision(NEXT, "Candidate", 8, **candidate)]
    return [str(problem) for problem in detail_view.detail(decode(resource), (), ()).problems]


def test_one_cause_in_two_conditions_is_shown_once() -> None:
    ready = ("Ready", "False", "RouteRejected", "The route is rejected. The previous revision serves.")
    routed = ("TrafficRouted", "False", "RouteRejected", "Other words for the same.")
    assert _problems([routed, ready]) == ["RouteRejected: The route is rejected. The previous revision serves."]


def test_two_causes_with_the_same_words_are_both_shown() -> None:
    ready, stale = ("Ready", "False", "WaitingForPods", "One pod."), ("Stale", "True", "NewerVersion", "One pod.")
    assert _problems([ready, stale]) == ["WaitingForPods: One pod.", "NewerVersion: One pod."]


def test_problem_of_a_revision_with_a_new_reason_is_shown() -> None:
    ready = ("Ready", "False", "RollingOut", "Step 2 of 4.")
    problem = {"reason": "ImagePullFailed", "message": "No such image."}
    named = f"churn-{NEXT}: ImagePullFailed: No such image."
    assert _problems([ready], **problem) == ["RollingOut: Step 2 of 4.", named]
    assert _problems([("Ready", "False", "ImagePullFailed", "Pull failed.")], **problem) == [
        "ImagePullFailed: Pull failed."
    ]
