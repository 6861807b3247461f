"""Lives of a resource, step by step.

They cover the first deployment, promotion, rollback, and what can be lost in between.
"""

import pytest
from sluicegate.api import names
from sluicegate.api.status import ModelDeploymentStatus, Role
from sluicegate.core.snapshot.facts import Problem

from tests.support.fake_cluster import NAME, World

CRASH = Problem("CrashLoopBackOff", "Container model ended with exit code 1 and said: no such column.")


def reasons(world: World) -> dict[str, str]:
    return {condition.type: f"{condition.status} {condition.reason}" for condition in world.status.conditions}


def test_first_deployment_without_a_gateway() -> None:
    world = World().reconcile()
    first = world.hash_of(1)
    assert world.role(first) == Role.CANDIDATE
    assert reasons(world)["Ready"] == "False WaitingForPods"
    assert reasons(world)["Available"] == "False NotServingYet"
    assert reasons(world)["Reconciling"] == "True WaitingForPods"
    assert reasons(world)["ModelResolved"] == "True Resolved"
    assert world.service_selects() == first, "the Service is there before the pods"
    world.make_pods().start().reconcile()
    assert world.role(first) == Role.CANDIDATE, "ready is not yet listed"
    world.list_endpoints().reconcile()
    assert world.role(first) == Role.STABLE
    world.reconcile()
    assert reasons(world) == {
        "Ready": "True Serving",
        "Available": "True Serving",
        "ModelResolved": "True Resolved",
        "Progressing": "False Complete",
        "TrafficRouted": "True ServiceOnly",
        "Reconciling": "False Complete",
        "Stalled": "False NotStalled",
    }
    assert world.status.address == f"http://{NAME}.shop.svc"
    assert world.status.url is None


def test_first_deployment_with_a_gateway_routes_only_to_what_is_ready() -> None:
    world = World().gateway().reconcile()
    assert ("HTTPRoute", NAME) not in world.objects
    assert reasons(world)["TrafficRouted"] == "False WaitingForPods"
    world.make_pods().start().list_endpoints().reconcile().reconcile()
    first = world.hash_of(1)
    assert world.weights() == {first: 100}
    assert reasons(world)["Ready"] == "False RoutePending"
    world.accept_route().reconcile()
    assert reasons(world)["Ready"] == "True Serving"
    assert reasons(world)["TrafficRouted"] == "True Accepted"
    assert world.status.url == "http://10.0.0.1/shop/churn"
    assert world.entry(first).accepted_weight == 100


def test_the_first_revision_serves_with_its_first_pod() -> None:
    world = (
        World(scaling={"replicas": 3}).reconcile().make_pods().start(count=1).list_endpoints().reconcile().reconcile()
    )
    assert reasons(world)["Available"] == "True Serving"
    assert world.condition("Ready").message == "1 of 3 pods are ready."


def test_takeover_without_a_gateway_widens_the_service_and_then_narrows_it() -> None:
    world = World(scaling={"replicas": 2}).rest().serve(2)
    old, new = world.hash_of(1), world.hash_of(2)
    world.reconcile().make_pods().start(new, 1).list_endpoints().reconcile()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.CANDIDATE), "one of two is not enough"
    assert world.service_selects() == old
    world.start().list_endpoints().reconcile()
    assert (world.role(old), world.role(new)) == (Role.RETIRING, Role.STABLE)
    assert world.service_selects() is None, "widened"
    assert reasons(world)["Ready"] == "False ShiftingTraffic"
    world.reconcile()
    assert world.service_selects() is None, "until the new pods are listed"
    world.list_endpoints(NAME).reconcile()
    assert world.service_selects() == new
    world.list_endpoints().later(3).reconcile()
    assert reasons(world)["Ready"] == "True Serving"
    assert world.replicas(old) == 2
    assert world.plan.recheck_after == 30
    world.later(29).reconcile()
    assert (world.replicas(old), world.plan.recheck_after) == (2, 1)
    world.later(1).reconcile()
    assert (world.replicas(old), world.role(old)) == (0, Role.PARKED)
    assert ("Service", f"{NAME}-{old}") not in world.objects
    assert ("ControllerRevision", f"{NAME}-{old}") in world.objects


