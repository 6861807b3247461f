"""Whole rollouts with steps, in the simulated cluster."""

from __future__ import annotations

from typing import Any

import pytest
from sluicegate.api import names
from sluicegate.api.status import ModelDeploymentStatus, Phase, Role, RolloutStatus
from sluicegate.core.snapshot.analysis_result import Measurement, Outcome, Reading
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.status.events import events_between, rollback

from tests.support.fake_cluster import NAME, World

STEPS = [{"weight": 10, "hold": "5m"}, {"weight": 50, "hold": "5m"}]
ERRORS = {"metrics": [{"name": "errors", "type": "ErrorRate", "limit": 0.01}]}
OOM = Problem("OOMKilled", "Container model of pod p2 was killed for using more memory than its limit.")
FULL = Problem("Unschedulable", "0/1 nodes: Insufficient nvidia.com/gpu.", waits_for_user=False, lacks_room=True)


def begun(steps: list[dict[str, Any]] = STEPS, gateway: bool = True, **rollout: Any) -> World:
    """Return a world in which version 1 serves and version 2 is desired.

    The spec has steps.
    """
    fields = {"steps": steps, "scaleDownDelay": "30s", **rollout}
    return World(scaling={"replicas": 4}, rollout=fields).gateway(gateway).rest().serve(2)


def state(world: World) -> RolloutStatus:
    assert world.status.rollout is not None
    return world.status.rollout


def shares(world: World) -> tuple[int, int]:
    """Return the weights that the gateway really applies to versions 1 and 2."""
    return world.programmed.weight(world.hash_of(1)), world.programmed.weight(world.hash_of(2))


def judge(world: World, outcome: Outcome, value: float = 0.2) -> World:
    measured = Measurement("errors", outcome, value, 0.0, 0.01, 500, f"{value} is above 0.01 (100 of 500 requests).")
    world.reading = Reading(
        world.hash_of(2), state(world).accepted_at or "", outcome, measured if outcome is not Outcome.PASSED else None
    )
    return world


def test_the_first_revision_skips_the_steps() -> None:
    world = World(rollout={"steps": STEPS}).gateway().rest()
    assert world.programmed.weights == {world.hash_of(1): 100}
    assert world.condition("Ready").status == "True"


def test_a_whole_rollout() -> None:
    world = begun()
    new = world.hash_of(2)
    world.settle()
    assert (state(world).phase, state(world).step_index, state(world).weight) == ("Holding", 0, 10)
    assert shares(world) == (90, 10)
    assert (world.replicas(new), world.replicas(world.hash_of(1))) == (1, 4), "pods for the step, and all of stable's"
    assert world.entry(new).role == Role.CANDIDATE
    assert world.status.canary == "10%"
    assert world.condition("Ready").reason == "RollingOut"
    assert "is at step 1 of 2. Holding at 10% of the requests until" in world.condition("Ready").message
    status = world.status
    world.later(299).reconcile()
    assert (world.status, world.writes) == (status, []), "holding writes nothing"
    world.later(3).settle()
    assert (state(world).step_index, state(world).phase, shares(world)) == (1, "Holding", (50, 50))
    assert world.replicas(new) == 2
    world.later(310).settle()
    assert world.role(new) == Role.STABLE
    assert shares(world) == (0, 100)
    assert world.condition("Ready").status == "True"
    assert world.replicas(new) == 4
    world.rest()
    assert state(world) == RolloutStatus(phase=Phase.IDLE)


def test_pods_come_before_the_weight_and_the_hold_counts_from_the_gateways_word() -> None:
    world = begun()
    new = world.hash_of(2)
    world.reconcile().make_pods().reconcile()
    assert (state(world).phase, state(world).step_index) == ("Waiting", None)
    world.start().list_endpoints().reconcile()
    assert (state(world).phase, state(world).step_index, world.weights()) == ("Scaling", 0, {world.hash_of(1): 100})
    world.reconcile()
    assert world.weights() == {world.hash_of(1): 90, new: 10}, "asked for only once status says so"
    world.later(400).reconcile()
    assert (state(world).phase, state(world).accepted_at) == ("Shifting", None)
    world.accept_route().reconcile()
    assert state(world).phase == "Holding"
    assert state(world).until == "2026-03-01T14:01:41Z" or state(world).until is not None
    world.later(290).settle()
    assert state(world).step_index == 0


