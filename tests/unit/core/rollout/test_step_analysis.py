"""What an analysis or crashing pods do to a step: pass it, hold it, or roll it back."""

from __future__ import annotations

from sluicegate.api import names
from sluicegate.api.status import Role
from sluicegate.core.snapshot.analysis_result import Outcome
from sluicegate.core.status.events import rollback

from tests.support.fake_cluster import NAME, Pod
from tests.unit.core.rollout.test_machine import ERRORS, OOM, begun, judge, shares, state


def test_a_failed_analysis_takes_it_back_and_says_by_which_measurement() -> None:
    world = begun(analysis=ERRORS).settle()
    new = world.hash_of(2)
    judge(world, Outcome.FAILED).reconcile()
    assert state(world).phase == "RolledBack", "first it is written down"
    world.reading = None
    world.reconcile()
    assert world.weights() == {world.hash_of(1): 100}
    world.rest()
    assert (world.role(new), world.replicas(new)) == (Role.FAILED, 0)
    ready = world.condition("Ready")
    assert (ready.reason, world.condition("Stalled").status, world.condition("Available").status) == (
        "RolledBack",
        "True",
        "True",
    )
    assert "at step 1 of 2 (10% of the requests): errors: 0.2 is above 0.01" in ready.message
    analysis = state(world).analysis
    assert analysis is not None
    assert (analysis.metric, analysis.value, analysis.limit, analysis.samples) == ("errors", 0.2, 0.01, 500)
    status = world.status
    world.later(1e6).settle()
    assert world.status == status, "it never comes back by itself"
    world.annotations[names.ANNOTATION_RETRY] = new
    world.settle()
    world.annotations.clear()
    world.settle()
    assert (state(world).phase, state(world).step_index) == ("Holding", 0)


def test_an_analysis_that_has_not_passed_holds() -> None:
    world = begun(analysis=ERRORS).settle().later(4000).settle()
    assert (state(world).phase, state(world).reason, state(world).step_index) == ("Holding", "Inconclusive", 0)
    judge(world, Outcome.INCONCLUSIVE).settle()
    assert state(world).step_index == 0
    status = world.status
    judge(world, Outcome.INCONCLUSIVE, value=0.3).settle()
    assert world.status == status, "another figure is no news"
    passed = judge(world, Outcome.PASSED)
    passed.reconcile()
    assert state(world).step_index == 1
    world.settle().later(4000).settle()
    assert state(world).step_index == 1, "each step is judged by what it saw itself"


def test_a_dark_step_is_not_judged() -> None:
    world = begun([{"weight": 0, "hold": "1m"}, {"weight": 10, "hold": "1m"}], analysis=ERRORS).settle()
    assert (state(world).phase, shares(world)) == ("Holding", (100, 0))
    assert world.selected(f"{NAME}-{world.hash_of(2)}")
    world.later(61).settle()
    assert state(world).step_index == 1


def test_a_crash_under_requests_takes_it_back_at_once() -> None:
    world = begun().settle()
    world.fail(world.hash_of(2), OOM).list_endpoints().reconcile().reconcile().rest()
    assert (shares(world), world.role(world.hash_of(2))) == ((100, 0), Role.FAILED)
    assert "killed for using more memory" in world.condition("Ready").message
    assert world.condition("Ready").reason == "RolledBack"


def test_one_bad_pod_of_many_does_not_lose_the_step() -> None:
    world = begun([{"weight": 50, "hold": "5m"}]).settle()
    new = world.hash_of(2)
    accepted = state(world).accepted_at
    victim = next(pod for pod in world.pods.values() if pod.revision == new)
    world.pods[victim.name] = Pod(victim.name, new)
    world.list_endpoints().reconcile()
    assert (state(world).accepted_at, shares(world)) == (accepted, (50, 50))


def test_names_the_crash_that_rolled_a_version_back() -> None:
    world = begun().settle()
    before = world.status
    world.fail(world.hash_of(2), OOM).list_endpoints().reconcile()
    assert rollback(before, world.status) == "Crash"
