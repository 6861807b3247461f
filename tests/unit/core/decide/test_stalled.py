"""Stalled means that a user must act.

What may pass by itself is Reconciling with its cause, and Stalled only after progressDeadline.
"""

from dataclasses import replace

import pytest
from sluicegate.api.status import Phase, Role
from sluicegate.core.snapshot.facts import Problem

from tests.support.fake_cluster import Pod, World
from tests.support.gitops_cases import AWAY, DEAD_WEBHOOK, FETCH, LOST, NO_NODE, UNKNOWN
from tests.unit.core.decide.test_lives import reasons
from tests.unit.core.decide.test_simulation import assert_at_rest

SIDECAR = Problem("SidecarFailed", "Container istio-proxy ended with exit code 1.", waits_for_user=False)
HELD = {"steps": [{"weight": 25, "hold": "2h"}, {"weight": 50}], "scaleDownDelay": "1s"}


def stalls_after_the_deadline(world: World, reason: str) -> None:
    """Check that a problem is Reconciling until the deadline, and then Stalled, with the same reason."""
    assert reasons(world)["Ready"] == f"False {reason}"
    assert reasons(world)["Reconciling"] == f"True {reason}"
    assert reasons(world)["Stalled"] == "False NotStalled"
    world.later(598).reconcile()
    assert reasons(world)["Stalled"] == "False NotStalled"
    assert world.plan.recheck_after is not None
    world.later(world.plan.recheck_after).reconcile()
    assert (reasons(world)["Ready"], reasons(world)["Stalled"]) == (f"False {reason}", f"True {reason}")
    assert reasons(world)["Reconciling"] == "False Complete"
    world.later(60).reconcile()
    assert reasons(world)["Stalled"] == f"True {reason}"


@pytest.mark.parametrize("problem", [NO_NODE, LOST, FETCH, SIDECAR], ids=lambda problem: problem.reason)
@pytest.mark.parametrize("changed", [False, True], ids=["serving", "new version"])
def test_pods_that_wait(problem: Problem, changed: bool) -> None:
    world = World().gateway().rest()
    if changed:
        world.serve(2).reconcile().make_pods()
    world.fail(world.hash_of(1 + changed), problem).list_endpoints().reconcile()
    stalls_after_the_deadline(world, problem.reason)


@pytest.mark.parametrize("words", ["exceeded quota: small", 'failed calling webhook "x"'])
def test_pods_that_the_api_server_refuses(words: str) -> None:
    world = World().gateway().rest()
    world.replica_failure[world.hash_of(1)] = words
    world.pods.clear()
    stalls_after_the_deadline(world.list_endpoints().reconcile(), "QuotaExceeded" if "quota" in words else "PodRefused")
    world.replica_failure.clear()
    world.rest()
    assert reasons(world)["Ready"] == "True Serving"
    assert world.status.problem_since is None


def test_registry_that_is_away() -> None:
    world = World().gateway()
    world.model_problem = AWAY
    stalls_after_the_deadline(world.reconcile(), "RegistryUnreachable")
    world.model_problem = None
    assert reasons(world.rest())["Ready"] == "True Serving"


def test_write_that_is_refused_and_may_succeed_later() -> None:
    world = World().gateway().rest()
    world.write_problem = DEAD_WEBHOOK
    stalls_after_the_deadline(world.reconcile(), "ApplyRefused")
    world.write_problem = None
    assert_at_rest(world.rest())


def test_problem_that_needs_a_user_is_stalled_at_once() -> None:
    world = World().gateway()
    world.model_problem = UNKNOWN
    assert reasons(world.reconcile())["Stalled"] == "True VersionNotFound"
    assert world.status.problem_since is None


def test_each_problem_has_the_whole_deadline() -> None:
    world = World().gateway().rest()
    for _ in range(4):
        world.write_problem = DEAD_WEBHOOK
        world.reconcile().later(400).reconcile()
        assert reasons(world)["Stalled"] == "False NotStalled"
        world.write_problem = None
        world.rest().later(400).reconcile()


@pytest.mark.parametrize("problem", [None, NO_NODE, LOST])
def test_pod_that_is_lost_late_in_a_step_has_a_deadline_of_its_own(problem: Problem | None) -> None:
    world = World(scaling={"replicas": 4}, rollout=HELD).gateway().rest().serve(2).settle()
    new = world.hash_of(2)
    assert world.status.rollout is not None
    assert world.status.rollout.phase is Phase.HOLDING
    world.later(3600).reconcile()
    world.pods = {name: pod for name, pod in world.pods.items() if pod.revision != new}
    world.make_pods().fail(new, problem).list_endpoints().reconcile()
    assert reasons(world)["Stalled"] == "False NotStalled"
    assert world.status.rollout.phase is not Phase.ROLLED_BACK
    world.later(601).reconcile()
    reason = problem.reason if problem is not None else "ProgressDeadlineExceeded"
    assert reasons(world)["Stalled"] == f"True {reason}"
    world.fail(new, None).settle().later(7300).rest()
    assert world.role(new) == Role.STABLE


def test_rollout_waits_for_capacity_that_an_autoscaler_may_add() -> None:
    world = World(scaling={"replicas": 4}, rollout=HELD).gateway().rest().serve(2).reconcile().make_pods()
    world.fail(world.hash_of(2), NO_NODE).reconcile()
    assert world.status.rollout is not None
    assert world.status.rollout.reason == "WaitingForCapacity"


@pytest.mark.parametrize("gateway", [True, False])
@pytest.mark.parametrize("first", [True, False], ids=["from the start", "later"])
def test_zero_pods_that_the_spec_declares(gateway: bool, first: bool) -> None:
    world = World(**({"scaling": {"replicas": 0}} if first else {})).gateway(gateway).rest()
    world.edit(scaling={"replicas": 0}).rest()
    assert reasons(world)["Ready"] == "True ScaledToZero"
    assert reasons(world)["Reconciling"] == "False Complete"
    assert reasons(world)["Stalled"] == "False NotStalled"
    assert reasons(world)["Available"] == "False ScaledToZero"
    assert_at_rest(world)
    world.edit(scaling={"replicas": 1}).rest()
    assert reasons(world)["Ready"] == "True Serving"


def test_zero_pods_do_not_hide_a_problem() -> None:
    world = World(scaling={"replicas": 0})
    world.model_problem = UNKNOWN
    assert reasons(world.reconcile())["Ready"] == "False VersionNotFound"


def test_pods_that_still_run_are_not_zero() -> None:
    world = World(scaling={"replicas": 1}).gateway().rest().edit(scaling={"replicas": 0}).reconcile()
    assert reasons(world)["Available"] == "True Serving"
    pods = [replace(pod) for pod in world.pods.values()]
    assert all(isinstance(pod, Pod) and pod.ready for pod in pods)


def test_refused_pods_of_stable_are_looked_at_when_the_deadline_is_over() -> None:
    world = World().gateway().rest()
    world.replica_failure[world.hash_of(1)] = "exceeded quota: small"
    world.pods.clear()
    assert world.list_endpoints().reconcile().plan.recheck_after == 600