def test_the_hold_begins_anew_when_the_share_was_lost() -> None:
    world = begun().settle()
    new = world.hash_of(2)
    world.later(200)
    world.pods = {name: pod for name, pod in world.pods.items() if pod.revision != new}
    world.list_endpoints().reconcile()
    assert (state(world).accepted_at, world.weights()) == (None, {world.hash_of(1): 100})
    world.settle().later(200).settle()
    assert state(world).step_index == 0
    world.later(110).settle()
    assert state(world).step_index == 1


def test_a_pause_waits_for_a_person() -> None:
    world = begun([{"weight": 10}, {"pause": {}}, {"weight": 50, "pause": {}}]).settle()
    new = world.hash_of(2)
    assert (state(world).step_index, state(world).phase, state(world).reason) == (1, "Paused", "RolloutPaused")
    assert world.condition("Progressing").reason == "RolloutPaused"
    assert f"sluicegate promote {NAME}" in world.condition("Ready").message
    world.later(100_000).reconcile()
    assert world.writes == []
    world.annotations[names.ANNOTATION_PROMOTE] = f"{new}/1"
    world.settle()
    assert state(world).step_index == 1, "it named the step before"
    world.annotations[names.ANNOTATION_PROMOTE] = f"{new}/2"
    world.settle().later(100_000).settle()
    assert (state(world).step_index, shares(world)) == (2, (50, 50)), "it does not end the next pause too"
    world.annotations[names.ANNOTATION_PROMOTE] = f"{NAME}-{new}/3"
    world.settle()
    assert world.role(new) == Role.STABLE


def test_a_pause_of_some_time_ends_by_itself() -> None:
    world = begun([{"weight": 10, "pause": {"duration": "1h"}}]).settle()
    assert state(world).phase == "Holding"
    world.later(3500).settle()
    assert state(world).step_index == 0
    world.later(200).settle()
    assert world.role(world.hash_of(2)) == Role.STABLE


@pytest.mark.parametrize("when", ["before", "at"])
def test_promoting_whole_skips_what_is_left(when: str) -> None:
    world = begun()
    if when == "at":
        world.settle()
    world.annotations[names.ANNOTATION_PROMOTE] = world.hash_of(2)
    world.reconcile()
    assert state(world).phase == "Promoting"
    assert world.role(world.hash_of(1)) == Role.STABLE, "not before it has the pods"
    world.settle()
    assert world.role(world.hash_of(2)) == Role.STABLE


def test_abort_goes_back_at_once_and_stays() -> None:
    world = begun().settle()
    new = world.hash_of(2)
    world.annotations[names.ANNOTATION_ABORT] = new
    world.reconcile()
    assert world.weights() == {world.hash_of(1): 100}
    world.rest()
    assert world.replicas(new) == 0
    assert world.condition("Ready").reason == "Aborted"
    assert (state(world).phase, state(world).step_index, state(world).accepted_at) == ("Aborted", 0, None)
    assert state(world).message == "Aborted by a user at step 1 of 2 (10% of the requests)."
    world.edit(paused=True).rest()
    assert world.replicas(new) == 0, "no pause brings it back"
    world.edit(paused=False).rest()
    world.annotations.clear()
    world.settle()
    assert (state(world).step_index, shares(world)) == (0, (90, 10))


def test_the_annotation_pause_holds_the_step() -> None:
    world = begun().settle()
    world.annotations[names.ANNOTATION_PAUSE] = world.hash_of(2)
    world.settle().later(5000).settle()
    assert (state(world).phase, state(world).step_index, shares(world)) == ("Paused", 0, (90, 10))
    judge(world.edit(rollout={"steps": STEPS, "analysis": ERRORS}), Outcome.FAILED)
    world.settle()
    assert shares(world) == (100, 0), "a pause does not keep a failed version"


