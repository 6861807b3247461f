"""A canary that is moved into the base and rolled out by steps keeps its share."""

from __future__ import annotations

from typing import Any

import pytest
from sluicegate.api.status import ModelDeploymentStatus

from tests.support.fake_cluster import World
from tests.unit.core.rollout.test_machine import STEPS, begun, shares, state


def canary_moved_into_base(weight: int, **fields: Any) -> World:
    """Return a world in which the spec now asks to roll out the version that was the canary."""
    world = World(scaling={"replicas": 4}, rollout={"steps": STEPS}).gateway().canary(2, weight, **fields).rest()
    assert shares(world) == (100 - weight, weight)
    return world.serve(2).canary(None)


@pytest.mark.parametrize(("weight", "index", "next_weight"), [(5, 0, 10), (20, 1, 50), (80, 1, 50)])
def test_former_canary_keeps_its_weight_until_its_first_step(weight: int, index: int, next_weight: int) -> None:
    world = canary_moved_into_base(weight)
    weights = []
    for _ in range(6):
        world.reconcile()
        weights.append(world.split().weight(world.hash_of(2)))
        world.step()
    assert set(weights) == {weight, next_weight}
    assert (state(world).step_index, shares(world)) == (index, (100 - next_weight, next_weight))


def test_former_canary_keeps_its_weight_while_pods_start() -> None:
    world = canary_moved_into_base(20, scaling={"replicas": 1})
    for _ in range(3):
        world.reconcile()
        assert world.split().weight(world.hash_of(2)) == 20
    assert state(world).phase == "Waiting"
    world.settle()
    assert (state(world).step_index, shares(world)) == (1, (50, 50))


def test_former_canary_keeps_its_matches_until_its_first_step() -> None:
    world = canary_moved_into_base(20, match=[{"header": {"name": "x-cohort", "value": "beta"}}]).reconcile()
    assert world.split().matched == world.hash_of(2)
    world.settle()
    assert world.split().matched is None


def test_lost_status_does_not_take_the_weight_away() -> None:
    world = begun().settle().later(301).settle()
    world.status = ModelDeploymentStatus()
    world.reconcile()
    assert world.split().weight(world.hash_of(2)) == 50
