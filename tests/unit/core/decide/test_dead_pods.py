"""Pods that have ended and stay in the list, for weeks on some clusters.

Others have replaced them, so they say nothing about the present.
"""

import pytest
from sluicegate.core.snapshot.facts import Problem

from tests.support.fake_cluster import NAME, World
from tests.unit.core.decide.test_lives import reasons

EVICTED = Problem("Evicted", "Pod p was evicted (Evicted): low on memory.", waits_for_user=False)


def evict(world: World, version: int) -> World:
    """Evict one pod of a version. The ReplicaSet replaces it."""
    name = next(pod.name for pod in world.pods.values() if pod.revision == world.hash_of(version) and pod.ready)
    return world.end(name, EVICTED).list_endpoints()


def dead(world: World) -> list[str]:
    return [pod.name for pod in world.pods.values() if pod.ended]


@pytest.mark.parametrize("evicted", [1, 2])
def test_canary_without_gateway_gets_its_requests(evicted: int) -> None:
    world = evict(World(scaling={"replicas": 4}).rest(), 1).rest()
    if evicted == 2:
        world.pods = {name: pod for name, pod in world.pods.items() if not pod.ended}
        evict(world.serve(2).rest(), 2).rest()
    else:
        world.serve(2).rest()
    assert dead(world)
    world.canary(3, 25).rest()
    assert world.service_selects() is None, "the Service spans stable and canary"
    assert reasons(world)["Ready"] == "True Serving"
    assert world.entry(world.hash_of(3)).accepted_weight == 20


def test_steps_without_gateway_go_on() -> None:
    world = evict(World(scaling={"replicas": 4}, rollout={"steps": [{"weight": 25}], "scaleDownDelay": "1s"}).rest(), 1)
    world.rest().serve(2).rest().serve(3).rest()
    assert dead(world)
    assert world.role(world.hash_of(3)) == "Stable"


def test_canary_with_enough_pods_has_no_deadline() -> None:
    world = World(scaling={"replicas": 2}).gateway().rest().canary(2, 25).rest()
    evict(world, 2).rest()
    assert dead(world)
    world.later(700).reconcile()
    assert (reasons(world)["Ready"], reasons(world)["Stalled"]) == ("True Serving", "False NotStalled")
    assert world.plan.recheck_after is None


def test_surplus_pod_that_never_starts_has_no_deadline() -> None:
    world = World(scaling={"min": 1, "max": 4}).gateway().rest().canary(2, 25, scaling={"replicas": 1}).rest()
    spare = world.pods[next(iter(world.pods))]
    new = world.hash_of(2)
    world.pods["surplus"] = type(spare)("surplus", new, since=world.now.isoformat())
    world.later(700).reconcile()
    assert reasons(world)["Stalled"] == "False NotStalled"


def test_dead_pod_is_not_the_cause_of_another_pod_that_is_not_ready() -> None:
    world = evict(World().rest(), 1)
    assert reasons(world.reconcile())["Ready"] == "False Evicted", "until it is replaced"
    world.rest()
    world.pods = {
        name: pod if pod.ended else type(pod)(name, pod.revision, since=world.now.isoformat())
        for name, pod in world.pods.items()
    }
    world.list_endpoints().reconcile()
    assert reasons(world)["Ready"] == "False NoReadyPods"
    assert reasons(world)["Stalled"] == "False NotStalled"


def test_status_counts_no_dead_pod() -> None:
    world = evict(World(scaling={"replicas": 2}).rest(), 1).rest()
    assert dead(world)
    assert world.status.replicas == 2
    assert world.status.selector is not None
    assert NAME in world.status.selector
