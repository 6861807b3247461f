"""The declared canary: which revision gets which requests, and its pods.

The cases are those of the table in the design.
"""

from typing import Any

import pytest
from sluicegate.api import names
from sluicegate.api.resource import decode
from sluicegate.api.status import Role
from sluicegate.core.rollout.canary import canary_view
from sluicegate.core.snapshot.facts import Mirror, Problem

from tests.support.fake_cluster import NAME, World

CRASH = Problem("CrashLoopBackOff", "Container model ended with exit code 1 and said: no.")
MATCH = [{"header": {"name": "x-cohort", "value": "beta"}}]
MIRRORING = frozenset({"HTTPRoutePathRewrite", "HTTPRouteRequestMirror"})


def served(replicas: int = 2, gateway: bool = True) -> World:
    return World(scaling={"replicas": replicas}).gateway(gateway).rest()


def ready(world: World) -> str:
    condition = world.condition("Ready")
    return f"{condition.status} {condition.reason}"


def test_a_canary_gets_its_weight_only_when_its_pods_are_ready_and_listed() -> None:
    world = served().canary(2, 10).reconcile()
    old, new = world.hash_of(1), world.hash_of(2)
    assert world.role(new) == Role.CANARY
    assert (world.entry(new).weight, world.entry(new).accepted_weight) == (10, 0)
    assert ready(world) == "False WaitingForPods"
    world.make_pods().start(new, 1).list_endpoints().reconcile()
    assert world.weights() == {old: 100}, "one of two pods"
    world.start().reconcile()
    assert world.weights() == {old: 100}, "ready is not yet listed"
    world.list_endpoints().reconcile()
    assert world.weights() == {old: 90, new: 10}
    assert world.status.canary == "0%"
    world.accept_route().reconcile()
    assert (world.status.canary, ready(world)) == ("10%", "True Serving")
    assert world.service_selects() == old, "in-cluster callers stay with stable"


def test_weight_zero_is_a_dark_launch_that_runs() -> None:
    world = served().canary(2, 0).rest()
    new = world.hash_of(2)
    assert world.replicas(new) == 2
    assert world.weights() == {world.hash_of(1): 100}
    assert ready(world) == "True Serving"


def test_promotion_by_moving_the_canary_into_the_base_keeps_its_pods_and_its_share_meanwhile() -> None:
    world = served().canary(2, 10, scaling={"replicas": 1}).rest()
    old, new = world.hash_of(1), world.hash_of(2)
    pods = {pod.name for pod in world.pods.values() if pod.revision == new}
    world.serve(2).canary(None).reconcile()
    assert world.role(new) == Role.CANDIDATE
    assert world.weights() == {old: 90, new: 10}
    world.make_pods().reconcile()
    assert world.weights() == {old: 90, new: 10}
    world.rest()
    assert world.weights() == {new: 100}
    assert pods < {pod.name for pod in world.pods.values() if pod.revision == new}
    assert world.role(old) == Role.PARKED


def test_removing_the_canary_drains_it() -> None:
    world = served().canary(2, 10).rest()
    new = world.hash_of(2)
    world.canary(None).reconcile()
    assert (world.role(new), world.replicas(new)) == (Role.RETIRING, 2)
    world.later(300).reconcile()
    assert world.replicas(new) == 2, "the gateway has not let go of it yet"
    world.accept_route().list_endpoints().reconcile().later(29).reconcile()
    assert world.replicas(new) == 2, "scaleDownDelay"
    world.later(1).reconcile()
    assert (world.role(new), world.replicas(new)) == (Role.PARKED, 0)


def test_a_new_canary_takes_the_place_of_the_old_within_its_weight_once_it_is_ready() -> None:
    world = served().canary(2, 10).rest()
    base, old, new = world.hash_of(1), world.hash_of(2), world.hash_of(3)
    world.canary(3, 10).reconcile().make_pods()
    assert (world.role(old), world.role(new)) == (Role.CANARY, Role.NEXT_CANARY)
    assert world.weights() == {base: 90, old: 10}
    world.start().list_endpoints().reconcile()
    assert world.weights() == {base: 90, new: 10}
    assert (world.role(old), world.role(new)) == (Role.RETIRING, Role.CANARY)