def test_takeover_with_a_gateway_keeps_the_old_pods_until_the_route_is_accepted() -> None:
    world = World().gateway().rest().serve(2)
    old, new = world.hash_of(1), world.hash_of(2)
    world.reconcile().make_pods().start().list_endpoints().reconcile()
    assert world.weights() == {new: 100}
    assert world.entry(new).weight == 100
    assert world.entry(new).accepted_weight == 0
    for _ in range(5):
        world.make_pods().start().list_endpoints().later(60).reconcile()
    assert world.replicas(old) == 1, "the gateway may still send there"
    assert world.status.rollout is not None
    assert world.status.rollout.phase == "Shifting"
    world.accept_route().reconcile()
    assert (world.status.rollout.phase, world.role(old), world.replicas(old)) == ("Idle", Role.PARKED, 1)
    status = world.status
    world.later(30).reconcile()
    assert world.replicas(old) == 0
    assert world.status == status, "removing the pods is no news"


def test_a_target_never_gets_requests_of_a_service_that_is_still_wide() -> None:
    world = World().rest().serve(2).reconcile().make_pods().start().list_endpoints().reconcile()
    assert world.service_selects() is None
    world.serve(3).reconcile().make_pods()
    world.reconcile()
    assert world.service_selects() == world.hash_of(2)


def test_rollback_to_a_revision_whose_pods_are_still_there_is_immediate() -> None:
    world = World().gateway().rest().serve(2)
    old, new = world.hash_of(1), world.hash_of(2)
    world.settle()
    assert (world.role(old), world.replicas(old)) == (Role.PARKED, 1)
    pods = {pod.name for pod in world.pods.values() if pod.revision == old}
    world.serve(1).reconcile()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.RETIRING)
    assert world.weights() == {old: 100}
    assert {pod.name for pod in world.pods.values() if pod.revision == old} == pods


def test_rollback_to_a_parked_revision_finds_it_again() -> None:
    world = World().rest().serve(2).rest()
    old = world.hash_of(1)
    number = world.entry(old).number
    world.serve(1).rest()
    assert world.role(old) == Role.STABLE
    assert world.entry(old).number == number
    assert len(world.of_kind("ControllerRevision")) == 2


def test_a_target_that_fails_leaves_the_old_one_serving_and_a_revert_cleans_up() -> None:
    world = World().rest().serve(2)
    old, new = world.hash_of(1), world.hash_of(2)
    world.reconcile().make_pods().fail(new, CRASH).reconcile()
    assert reasons(world)["Ready"] == "False CrashLoopBackOff"
    assert world.condition("Ready").message == f"{CRASH.message} The previous revision keeps serving."
    assert reasons(world)["Available"] == "True Serving"
    assert reasons(world)["Stalled"] == "True CrashLoopBackOff"
    assert reasons(world)["Reconciling"] == "False Complete"
    assert reasons(world)["Progressing"] == "False CrashLoopBackOff"
    assert (world.entry(new).reason, world.entry(old).reason) == ("CrashLoopBackOff", None)
    assert world.status.rollout is not None
    assert world.status.rollout.phase == "Failed"
    world.serve(1).rest()
    assert reasons(world)["Ready"] == "True Serving"
    assert world.replicas(new) == 0


def test_history_limit() -> None:
    world = World(rollout={"historyLimit": 2})
    for version in range(1, 6):
        world.serve(version).rest()
    parked = [entry.revision for entry in world.status.revisions if entry.role == Role.PARKED]
    assert parked == [world.hash_of(4), world.hash_of(3)]
    assert len(world.of_kind("Deployment")) == len(world.of_kind("ControllerRevision")) == 3
    world.edit(rollout={"historyLimit": 0}).rest()
    assert len(world.of_kind("Deployment")) == 1


@pytest.mark.parametrize("gateway", [True, False])
def test_however_often_the_version_changes_few_revisions_have_pods(gateway: bool) -> None:
    world = World(rollout={"scaleDownDelay": "1h"}).gateway(gateway).rest()
    world.missing_gateway = gateway
    for version in range(2, 9):
        world.serve(version)
        for _ in range(5):
            world.step().later(5)
    assert sum(not entry.parked for entry in world.plan.revisions) <= 3
    world.missing_gateway = False
    world.rest()
    assert world.role(world.hash_of(8)) == Role.STABLE


def test_paused() -> None:
    world = World().rest().edit(paused=True).serve(2).settle()
    assert reasons(world)["Ready"] == "False Paused"
    assert reasons(world)["Available"] == "True Serving"
    assert len(world.of_kind("Deployment")) == 1
    world.edit(paused=None).rest()
    assert world.role(world.hash_of(2)) == Role.STABLE


