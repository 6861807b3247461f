"""Which changes of a status become Events."""

import msgspec
import pytest
from sluicegate.api.status import Condition, ConditionType, ModelDeploymentStatus, ModelStatus, RevisionStatus, Role
from sluicegate.core.status.events import Event, events_between

NOTHING = ModelDeploymentStatus()
MODEL = ModelStatus(uri="models:/shop/2", registry="default")


def revision(letter: str, role: Role) -> RevisionStatus:
    return RevisionStatus(
        name=f"shop-{letter}", revision=letter, role=role.value, weight=0, replicas=1, ready_replicas=1, model="shop/1"
    )


def status(
    *revisions: RevisionStatus, ready: str = "False", stalled: str = "", canary: str | None = None, message: str = "m"
) -> ModelDeploymentStatus:
    conditions = (
        Condition(
            type=ConditionType.READY.value, status="True" if ready == "True" else "False", reason="R", message=message
        ),
        Condition(
            type=ConditionType.STALLED.value,
            status="True" if stalled else "False",
            reason=stalled or "NotStalled",
            message=message,
        ),
    )
    return ModelDeploymentStatus(
        conditions=conditions, revisions=revisions, canary=canary, canary_model=MODEL if canary else None
    )


def told(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> list[Event]:
    return list(events_between(before, after))


STABLE, CANDIDATE = revision("a", Role.STABLE), revision("b", Role.CANDIDATE)
MADE = Event("Normal", "RevisionCreated", "Created revision shop-b of shop/1.")


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (NOTHING, status(CANDIDATE), [MADE]),
        (
            status(CANDIDATE),
            status(revision("b", Role.STABLE)),
            [Event("Normal", "Promoted", "Revision shop-b is stable now.")],
        ),
        (
            status(STABLE, CANDIDATE),
            status(revision("b", Role.STABLE), revision("a", Role.RETIRING)),
            [Event("Normal", "Promoted", "Revision shop-b is stable now instead of shop-a.")],
        ),
        (
            status(STABLE),
            # The old revision's pods no longer exist, so status no longer has its name.
            status(revision("b", Role.STABLE)),
            [MADE, Event("Normal", "Promoted", "Revision shop-b is stable now instead of a.")],
        ),
        (status(STABLE), status(STABLE, ready="True"), [Event("Normal", "Ready", "m")]),
        (NOTHING, status(stalled="ModelNotFound"), [Event("Warning", "ModelNotFound", "m")]),
        (status(stalled="ModelNotFound"), status(stalled="OOMKilled"), [Event("Warning", "OOMKilled", "m")]),
        (
            status(STABLE),
            status(STABLE, canary="10%"),
            [Event("Normal", "CanaryWeight", "The canary receives 10% of the requests.")],
        ),
        (
            status(STABLE, canary="10%"),
            status(STABLE),
            [Event("Normal", "CanaryWeight", "The canary was removed.")],
        ),
    ],
    ids=["made", "first", "promoted", "forgotten", "ready", "stalled", "otherwise stalled", "canary", "no canary"],
)
def test_what_happened_is_told(
    before: ModelDeploymentStatus, after: ModelDeploymentStatus, events: list[Event]
) -> None:
    assert told(before, after) == events


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (status(STABLE), status(STABLE, message="2 of 3 pods ready")),
        (status(STABLE, ready="True"), status(STABLE, ready="True", message="other words")),
        (status(stalled="CrashLoopBackOff"), status(stalled="CrashLoopBackOff", message="3 restarts so far")),
        (status(STABLE, ready="True"), status(STABLE)),
        (status(STABLE, CANDIDATE), status(STABLE)),
    ],
    ids=["progress", "still ready", "still stalled", "no longer ready", "parked"],
)
def test_what_only_goes_on_is_not_told_again(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> None:
    assert told(before, after) == []


def test_steps_of_a_rollout_are_no_canary() -> None:
    before = status(STABLE, CANDIDATE)
    after = msgspec.structs.replace(before, canary="10%")
    assert told(before, after) == []
