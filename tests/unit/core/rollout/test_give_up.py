"""Revisions that crash are given up after their deadline.

They stay given up until the model, the spec or `retry` changes that.
"""

import pytest
from sluicegate.api import names
from sluicegate.api.status import Role
from sluicegate.core.snapshot.facts import Problem

from tests.support.fake_cluster import World
from tests.unit.core.decide.test_simulation import assert_at_rest

CRASH = Problem("ModelLoadFailed", "Container model ended with exit code 1 and said: cannot load the model: no skops.")
ELSEWHERE = [
    Problem("ImagePullFailed", "Image x cannot be pulled."),
    Problem("ModelFetchFailed", "The model could not be fetched: no route."),
    Problem("Unschedulable", "No node takes it.", lacks_room=True),
    Problem("SecretNotFound", 'Secret "s" does not exist.'),
]
DEADLINE = 600


def crashed(world: World, revision: str, problem: Problem = CRASH) -> World:
    return world.reconcile().make_pods().fail(revision, problem).reconcile()


def given_up() -> tuple[World, str, str]:
    """Return a world in which version 2 was given up while version 1 serves.

    Returns:
        The world, and the hashes of version 1 and version 2.
    """
    world = World(scaling={"replicas": 2}).gateway().rest()
    old, new = world.hash_of(1), world.hash_of(2)
    crashed(world.serve(2), new)
    assert world.role(new) == Role.CANDIDATE
    world.later(DEADLINE).rest()
    return world, old, new


def test_what_crashes_for_its_whole_deadline_gives_its_pods_back_and_says_why() -> None:
    world, old, new = given_up()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.FAILED)
    assert world.replicas(new) == 0
    assert not [pod for pod in world.pods.values() if pod.revision == new]
    assert world.weights() == {old: 100}
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "ModelLoadFailed")
    assert "no skops" in ready.message
    assert "`sluicegate retry churn -n shop`" in ready.message
    assert (world.condition("Available").status, world.condition("Stalled").status) == ("True", "True")
    assert world.status.rollout is not None
    assert (world.status.rollout.phase, world.status.rollout.candidate) == ("Failed", new)
    assert world.entry(new).message == CRASH.message
    assert_at_rest(world)


def test_another_version_or_the_old_one_ends_it() -> None:
    world, _, new = given_up()
    world.serve(3).rest()
    assert world.role(world.hash_of(3)) == Role.STABLE
    assert (world.role(new), world.condition("Ready").status) == (Role.PARKED, "True")
    world.serve(2).reconcile()
    assert world.role(new) == Role.CANDIDATE, "to point to it again is to try it again"


def test_retry_gives_it_its_whole_time_again() -> None:
    world, _, new = given_up()
    world.later(10 * DEADLINE)
    world.annotations[names.ANNOTATION_RETRY] = new
    world.reconcile()
    assert world.role(new) == Role.CANDIDATE
    world.annotations.clear()
    crashed(world.later(DEADLINE / 2), new)
    assert world.role(new) == Role.CANDIDATE
    world.later(DEADLINE / 2 + 1).rest()
    assert world.role(new) == Role.FAILED
    world.annotations[names.ANNOTATION_RETRY] = new
    assert world.rest().role(new) == Role.STABLE


@pytest.mark.parametrize("problem", ELSEWHERE, ids=lambda problem: problem.reason)
def test_what_is_mended_elsewhere_goes_on_being_tried(problem: Problem) -> None:
    world = World(scaling={"replicas": 2}).gateway().rest()
    new = world.hash_of(2)
    crashed(world.serve(2), new, problem)
    world.later(10 * DEADLINE).reconcile()
    assert world.role(new) == Role.CANDIDATE
    world.fail(new, None).rest()
    assert world.role(new) == Role.STABLE


def test_what_has_nothing_to_fall_back_on_is_never_given_up() -> None:
    world = World().gateway()
    first = world.hash_of(1)
    crashed(world, first).later(10 * DEADLINE).reconcile()
    assert world.replicas(first) == 1
    assert world.condition("Ready").reason == "ModelLoadFailed"


def test_without_a_history_it_is_remembered_all_the_same() -> None:
    world = World(rollout={"historyLimit": 0}).gateway().rest()
    new = world.hash_of(2)
    crashed(world.serve(2), new).later(DEADLINE).rest()
    assert world.role(new) == Role.FAILED
    assert_at_rest(world)


def test_a_canary_that_crashes_gives_its_share_and_its_pods_back() -> None:
    world = World(scaling={"replicas": 2}).gateway().rest()
    old, new = world.hash_of(1), world.hash_of(2)
    world.canary(2, 10).rest()
    assert world.weights() == {old: 90, new: 10}
    world.fail(new, CRASH).list_endpoints().settle()
    assert (world.weights(), world.role(new)) == ({old: 100}, Role.CANARY), "a pod that served for hours may crash once"
    world.later(DEADLINE).rest()
    assert (world.role(new), world.replicas(new)) == (Role.FAILED, 0)
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "ModelLoadFailed")
    assert ready.message.startswith("Canary: ")
    assert_at_rest(world)
    world.canary(3, 10).rest()
    assert world.weights() == {old: 90, world.hash_of(3): 10}


def test_a_pin_is_a_decision_so_the_failure_is_no_news_any_more() -> None:
    world, old, new = given_up()
    world.annotations[names.ANNOTATION_PIN] = old
    world.rest()
    assert world.role(new) == Role.FAILED
    assert world.condition("Ready").reason == "Pinned"
    assert world.status.rollout is not None
    assert world.status.rollout.phase == "Idle"