def test_paused_in_the_middle_keeps_the_target_and_no_deadline_runs() -> None:
    world = World().rest().serve(2).reconcile().make_pods().edit(paused=True)
    world.rest()
    assert world.role(world.hash_of(2)) == Role.CANDIDATE
    assert reasons(world)["Ready"] == "False Paused", "not ProgressDeadlineExceeded, hours later"
    world.edit(paused=None).reconcile()
    assert world.role(world.hash_of(2)) == Role.STABLE


def test_zero_replicas_and_back() -> None:
    world = World().gateway().rest().edit(scaling={"replicas": 0}).rest()
    assert world.replicas(world.hash_of(1)) == 0
    assert reasons(world)["Available"] == "False ScaledToZero"
    assert reasons(world)["Ready"] == "True ScaledToZero"
    world.serve(2).rest()
    assert world.role(world.hash_of(2)) == Role.CANDIDATE
    world.edit(scaling={"replicas": 2}).rest()
    assert reasons(world)["Ready"] == "True Serving"
    assert world.programmed.weights == {world.hash_of(2): 100}


def test_zero_replicas_from_the_start_has_a_stable_revision() -> None:
    world = World(scaling={"replicas": 0}).rest()
    assert world.role(world.hash_of(1)) == Role.STABLE


def test_a_lost_status_is_rebuilt_from_the_service() -> None:
    world = World().gateway().rest().serve(2).reconcile().make_pods()
    world.status = ModelDeploymentStatus()
    world.reconcile()
    assert (world.role(world.hash_of(1)), world.role(world.hash_of(2))) == (Role.STABLE, Role.CANDIDATE)
    assert reasons(world)["Available"] == "True Serving"


def test_a_lost_controller_revision_of_the_stable_is_written_again() -> None:
    world = World().rest()
    first = world.hash_of(1)
    del world.objects["ControllerRevision", f"{NAME}-{first}"]
    world.settle()
    assert ("ControllerRevision", f"{NAME}-{first}") in world.objects
    assert reasons(world)["Ready"] == "True Serving"


def test_a_deployment_whose_controller_revision_is_lost_goes_once_the_traffic_has_left_it() -> None:
    world = World().rest().serve(2)
    old, new = world.hash_of(1), world.hash_of(2)
    del world.objects["ControllerRevision", f"{NAME}-{old}"]
    world.reconcile().make_pods().reconcile()
    assert ("Deployment", f"{NAME}-{old}") in world.objects
    assert world.selected(NAME)
    world.rest()
    assert world.role(new) == Role.STABLE
    assert ("Deployment", f"{NAME}-{old}") not in world.objects


def test_from_a_fixed_number_to_an_autoscaler_and_back() -> None:
    world = World(scaling={"replicas": 4}).rest()
    first = world.hash_of(1)
    world.edit(scaling={"min": 2, "max": 8}).reconcile()
    assert world.replicas(first) == 4
    world.rest()
    assert world.replicas(first) == 4, "the autoscaler has not written: the number stays ours"
    world.autoscale(7).reconcile()
    assert world.replicas(first) == 7
    world.reconcile()
    assert "replicas" not in str(world.writes)
    world.rest()
    world.edit(scaling={"replicas": 5}).reconcile()
    assert world.replicas(first) == 5
    assert world.of_kind("HorizontalPodAutoscaler") == []


def test_an_autoscaled_successor_is_first_as_large_as_its_predecessor() -> None:
    world = World(scaling={"min": 1, "max": 8}).rest().autoscale(6).rest()
    world.serve(2).reconcile()
    new = world.hash_of(2)
    assert world.replicas(new) == 6
    world.make_pods().start(new, 5).list_endpoints().reconcile()
    assert world.role(new) == Role.CANDIDATE
    world.start().list_endpoints().reconcile()
    assert world.role(new) == Role.STABLE


def test_transition_times_move_only_with_a_status() -> None:
    world = World().reconcile()
    before = world.condition("Ready").last_transition_time
    world.later(5).make_pods().fail(world.hash_of(1), CRASH).reconcile()
    assert world.condition("Ready").last_transition_time == before
    assert world.condition("Stalled").last_transition_time == (world.now).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_every_condition_tells_the_generation_that_it_is_about() -> None:
    world = World().rest().serve(2).reconcile()
    assert {condition.observed_generation for condition in world.status.conditions} == {2}
    assert world.status.observed_generation == 2
    assert world.status.selector == f"{names.LABEL_DEPLOYMENT}={NAME},{names.LABEL_REVISION}={world.hash_of(1)}"