def test_spec_paused_freezes_the_weights() -> None:
    world = begun().settle().edit(paused=True).settle().later(5000).settle()
    assert (shares(world), world.condition("Ready").reason) == ((90, 10), "Paused")
    world.edit(paused=None).settle()
    assert state(world).step_index == 1


def test_a_new_target_supersedes_the_canary_from_the_first_step() -> None:
    world = begun().settle().later(301).settle()
    old = world.hash_of(2)
    assert shares(world) == (50, 50)
    world.serve(3).reconcile()
    assert world.weights() == {world.hash_of(1): 100}
    assert world.role(old) == Role.RETIRING
    world.settle()
    assert (state(world).step_index, state(world).candidate) == (0, world.hash_of(3))
    assert world.programmed.weights == {world.hash_of(1): 90, world.hash_of(3): 10}
    world.later(31).settle()
    assert world.replicas(old) == 0


def test_going_back_to_the_stable_revision_is_an_immediate_rollback() -> None:
    world = begun().settle().serve(1).reconcile()
    assert world.weights() == {world.hash_of(1): 100}
    world.rest()
    assert world.condition("Ready").status == "True"


def test_edited_steps_keep_the_weight_and_go_on_at_the_first_step_not_below_it() -> None:
    world = begun([{"weight": 20, "hold": "5m"}, {"weight": 60, "hold": "5m"}]).settle().later(310).settle()
    assert shares(world) == (40, 60)
    world.edit(rollout={"steps": [{"weight": 1}, {"weight": 5}, {"weight": 70, "hold": "1h"}, {"weight": 90}]})
    world.reconcile()
    assert world.weights()[world.hash_of(2)] == 60
    world.settle()
    assert (state(world).step_index, shares(world)) == (2, (30, 70))


def test_a_lack_of_room_is_waiting_for_capacity() -> None:
    world = begun().reconcile().make_pods().fail(world_new := begun().hash_of(2), FULL)
    world.reconcile()
    assert (state(world).phase, state(world).reason) == ("Waiting", "WaitingForCapacity")
    world.later(10_000).reconcile()
    assert world.role(world_new) == Role.CANDIDATE
    world.fail(world_new, None).settle()
    assert state(world).step_index == 0


@pytest.mark.parametrize("message", ["exceeded quota: pods", "denied by policy"])
def test_refused_pods_hold_a_rollout_whatever_the_text(message: str) -> None:
    world = begun().reconcile()
    candidate = world.hash_of(2)
    world.pods = {name: pod for name, pod in world.pods.items() if pod.revision != candidate}
    world.replica_failure[candidate] = message
    world.reconcile()
    assert state(world).phase == "Waiting"
    assert state(world).reason in ("QuotaExceeded", "PodRefused")
    assert message in (state(world).message or "")
    del world.replica_failure[candidate]
    world.settle()
    assert state(world).step_index == 0


def test_matches_and_mirrors_come_by_steps() -> None:
    match = [{"header": {"name": "x-cohort", "value": "beta"}}]
    world = begun([{"match": match, "hold": "1m"}, {"mirror": {"percent": 100}, "weight": 0, "hold": "1m"}])
    world.features = frozenset({"HTTPRouteRequestMirror", "HTTPRoutePathRewrite"})
    world.settle()
    new = world.hash_of(2)
    assert (world.programmed.matched, world.programmed.weights) == (new, {world.hash_of(1): 100})
    world.later(61).settle()
    assert world.programmed.mirror is not None
    assert (world.programmed.matched, world.programmed.mirror.revision) == (new, new)
    assert world.replicas(new) == 4, "copies of all requests need the pods for all requests"


def test_a_gateway_that_cannot_mirror_is_named_and_the_step_waits() -> None:
    world = begun([{"mirror": {"percent": 100}}]).settle().later(9999).settle()
    assert state(world).reason == "GatewayLacksFeature"
    assert "spec.rollout.steps: Gateway shop/gate" in world.condition("Ready").message
    assert world.programmed.mirror is None


