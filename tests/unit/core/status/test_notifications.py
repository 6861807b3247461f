"""Which changes of a status become notifications, and their messages."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.api.status import (
    AnalysisStatus,
    Condition,
    ModelDeploymentStatus,
    Phase,
    RevisionStatus,
    Role,
    RolloutStatus,
)
from sluicegate.config.settings import InvalidSettings, NotificationSettings, build
from sluicegate.core.status.notifications import Notification, body, notifications, wants

NOW = datetime(2026, 11, 28, 1, 2, 3, 456789, UTC)
ANALYSIS = AnalysisStatus(outcome="Failed", metric="errors", value=0.2, limit=0.01, samples=400, message="20 % failed.")


def revision(letter: str, role: Role) -> RevisionStatus:
    return RevisionStatus(
        name=f"pricing-{letter}",
        revision=letter,
        role=role,
        weight=0,
        replicas=1,
        ready_replicas=1,
        model=f"pricing/{letter}",
    )


def status(
    stable: str = "a", phase: str = "Idle", candidate: str | None = "b", stalled: str = "", **more: object
) -> ModelDeploymentStatus:
    return ModelDeploymentStatus(
        conditions=(
            Condition(type="Stalled", status="True" if stalled else "False", reason=stalled or "No", message="Why."),
        ),
        revisions=(revision(stable, Role.STABLE), revision("z", Role.CANDIDATE)),
        rollout=RolloutStatus(phase=Phase(phase), candidate=candidate, **more),  # type: ignore[arg-type]
        url="http://models/shop/pricing",
    )


def told(before: ModelDeploymentStatus, after: ModelDeploymentStatus) -> list[Notification]:
    resource = decode(
        {"metadata": {"name": "pricing", "namespace": "shop", "uid": "u"}, "spec": {"model": {"uri": "models:/m/1"}}}
    )
    return list(notifications(msgspec.structs.replace(resource, status=before), after, "prod", NOW))


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (status(), status(), []),
        (ModelDeploymentStatus(), status(), []),
        (status("a"), status("b"), ["Promoted"]),
        (status(phase="Holding"), status(phase="RolledBack"), ["RolledBack"]),
        (status(phase="Holding"), status(phase="Aborted", stalled="Aborted"), ["RolledBack"]),
        (status(phase="RolledBack"), status(phase="RolledBack", reason="another word"), []),
        (status(phase="RolledBack"), status(phase="RolledBack", candidate="c"), ["RolledBack"]),
        (status(phase="Holding"), status(phase="RolledBack", stalled="RolledBack"), ["RolledBack"]),
        (status(phase="Holding"), status(phase="Paused"), ["Paused"]),
        (status(phase="Waiting"), status(phase="Failed", stalled="CrashLoopBackOff"), ["Failed"]),
        (status(), status(stalled="ImagePullBackOff"), ["Failed"]),
        (status(stalled="ImagePullBackOff"), status(stalled="ImagePullBackOff"), []),
        (status(stalled="ImagePullBackOff"), status(), []),
        (status("b", "Idle", None), status("a", "RolledBack", "b"), ["RolledBack"]),
        (status("a", "Promoting"), status("b", "Idle", None), ["Promoted"]),
    ],
)
def test_what_is_told(before: ModelDeploymentStatus, after: ModelDeploymentStatus, events: list[str]) -> None:
    assert [each.event for each in told(before, after)] == events


def rolled_back() -> Notification:
    after = status(phase="RolledBack", candidate="z", reason="ErrorRate", message="Too many errors.", analysis=ANALYSIS)
    return told(status(phase="Holding", candidate="z"), after)[0]


def test_a_rollback_is_told_with_the_measurement_that_decided_it() -> None:
    parsed = json.loads(body(NotificationSettings(url="http://x"), rolled_back()))
    assert parsed == {
        "id": parsed["id"],
        "event": "RolledBack",
        "time": "2026-11-28T01:02:03.456Z",
        "cluster": "prod",
        "namespace": "shop",
        "name": "pricing",
        "message": "Too many errors.",
        "reason": "ErrorRate",
        "revision": "pricing-z",
        "model": "pricing/z",
        "stable": "pricing-a",
        "verdict": {
            "outcome": "Failed",
            "metric": "errors",
            "value": 0.2,
            "limit": 0.01,
            "samples": 400,
            "message": "20 % failed.",
        },
        "url": "http://models/shop/pricing",
    }


def test_an_id_is_the_same_for_the_same_and_another_for_another() -> None:
    assert rolled_back().id == rolled_back().id
    assert rolled_back().id != told(status("a"), status("b"))[0].id


def test_slack_gets_a_text() -> None:
    parsed = json.loads(body(NotificationSettings(url="http://x", format="Slack"), rolled_back()))
    assert parsed == {"text": "*Rolled back:* `shop/pricing` pricing/z (prod)\nToo many errors."}


def test_slack_gets_an_outcome_that_the_message_does_not_have() -> None:
    passed = msgspec.structs.replace(ANALYSIS, outcome="Passed", message="0.2% failed.")
    crashed = msgspec.structs.replace(rolled_back(), message="It crashed.", analysis=passed)
    parsed = json.loads(body(NotificationSettings(url="http://x", format="Slack"), crashed))
    assert parsed["text"].endswith("\nIt crashed.\n0.2% failed.")


@given(st.text(alphabet=st.sampled_from("<>&!@ ab\n")), st.sampled_from(["RolledBack", "Paused", "Failed"]))
def test_nothing_that_a_pod_says_is_mark_up_to_slack(message: str, phase: str) -> None:
    (found,) = told(status(), status(phase=phase, message=message))
    text = json.loads(body(NotificationSettings(url="http://x", format="Slack"), found))["text"]
    assert "<" not in text and ">" not in text


def test_a_destination_gets_what_it_asked_for() -> None:
    found = rolled_back()
    assert wants(NotificationSettings(url="http://x"), found)
    assert wants(NotificationSettings(url="http://x", events=("RolledBack",), namespaces=("shop",)), found)
    assert not wants(NotificationSettings(url="http://x", events=("Promoted",)), found)
    assert not wants(NotificationSettings(url="http://x", namespaces=("risk",)), found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "either url or secret"),
        ({"url": "http://x", "secret": "y"}, "either url or secret"),
        ({"url": "slack"}, "notifications"),
        ({"url": "http://x", "format": "Teams"}, "format"),
        ({"url": "http://x", "events": ["Ready"]}, "events"),
        ({"url": "http://x", "events": []}, "events"),
        ({"url": "http://x", "channel": "#ops"}, "channel"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        build([("file", {"notifications": {"ops": given}})])


def resource_of(name: str) -> ModelDeployment:
    return decode(
        {"metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {"model": {"uri": "models:/m/1"}}}
    )
