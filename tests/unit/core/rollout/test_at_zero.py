"""A version that appears while the resource has no pods: `replicas: 0` is not a way around a rollout."""

from typing import Any

import pytest
from sluicegate.api import names
from sluicegate.api.status import Role
from sluicegate.core.snapshot.facts import Problem

from tests.support.fake_cluster import NAME, World
from tests.unit.core.decide.test_simulation import assert_at_rest
from tests.unit.core.rollout.test_compatibility import BREAKS, OLD

STEPS = {"steps": [{"weight": 10, "hold": "10m"}, {"weight": 50, "hold": "10m"}, {"pause": {}}]}
CRASH = Problem("OOMKilled", "Container model used more memory than its limit and was killed.")
ZERO, TWO = {"replicas": 0}, {"replicas": 2}


def asleep(rollout: dict[str, Any] | None = None, gateway: bool = True) -> tuple[World, str, str]:
    """Return a world with no pods in which version 2 waits beside version 1, and their hashes."""
    world = World(scaling=TWO, **({"rollout": rollout} if rollout else {})).gateway(gateway).rest()
    world.edit(scaling=ZERO).rest().serve(2).rest()
    return world, world.hash_of(1), world.hash_of(2)


def pods(world: World, revision: str) -> int:
    return sum(1 for pod in world.pods.values() if pod.revision == revision)


@pytest.mark.parametrize("gateway", [True, False])
@pytest.mark.parametrize("rollout", [None, STEPS, {**STEPS, "whenFull": "Replace"}])
def test_version_at_zero_stays_the_candidate_and_rests(rollout: dict[str, Any] | None, gateway: bool) -> None:
    world, old, new = asleep(rollout, gateway)
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.CANDIDATE)
    assert pods(world, old) == pods(world, new) == 0
    assert_at_rest(world)
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("True", "ScaledToZero")
    assert f"{NAME}-{old} serves first" in ready.message
    assert f"{NAME}-{new}" in ready.message
    assert world.status.rollout is not None
    assert (world.status.rollout.phase, world.status.rollout.candidate) == ("Waiting", new)
    assert world.status.rollout.reason == "ScaledToZero"


@pytest.mark.parametrize("rollout", [STEPS, {**STEPS, "whenFull": "Replace"}])
def test_stable_comes_back_first_and_the_steps_begin_after_it(rollout: dict[str, Any]) -> None:
    world, old, new = asleep(rollout)
    world.edit(scaling=TWO).reconcile().make_pods().reconcile()
    assert (pods(world, old), pods(world, new)) == (2, 0)
    assert world.condition("Ready").message == f"Revision {NAME}-{new} is before the first step. {waits(old)}"
    world.settle()
    assert world.weights() == {old: 90, new: 10}
    state = world.status.rollout
    assert state is not None
    assert (state.phase, state.step_index) == ("Holding", 0)
    world.fail(new, CRASH).settle()
    assert (world.weights(), world.role(new)) == ({old: 100}, Role.FAILED)


def waits(old: str) -> str:
    return f"Its pods start once {NAME}-{old} has a ready pod."


def test_without_steps_it_takes_over_once_it_is_ready() -> None:
    world, old, new = asleep()
    world.edit(scaling=TWO).reconcile().make_pods().reconcile().make_pods()
    assert (pods(world, old), pods(world, new)) == (2, 0)
    assert world.condition("Ready").message == f"Revision {NAME}-{new} waits. {waits(old)}"
    world.start().list_endpoints().reconcile().make_pods()
    assert (world.role(old), pods(world, new)) == (Role.STABLE, 2)
    world.rest()
    assert (world.role(new), world.programmed.weights) == (Role.STABLE, {new: 100})


def test_stable_with_a_problem_is_not_waited_for() -> None:
    world, old, new = asleep()
    world.edit(scaling=TWO).reconcile().make_pods().fail(old, CRASH).reconcile().make_pods()
    assert pods(world, new) == 2
    world.rest()
    assert world.role(new) == Role.STABLE


def test_stable_is_waited_for_until_progress_deadline() -> None:
    world, old, new = asleep()
    world.edit(scaling=TWO).reconcile().make_pods().reconcile()
    assert world.plan.recheck_after == 600
    world.later(600).reconcile().make_pods()
    assert (pods(world, old), pods(world, new)) == (2, 2)


def test_a_night_at_zero_uses_up_no_deadline() -> None:
    world, _, new = asleep()
    world.later(9 * 3600).edit(scaling=TWO).reconcile().make_pods().start().list_endpoints().reconcile().make_pods()
    world.fail(new, CRASH).reconcile()
    assert world.role(new) == Role.CANDIDATE, "its deadline begins when its pods may start"
    assert world.plan.recheck_after == 600
    world.later(600).rest()
    assert world.role(new) == Role.FAILED


def test_the_signature_guard_holds_after_zero() -> None:
    world, old, new = asleep()
    world.signatures = {old: OLD, new: BREAKS}
    world.edit(scaling=TWO).rest()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.CANDIDATE)
    assert world.condition("Ready").reason == "SignatureChanged"


def test_a_rollout_that_is_scaled_to_zero_keeps_its_step() -> None:
    world = World(scaling=TWO, rollout=STEPS).gateway().rest()
    old, new = world.hash_of(1), world.hash_of(2)
    world.serve(2).settle().later(601).settle()
    assert world.weights() == {old: 50, new: 50}
    world.edit(scaling=ZERO).rest()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.CANDIDATE)
    assert_at_rest(world)
    state = world.status.rollout
    assert state is not None
    assert (state.step_index, state.accepted_at, state.until) == (1, None, None)
    world.edit(scaling=TWO).reconcile().make_pods()
    assert (pods(world, old), pods(world, new)) == (2, 0)
    world.settle()
    assert (world.weights(), world.condition("Ready").reason) == ({old: 50, new: 50}, "RollingOut")
    state = world.status.rollout
    assert state is not None
    assert (state.phase, state.step_index) == ("Holding", 1)
    world.later(599).settle()
    assert world.status.rollout is not None
    assert world.status.rollout.step_index == 1, "its hold begins anew"


def test_promote_at_zero_counts_once_there_are_pods() -> None:
    world, old, new = asleep(STEPS)
    world.annotations[names.ANNOTATION_PROMOTE] = new
    world.rest()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.CANDIDATE)
    assert_at_rest(world)
    world.edit(scaling=TWO).rest()
    assert world.role(new) == Role.STABLE


def test_abort_and_retry_at_zero() -> None:
    world, old, new = asleep(STEPS)
    world.annotations[names.ANNOTATION_ABORT] = new
    world.rest()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.PARKED)
    assert world.condition("Ready").reason == "Aborted"
    assert_at_rest(world)
    world.annotations = {names.ANNOTATION_RETRY: new}
    world.rest()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.CANDIDATE)


def test_a_pinned_version_takes_over_with_its_first_pods() -> None:
    world, old, new = asleep(STEPS)
    world.annotations[names.ANNOTATION_PIN] = new
    world.rest()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.CANDIDATE)
    world.edit(scaling=TWO).reconcile().make_pods()
    assert (pods(world, old), pods(world, new)) == (2, 2)
    world.rest()
    assert world.role(new) == Role.STABLE


def test_return_to_stable_at_zero_leaves_nothing_pending() -> None:
    world, old, new = asleep(STEPS)
    world.serve(1).rest()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.PARKED)
    assert world.status.rollout is not None
    assert world.status.rollout.phase in ("Idle", "Shifting")