def test_without_a_gateway_the_ratio_of_pods_is_the_weight() -> None:
    world = begun([{"weight": 20, "hold": "5m"}, {"weight": 50, "hold": "5m"}], gateway=False).settle()
    assert (world.service_selects(), world.replicas(world.hash_of(2)), state(world).phase) == (None, 1, "Holding")
    world.later(301).settle()
    assert (world.replicas(world.hash_of(2)), state(world).step_index) == (4, 1)
    world.later(301).settle()
    assert (world.role(world.hash_of(2)), world.service_selects()) == (Role.STABLE, world.hash_of(2))


def test_autoscaled_revisions_have_the_pods_for_their_step_and_stable_those_for_all() -> None:
    world = World(scaling={"min": 1, "max": 20}, rollout={"steps": STEPS}).gateway().rest().autoscale(10).settle()
    world.serve(2).settle()
    old, new = world.hash_of(1), world.hash_of(2)
    assert (shares(world), world.replicas(new)) == ((90, 10), 1)
    minimum = world.objects["HorizontalPodAutoscaler", f"{NAME}-{old}"]["spec"]["minReplicas"]
    assert minimum >= 10, "going back must not wait for pods"
    world.later(301).settle()
    assert world.replicas(new) >= 5
    world.later(301).rest()
    assert world.role(new) == Role.STABLE


def test_a_lost_write_of_status_repeats_the_transition() -> None:
    world = begun().settle().later(301)
    before = world.status
    world.reconcile(write_status=False)
    assert world.weights()[world.hash_of(2)] == 10
    world.status = before
    world.settle()
    assert state(world).step_index == 1


def test_a_clock_that_is_set_back_never_makes_a_step_shorter() -> None:
    world = begun().settle().later(-86_400).settle()
    world.later(290).settle()
    assert state(world).step_index == 0
    world.later(20).settle()
    assert state(world).step_index == 1


def test_replace_makes_way_for_each_step_and_skips_the_steps_where_the_last_pod_goes() -> None:
    world = begun([{"weight": 25, "hold": "5m"}], whenFull="Replace").reconcile().make_pods()
    new = world.hash_of(2)
    world.fail(new, FULL)
    world.reconcile()
    assert world.replicas(world.hash_of(1)) == 3
    world.make_pods().finish().fail(new, None).settle()
    assert (shares(world), world.replicas(world.hash_of(1)), world.replicas(new)) == ((75, 25), 3, 1)
    single = World(rollout={"steps": STEPS, "whenFull": "Replace"}).gateway().rest().serve(2).reconcile().make_pods()
    single.fail(single.hash_of(2), FULL).reconcile().reconcile()
    assert single.replicas(single.hash_of(1)) == 0
    assert "steps are skipped" in single.make_pods().finish().reconcile().condition("Ready").message
    single.fail(single.hash_of(2), None).settle()
    assert single.role(single.hash_of(2)) == Role.STABLE


def test_a_pin_takes_over_whole() -> None:
    world = begun().settle()
    world.annotations[names.ANNOTATION_PIN] = world.hash_of(1)
    world.settle()
    assert shares(world) == (100, 0)
    world.annotations[names.ANNOTATION_PIN] = world.hash_of(2)
    world.settle()
    assert world.role(world.hash_of(2)) == Role.STABLE


def test_a_lost_status_begins_the_rollout_anew_at_its_weight() -> None:
    world = begun().settle().later(301).settle()
    assert shares(world) == (50, 50)
    world.status = ModelDeploymentStatus()
    world.settle()
    assert (state(world).step_index, shares(world)) == (1, (50, 50))


def test_each_step_and_what_ends_it_is_an_event() -> None:
    world, told = begun(analysis=ERRORS), []
    for turn in range(16):
        before = world.status
        if turn == 6:
            judge(world.later(301), Outcome.PASSED)
        if turn == 12:
            judge(world, Outcome.FAILED)
        world.step()
        told += [each.reason for each in events_between(before, world.status)]
        if (found := rollback(before, world.status)) is not None:
            told.append(f"by {found}")
    assert [each for each in told if each not in ("RevisionCreated", "ModelChanged", "CanaryWeight")] == [
        "RolloutStep",
        "RolloutStep",
        "by errors",
        "RolledBack",
    ]