def test_a_new_canary_replaces_one_that_never_came_up_at_once() -> None:
    world = served().canary(2, 10).reconcile().make_pods()
    world.fail(world.hash_of(2), CRASH).settle()
    assert world.condition("Ready").message.endswith("Its share stays with the stable revision.")
    world.canary(3, 10).rest()
    assert world.weights() == {world.hash_of(1): 90, world.hash_of(3): 10}


def test_a_change_of_the_base_moves_only_the_share_of_stable() -> None:
    world = served().canary(2, 10).rest().serve(3)
    for _ in range(30):
        world.step()
        assert world.weights()[world.hash_of(2)] == 10
    world.rest()
    assert world.weights() == {world.hash_of(3): 90, world.hash_of(2): 10}


def test_a_canary_whose_pods_are_gone_leaves_its_share_to_stable() -> None:
    world = served().canary(2, 50).rest()
    new = world.hash_of(2)
    world.pods = {name: pod for name, pod in world.pods.items() if pod.revision != new}
    world.list_endpoints().reconcile()
    assert world.weights() == {world.hash_of(1): 100}
    world.rest()
    assert world.weights() == {world.hash_of(1): 50, new: 50}


def test_base_and_canary_of_one_revision_are_no_canary() -> None:
    world = served().canary(1, 10).rest()
    assert ready(world) == "True SameAsStable"
    assert world.weights() == {world.hash_of(1): 100}


def test_base_and_canary_change_places_without_a_pod_more() -> None:
    world = served().canary(2, 10).rest()
    old, new = world.hash_of(1), world.hash_of(2)
    pods = set(world.pods)
    world.serve(2).canary(1, 10).rest()
    assert world.weights() == {new: 90, old: 10}
    assert set(world.pods) == pods


def test_headers_go_wholly_to_the_canary() -> None:
    world = served().canary(2, 0, match=MATCH).rest()
    split = world.split()
    assert (split.matched, [match_.value for match_ in split.matches]) == (world.hash_of(2), ["beta"])
    assert split.weights == {world.hash_of(1): 100}
    rules = world.objects["HTTPRoute", NAME]["spec"]["rules"]
    assert [len(rule["matches"][0].get("headers", [])) for rule in rules] == [1, 0]


def test_a_mirror_is_sent_only_where_the_class_lists_it() -> None:
    world = served().canary(2, 0, mirror={"percent": 100}).rest()
    assert world.split().mirror is None
    assert ready(world) == "False GatewayLacksFeature"
    assert "HTTPRouteRequestMirror" in world.condition("Ready").message
    assert world.condition("Available").status == "True"
    world.features = MIRRORING
    world.rest()
    assert (world.split().mirror, ready(world)) == (Mirror(world.hash_of(2), 100), "True Serving")
    world.canary(2, 0, mirror={"percent": 50}).rest()
    assert "gateway.features" not in world.condition("Ready").message
    assert "HTTPRouteRequestPercentageMirror" in world.condition("Ready").message


@pytest.mark.parametrize("form", ["{hash}", "churn-{hash}"])
def test_abort_takes_the_share_of_this_canary_and_of_no_other(form: str) -> None:
    world = served().canary(2, 10, match=MATCH).rest()
    world.annotations[names.ANNOTATION_ABORT] = form.format(hash=world.hash_of(2))
    world.rest()
    assert world.weights() == {world.hash_of(1): 100}
    assert world.split().matched is None
    assert ready(world) == "False Aborted"
    assert world.replicas(world.hash_of(2)) == 2
    world.canary(3, 10).rest()
    assert world.weights() == {world.hash_of(1): 90, world.hash_of(3): 10}


