"""Properties of a resource's whole life, in a simulated cluster.

Hypothesis chooses the order in which the actors of the cluster act. `World.reconcile` checks the safety properties at
every step. This module has the lives, and the properties at their ends.
"""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sluicegate.api import names
from sluicegate.api.status import Role
from sluicegate.core.snapshot.facts import Problem

from tests.support.fake_cluster import World

BROKEN = Problem("CrashLoopBackOff", "Container model ended with exit code 1 and said: no.")
FULL = Problem("Unschedulable", "No node has room.", waits_for_user=False, lacks_room=True)
FIXED = [{"replicas": 1}, {"replicas": 3}]
RANGES = [{"min": 1, "max": 6}, {"min": 3, "max": 4}]
MATCH = [{"header": {"name": "x-cohort", "value": "beta"}}]
MIRRORING = frozenset({"HTTPRouteRequestMirror", "HTTPRouteRequestPercentageMirror", "HTTPRoutePathRewrite"})
CHILDREN = ["ControllerRevision", "Deployment", "Service", "HorizontalPodAutoscaler", "HTTPRoute"]
TURNS = ["reconcile", "pods", "start", "finish", "slices", "accept", "step"]

turns = st.sampled_from(TURNS).map(lambda name: (name, 0))
actions = st.one_of(
    turns,
    turns,
    turns,
    st.tuples(st.just("serve"), st.integers(1, 4)),
    st.tuples(st.just("scale"), st.integers(0, 3)),
    st.tuples(st.just("autoscale"), st.integers(1, 7)),
    st.tuples(st.just("later"), st.sampled_from([1, 10, 40, 700])),
    st.tuples(
        st.sampled_from(["start-one", "kill", "fail", "recover", "unwritten", "forget-status", "unresolved"]),
        st.integers(0, 3),
    ),
    st.tuples(st.sampled_from(["paused", "gateway", "refuse", "mirror"]), st.integers(0, 1)),
    st.tuples(st.just("canary"), st.integers(0, 4)),
    st.tuples(st.just("weight"), st.sampled_from([0, 1, 10, 50, 99, 100])),
    st.tuples(st.sampled_from(["abort", "pin", "retry"]), st.integers(0, 3)),
    st.tuples(st.just("history"), st.integers(0, 2)),
    st.tuples(st.just("full"), st.integers(0, 3)),
    st.tuples(st.just("when-full"), st.integers(0, 1)),
    st.tuples(st.just("refuse-writes"), st.integers(0, len(CHILDREN))),
)


def act(world: World, name: str, number: int) -> None:
    revisions = sorted({pod.revision for pod in world.pods.values()})
    chosen = revisions[number % len(revisions)] if revisions else ""
    match name:
        case "reconcile":
            world.reconcile()
        case "unwritten":
            world.reconcile(write_status=False)
        case "pods":
            world.make_pods()
        case "start":
            world.start()
        case "start-one":
            world.start(chosen, 1)
        case "finish":
            world.finish()
        case "slices":
            world.list_endpoints()
        case "accept":
            world.accept_route()
        case "step":
            world.step()
        case "serve":
            world.serve(number)
        case "scale":
            world.edit(scaling=[*FIXED, *RANGES][number])
        case "autoscale":
            world.autoscale(number)
        case "later":
            world.later(number)
        case "kill" if revisions:
            victim = sorted(pod.name for pod in world.pods.values() if pod.revision == chosen)[0]
            del world.pods[victim]
        case "fail":
            world.fail(chosen, BROKEN)
        case "full":
            for pod in [pod for pod in world.pods.values() if pod.revision == chosen and not pod.ready]:
                world.pods[pod.name] = replace(pod, problem=FULL)
        case "when-full":
            world.edit(rollout={"whenFull": "Replace" if number else "Wait"})
        case "recover":
            world.fail(chosen, None)
        case "unresolved":
            world.model_problem = Problem("RegistryUnreachable", "no", False) if number % 2 else None
        case "paused":
            world.edit(paused=bool(number) or None)
        case "gateway":
            world.gateway(bool(number))
        case "refuse":
            world.refusal = "no listener" if number else None
        case "refuse-writes":
            world.refused_kinds = frozenset(CHILDREN[number : number + 1])
        case "history":
            world.edit(rollout={"historyLimit": number})
        case "canary":
            world.canary(number or None, **({"match": MATCH} if number == 2 else {}))
        case "weight" if "canary" in world.spec:
            world.edit(canary={**world.spec["canary"], "weight": number})
        case "mirror" if "canary" in world.spec:
            world.features = MIRRORING if number else frozenset()
            world.edit(canary={**world.spec["canary"], "mirror": {"percent": 50}})
        case "abort" | "pin" | "retry":
            world.annotations.pop(f"sluicegate.dev/{name}", None)
            if number and chosen:
                world.annotations[f"sluicegate.dev/{name}"] = chosen
        case "forget-status":
            world.status = type(world.status)()


def calm(world: World) -> World:
    """End all problems, and let the operator complete its work."""
    for revision in {pod.revision for pod in world.pods.values()}:
        world.fail(revision, None)
    world.model_problem = world.refusal = None
    world.annotations.clear()
    world.refused_kinds = frozenset()
    world.features = MIRRORING
    world.edit(paused=None).rest()
    while failed := [each.revision for each in world.status.revisions if each.role == Role.FAILED]:
        world.annotations[names.ANNOTATION_RETRY] = failed[0]
        world.rest().annotations.clear()
    return world.rest()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.booleans(), st.lists(actions, min_size=5, max_size=45))
def test_whatever_happens_no_step_loses_requests_and_it_all_ends_at_rest(
    gateway: bool, life: list[tuple[str, int]]
) -> None:
    world = World(scaling={"replicas": 2}).gateway(gateway)
    world.rest()
    for name, number in life:
        act(world, name, number)
    calm(world)
    desired, canary = world.desired().revision, world.desired_canary()
    assert world.role(desired) == Role.STABLE
    candidate = canary.revision if canary is not None and canary.revision != desired else None
    assert [entry.role for entry in world.plan.revisions if not entry.parked] == [Role.STABLE] + [Role.CANARY] * bool(
        candidate
    )
    assert world.condition("Ready").status == "True" or not world.resource.spec.traffic.gateway.parent_refs
    assert_split(world, desired, candidate)
    assert_at_rest(world)


def assert_split(world: World, desired: str, canary: str | None) -> None:
    """Check that the cluster serves what the spec declares."""
    spec = world.resource.spec
    weight = spec.canary.weight if canary is not None and spec.canary is not None else 0
    able = canary is not None and world.selected(f"churn-{canary}")
    if spec.traffic.gateway.parent_refs:
        weight = weight if able else 0
        expected = {desired: 100 - weight} | ({canary: weight} if canary is not None else {})
        assert world.programmed.weights == {revision: share for revision, share in expected.items() if share}
        assert world.service_selects() == desired
    elif not weight or not able:
        assert world.service_selects() == desired
    else:
        assert world.service_selects() == (canary if weight == 100 else None)


def assert_at_rest(world: World) -> None:
    """Check that the operator plans, writes and reports nothing new.

    This holds now and an hour later.
    """
    for _ in range(2):
        before, plan = world.status, world.plan
        world.later(3600).reconcile()
        assert world.writes == []
        assert (world.status, world.plan) == (before, plan)
    assert world.plan.recheck_after is None
