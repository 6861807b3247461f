"""A version that crashes after it became stable, while the previous one still has pods."""

from typing import Any

import pytest
from sluicegate.api import names
from sluicegate.api.status import Role
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.status.events import events_between
from sluicegate.core.status.notifications import notifications

from tests.support.fake_cluster import World
from tests.unit.core.decide.test_simulation import assert_at_rest

CRASH = Problem("OOMKilled", "Container model used more memory than its limit of 1Gi and was killed.")
ELSEWHERE = Problem("ImagePullFailed", "Image x cannot be pulled.")


def taken_over(gateway: bool = True, replicas: int = 2, **spec: Any) -> tuple[World, str, str]:
    """Return a world in which version 2 has just taken over, and the hashes of versions 1 and 2."""
    world = World(scaling={"replicas": replicas}, **spec).gateway(gateway).rest()
    old, new = world.hash_of(1), world.hash_of(2)
    world.serve(2).settle()
    assert (world.role(new), world.role(old), world.replicas(old)) == (Role.STABLE, Role.PARKED, replicas)
    return world, old, new


def crash(world: World, revision: str, count: int = 1000) -> World:
    return world.fail(revision, CRASH, count).list_endpoints().reconcile()


@pytest.mark.parametrize("gateway", [True, False])
def test_crash_after_the_takeover_gives_the_traffic_back_at_once(gateway: bool) -> None:
    world, old, new = taken_over(gateway)
    before = world.resource
    crash(world.later(5), new)
    assert world.role(old) == Role.STABLE
    assert world.weights() == {old: 100} if gateway else world.service_selects() in (None, old)
    sent = [notification.event for notification in notifications(before, world.status, "c", world.now)]
    assert sent == ["RolledBack"]
    assert "Promoted" not in [each.reason for each in events_between(before.status, world.status)]
    world.settle()
    state, ready = world.status.rollout, world.condition("Ready")
    assert state is not None
    assert (state.phase, state.candidate) == ("RolledBack", new)
    assert state.message == f"Rolled back after it became stable: {CRASH.message}"
    assert (ready.status, ready.reason) == ("False", "RolledBack")
    assert "`sluicegate retry churn -n shop`" in ready.message
    assert world.condition("Available").status == "True"
    assert (world.role(new), world.replicas(new)) == (Role.FAILED, 0)
    assert_at_rest(world)


def test_crash_while_the_traffic_still_shifts() -> None:
    world = World().gateway().rest()
    old, new = world.hash_of(1), world.hash_of(2)
    world.serve(2).reconcile().make_pods().start().list_endpoints().reconcile()
    assert (world.role(old), world.role(new)) == (Role.RETIRING, Role.STABLE)
    crash(world, new)
    assert (world.role(old), world.weights()) == (Role.STABLE, {old: 100})
    world.rest()
    assert world.role(new) == Role.FAILED


def test_crash_after_the_last_step() -> None:
    world, old, new = taken_over(rollout={"steps": [{"weight": 50}]})
    crash(world, new).settle()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.FAILED)
    assert world.weights() == {old: 100}
    assert world.status.rollout is not None
    assert world.status.rollout.step_index == 1, "after all steps"
    world.annotations[names.ANNOTATION_RETRY] = new
    world.settle()
    assert world.role(new) == Role.STABLE


def test_retry_tries_it_again_and_a_second_crash_returns_again() -> None:
    world, old, new = taken_over()
    crash(world, new).rest()
    world.annotations[names.ANNOTATION_RETRY] = new
    world.settle()
    assert (world.role(new), world.role(old)) == (Role.STABLE, Role.PARKED)
    crash(world, new).rest()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.FAILED), "the annotation counts once"
    assert_at_rest(world)


def test_another_version_or_the_old_one_ends_it() -> None:
    world, old, new = taken_over()
    crash(world, new).rest()
    world.serve(1).rest()
    assert (world.condition("Ready").status, world.role(new)) == ("True", Role.PARKED)
    world.serve(3).rest()
    assert world.role(world.hash_of(3)) == Role.STABLE
    assert world.role(old) == Role.PARKED


def test_one_crash_of_one_pod_of_several_is_no_reason() -> None:
    world, _, new = taken_over()
    crash(world, new, 1)
    assert (world.role(new), world.weights()) == (Role.STABLE, {new: 100})
    assert world.condition("Ready").reason == "OOMKilled"
    world.fail(new, None).start().list_endpoints().rest()
    assert world.role(new) == Role.STABLE