def test_abort_of_a_take_over_keeps_what_serves() -> None:
    world = served().serve(2).reconcile().make_pods()
    world.annotations[names.ANNOTATION_ABORT] = world.hash_of(2)
    world.rest()
    assert world.weights() == {world.hash_of(1): 100}
    assert ready(world) == "False Aborted"
    state = world.status.rollout
    assert state is not None
    assert (state.phase, state.message) == ("Aborted", "Aborted by a user before it received requests.")
    world.annotations.clear()
    world.rest()
    assert world.weights() == {world.hash_of(2): 100}


def test_a_pin_serves_its_revision_alone() -> None:
    world = served().serve(2).rest().canary(3, 10).rest()
    world.annotations[names.ANNOTATION_PIN] = f"{NAME}-{world.hash_of(1)}"
    world.rest()
    assert world.weights() == {world.hash_of(1): 100}
    assert ready(world) == "False Pinned"
    assert world.entry(world.hash_of(3)).weight == 0
    world.serve(4).rest()
    assert world.weights() == {world.hash_of(1): 100}
    world.annotations.clear()
    world.rest()
    assert world.weights() == {world.hash_of(4): 90, world.hash_of(3): 10}


def test_a_pin_to_nothing_is_told_and_changes_nothing() -> None:
    world = served()
    world.annotations[names.ANNOTATION_PIN] = "nothing"
    world.rest()
    assert ready(world) == "False PinnedRevisionUnknown"
    assert world.weights() == {world.hash_of(1): 100}


def test_promote_is_refused_with_the_sentence_that_tells_how() -> None:
    world = served().canary(2, 10).rest()
    world.annotations[names.ANNOTATION_PROMOTE] = world.hash_of(2)
    world.rest()
    assert ready(world) == "False PromoteRefused"
    assert "into the base" in world.condition("Ready").message
    assert world.weights() == {world.hash_of(1): 90, world.hash_of(2): 10}


def test_paused_freezes_the_weights() -> None:
    world = served().canary(2, 10, match=MATCH).rest().edit(paused=True).canary(2, 50).rest()
    assert world.weights() == {world.hash_of(1): 90, world.hash_of(2): 10}
    world.canary(None).rest()
    assert world.weights() == {world.hash_of(1): 90, world.hash_of(2): 10}
    assert world.split().matched == world.hash_of(2)


def test_a_canary_that_does_not_resolve_leaves_the_base_alone() -> None:
    world = served().canary(2, 10).rest()
    before = world.weights()
    world.model_problem = Problem("RegistryUnreachable", "No answer.")
    world.edit(canary={"weight": 10, "runtime": {"image": "other:1"}}).rest()
    assert ready(world) == "False RegistryUnreachable"
    assert world.weights() == before


@pytest.mark.parametrize(("weight", "pods"), [(0, 1), (1, 1), (10, 1), (20, 2), (33, 4), (50, 9), (90, 81)])
def test_without_a_gateway_the_canarys_pods_follow_from_its_weight(weight: int, pods: int) -> None:
    world = served(9, gateway=False).canary(2, weight).rest()
    assert world.replicas(world.hash_of(2)) == pods
    assert world.service_selects() == (None if weight else world.hash_of(1))
    expected = round(100 * pods / (9 + pods)) if weight else 0
    assert world.status.canary == f"~{expected}%"
    assert "approximate" in world.condition("TrafficRouted").message


def test_without_a_gateway_no_other_revision_gets_requests() -> None:
    world = served(4, gateway=False).canary(2, 20).rest().serve(3).reconcile().make_pods().reconcile()
    assert world.service_selects() == world.hash_of(1), "the canary's share waits while the base changes"
    world.rest()
    assert world.service_selects() is None
    assert world.role(world.hash_of(3)) == Role.STABLE


