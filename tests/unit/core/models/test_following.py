"""What a URI follows, and what it resolves to.

The tests also cover the message where the registry's data do not determine it.
"""

import pytest
from sluicegate.api.status import Role
from sluicegate.core.models.following import ModelView, followed
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.status.events import events_between

from tests.support.fake_cluster import World

VIEW = ModelView({"champion": "7", "old": "2"}, {"Production": "7", "Staging": "10", "None": "9"})
GONE = Problem("AliasNotFound", 'Model "churn" has no alias "x". Set it.')
FULL = Problem("Unschedulable", "No node has room.", waits_for_user=False, lacks_room=True)
DOWN = Problem("RegistryUnreachable", "Cannot reach the registry.", waits_for_user=False)


@pytest.mark.parametrize(
    ("uri", "version"),
    [
        ("models:/churn@champion", "7"),
        ("models:/churn@absent", None),
        ("models:/churn/Production", "7"),
        ("models:/churn/staging", "10"),
        ("models:/churn/Archived", None),
        ("models:/churn/latest", "10"),
    ],
)
def test_what_is_followed_means_what_the_registry_shows(uri: str, version: str | None) -> None:
    ref = followed(uri)
    assert ref is not None
    assert VIEW.pointed(ref) == version


@pytest.mark.parametrize("uri", ["models:/churn/3", "models:/m-1234", "runs:/abc/model", "s3://b/m", "image:///m", "x"])
def test_what_means_the_same_for_ever_is_not_followed(uri: str) -> None:
    assert followed(uri) is None


def test_an_alias_that_moves_is_a_change_like_any_other_and_the_spec_stays() -> None:
    world = World().gateway().rest()
    first, spec = world.hash_of(1), dict(world.spec)
    world.points_to = "2"
    world.reconcile()
    before = world.status
    world.rest()
    assert (world.role(world.desired().revision), world.role(first)) == (Role.STABLE, Role.PARKED)
    assert world.status.model is not None
    assert (world.status.model.version, world.spec) == ("2", spec)
    assert before.model is not None
    reasons = [each.reason for each in events_between(before, world.status)]
    assert "Promoted" in reasons


def test_a_move_is_told_with_both_versions() -> None:
    world = World().gateway().rest()
    before = world.status
    world.points_to = "2"
    world.reconcile()
    assert [each.message for each in events_between(before, world.status) if each.reason == "ModelChanged"] == [
        "models:/churn/1 now resolves to version 2 instead of 1."
    ]


def test_moving_back_is_an_immediate_return() -> None:
    world = World().gateway().rest()
    first = world.hash_of(1)
    world.points_to = "2"
    world.reconcile().make_pods()
    assert world.role(world.desired().revision) == Role.CANDIDATE
    world.points_to = None
    world.reconcile()
    assert world.role(first) == Role.STABLE
    assert world.status.rollout is not None
    assert world.status.rollout.candidate is None


def test_a_registry_in_trouble_changes_nothing_but_the_condition_that_says_so() -> None:
    world = World().gateway().rest()
    world.follow_problem = DOWN
    world.rest()
    resolved = world.condition("ModelResolved")
    assert (resolved.status, resolved.reason) == ("False", "RegistryUnreachable")
    assert world.condition("Ready").status == "True"
    assert world.condition("Stalled").status == "False"
    since = resolved.last_transition_time
    world.later(3600).reconcile()
    assert world.writes == []
    assert world.condition("ModelResolved").last_transition_time == since
    world.follow_problem = None
    world.rest()
    assert world.condition("ModelResolved").status == "True"


def test_an_alias_that_is_gone_leaves_what_serves_and_says_so() -> None:
    world = World().gateway().rest()
    first = world.hash_of(1)
    world.follow_problem = GONE
    world.rest()
    assert world.role(first) == Role.STABLE
    said = {name: world.condition(name).status for name in ("Available", "Ready", "Stalled", "ModelResolved")}
    assert said == {"Available": "True", "Ready": "False", "Stalled": "True", "ModelResolved": "False"}
    assert world.condition("Ready").reason == "AliasNotFound"


def test_a_version_that_waits_too_long_makes_it_stale_once_and_serving_it_ends_that() -> None:
    world = World(model={"uri": "models:/churn/1", "maxStaleness": "1h"}).gateway().rest()
    assert world.condition("Stale").status == "False"
    world.points_to = "2"
    world.reconcile().make_pods().fail(world.desired().revision or "", FULL).later(600).reconcile()
    assert (world.condition("Stale").status, world.condition("Stale").reason) == ("False", "Waiting")
    assert world.plan.recheck_after == 3000
    world.later(3000).reconcile()
    stale = world.condition("Stale")
    assert (stale.status, stale.reason) == ("True", "NewerVersion")
    assert stale.message.startswith("models:/churn/1 has resolved to version 2 since 20")
    world.later(7200).reconcile()
    assert world.condition("Stale") == stale
    world.fail(world.desired().revision or "", None).rest()
    assert world.condition("Stale").status == "False"


def test_without_a_limit_nothing_is_stale() -> None:
    world = World().gateway().rest()
    assert "Stale" not in {condition.type for condition in world.status.conditions}