def test_a_pod_that_crashes_again_is_a_reason() -> None:
    world, old, new = taken_over()
    crash(world, new, 1).fail(new, None).start().list_endpoints().reconcile()
    crash(world, new, 1)
    assert (world.role(old), world.weights()) == (Role.STABLE, {old: 100})


def test_what_the_version_did_not_cause_is_no_reason() -> None:
    world, _, new = taken_over()
    world.fail(new, ELSEWHERE).list_endpoints().settle()
    assert world.role(new) == Role.STABLE


def test_pods_that_are_not_ready_get_no_traffic_back() -> None:
    world, old, new = taken_over()
    world.fail(old, CRASH)
    crash(world, new).settle()
    assert (world.role(new), world.weights()) == (Role.STABLE, {new: 100})
    world.fail(old, None).start().list_endpoints().settle()
    assert (world.role(old), world.weights()) == (Role.STABLE, {old: 100})


def test_both_crash_one_after_the_other_and_the_traffic_moves_once() -> None:
    world, old, new = taken_over()
    crash(world, new)
    crash(world, old).fail(new, None).start(new).list_endpoints().settle()
    assert world.role(old) == Role.STABLE


def test_without_pods_of_the_previous_there_is_no_way_back() -> None:
    world, _, new = taken_over()
    crash(world.later(31).settle(), new).settle()
    assert world.role(new) == Role.STABLE


@pytest.mark.parametrize("what", ["pin", "paused", "abort"])
def test_users_decide_otherwise(what: str) -> None:
    world, old, new = taken_over()
    match what:
        case "pin":
            world.annotations[names.ANNOTATION_PIN] = new
        case "paused":
            world.edit(paused=True)
        case _:
            world.annotations[names.ANNOTATION_ABORT] = old
    crash(world, new).settle()
    assert world.role(new) == Role.STABLE


def test_a_former_canary_is_no_way_back() -> None:
    world = World(scaling={"replicas": 2}).gateway().rest().canary(2, 10).rest()
    world.canary(None).settle()
    crash(world, world.hash_of(1)).settle()
    assert world.role(world.hash_of(1)) == Role.STABLE


def test_a_declared_canary_keeps_its_share() -> None:
    world, old, new = taken_over()
    world.canary(3, 10).settle()
    crash(world, new).settle()
    assert world.weights() == {old: 90, world.hash_of(3): 10}


def test_with_when_full_the_pods_that_are_left_take_the_requests_back() -> None:
    world, old, new = taken_over(rollout={"whenFull": "Replace"})
    crash(world, new).settle()
    assert (world.role(old), world.weights(), world.replicas(old)) == (Role.STABLE, {old: 100}, 2)


def test_autoscaled_versions() -> None:
    world = World(scaling={"min": 2, "max": 5}).gateway().rest()
    old, new = world.hash_of(1), world.hash_of(2)
    world.serve(2).settle()
    crash(world, new).settle()
    assert (world.role(old), world.weights(), world.replicas(old)) == (Role.STABLE, {old: 100}, 2)


def test_a_third_version_rolls_out_from_the_one_that_serves() -> None:
    world, old, new = taken_over()
    world.serve(3).reconcile().make_pods()
    crash(world, new)
    assert (world.role(old), world.role(world.hash_of(3))) == (Role.STABLE, Role.CANDIDATE)
    assert world.weights() == {old: 100}
    world.rest()
    assert world.role(world.hash_of(3)) == Role.STABLE


def test_ready_stays_false_until_the_pods_have_stayed_ready() -> None:
    world = World(scaling={"replicas": 2}).gateway().rest()
    first = world.hash_of(1)
    crash(world, first, 1)
    stated = world.condition("Ready")
    assert (stated.status, stated.reason) == ("False", "OOMKilled")
    world.later(10).fail(first, None).start().settle()
    assert world.condition("Ready") == stated
    assert world.condition("Stalled").status == "True"
    assert world.plan.recheck_after == 60
    crash(world.later(50), first, 1)
    assert world.condition("Ready") == stated, "no flapping between two crashes"
    world.later(10).fail(first, None).start().settle().later(59).settle()
    assert world.condition("Ready") == stated
    world.later(1).settle()
    assert (world.condition("Ready").status, world.condition("Stalled").status) == ("True", "False")
    assert_at_rest(world)


def test_ready_does_not_wait_after_what_the_version_did_not_cause() -> None:
    world = World().gateway().rest()
    first = world.hash_of(1)
    world.fail(first, ELSEWHERE).list_endpoints().reconcile().fail(first, None).start().settle()
    assert world.condition("Ready").status == "True"