def test_promotion_without_a_gateway_keeps_the_canary_in_the_service() -> None:
    world = served(4, gateway=False).canary(2, 20).rest()
    old, new = world.hash_of(1), world.hash_of(2)
    world.serve(2).canary(None).reconcile()
    for _ in range(3):
        assert (world.role(new), world.service_selects()) == (Role.CANDIDATE, None)
        assert world.condition("Ready").reason == "WaitingForPods"
        world.make_pods().start(new, 1).list_endpoints().reconcile()
    assert (world.role(old), world.role(new)) == (Role.RETIRING, Role.STABLE)
    assert world.service_selects() == new


def test_replacement_without_a_gateway_waits_until_the_old_canary_is_drained() -> None:
    world = served(4, gateway=False).canary(2, 20).rest().canary(3, 20).settle()
    stable, old, new = (world.hash_of(version) for version in (1, 2, 3))
    assert (world.role(new), world.role(old), world.replicas(old)) == (Role.CANARY, Role.PARKED, 1)
    assert world.service_selects() == stable, "a selector for all would also select the old canary"
    world.later(31).settle()
    assert (world.replicas(old), world.service_selects()) == (0, None)


def test_promotion_without_a_gateway_returns_requests_if_its_pods_fail() -> None:
    world = served(4, gateway=False).canary(2, 20).rest()
    old, new = world.hash_of(1), world.hash_of(2)
    world.serve(2).canary(None).reconcile().fail(new, CRASH).list_endpoints().reconcile()
    assert (world.role(new), world.service_selects()) == (Role.CANDIDATE, old)


@pytest.mark.parametrize(("field", "value"), [("match", MATCH), ("mirror", {}), ("scaling", {"replicas": 3})])
def test_without_a_gateway_what_only_a_gateway_does_is_refused_by_name(field: str, value: Any) -> None:
    world = served(4, gateway=False).canary(2, 20, **{field: value or {"percent": 100}}).rest()
    assert ready(world) == "False GatewayRequired"
    assert f"spec.canary.{field}" in world.condition("Ready").message


def test_an_autoscaled_canary_is_scaled_before_its_weight_grows_and_stable_before_it_is_lowered() -> None:
    world = World(scaling={"min": 1, "max": 10}).gateway().rest()
    old, new = world.hash_of(1), world.hash_of(2)
    world.autoscale(8).make_pods().start().list_endpoints().settle()
    world.canary(2, 50).reconcile()
    assert world.replicas(new) == 4
    world.rest()
    assert world.weights() == {old: 50, new: 50}
    hpa = world.objects["HorizontalPodAutoscaler", f"{NAME}-{old}"]
    for revision in (old, new):
        world.objects["Deployment", f"{NAME}-{revision}"]["spec"]["replicas"] = 3
    world.make_pods().finish().list_endpoints().settle()
    world.canary(None).reconcile()
    assert world.objects["HorizontalPodAutoscaler", f"{NAME}-{old}"]["spec"]["minReplicas"] == 6
    assert world.weights() == {old: 50, new: 50}, "stable has three of the six pods that carry it all"
    world.rest()
    assert world.weights() == {old: 100}
    assert world.objects["HorizontalPodAutoscaler", f"{NAME}-{old}"]["spec"] == hpa["spec"]


def test_the_canary_differs_in_what_it_names_and_is_the_base_in_the_rest() -> None:
    spec = {
        "model": {"uri": "models:/churn/1", "registry": "eu"},
        "runtime": {"image": "a:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        "resources": {"limits": {"cpu": 1}},
        "canary": {
            "weight": 1,
            "model": {"uri": "models:/churn/2"},
            "runtime": {"env": [{"name": "B", "value": "3"}]},
        },
    }
    view = canary_view(decode({"metadata": {"name": "churn"}, "spec": spec}))
    assert view is not None
    assert (view.spec.model.uri, view.spec.model.registry) == ("models:/churn/2", "eu")
    assert (view.spec.runtime.image, [each.value for each in view.spec.runtime.env or ()]) == ("a:1", ["1", "3"])
    assert view.spec.resources.limits == {"cpu": 1}
    assert view.spec.canary is None
