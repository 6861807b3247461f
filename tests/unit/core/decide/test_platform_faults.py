"""A good version is promoted, whatever the platform does to its pods.

Hypothesis chooses what happens to which pod, and when. The problems are read from pods as a kubelet writes them.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sluicegate.api.status import Phase, Role
from sluicegate.core.snapshot import parse
from sluicegate.core.snapshot.pod_faults import CAUSES, Fault

from tests.support.fake_cluster import World
from tests.unit.core.decide.test_simulation import MIRRORING
from tests.unit.core.snapshot.test_pod_faults import PODS

FAULTS = {
    name: parse.pod(raw) for name, cause, raw in PODS if CAUSES[cause].fault is not Fault.VERSION and name != "deleted"
}
"""What the platform does to a pod, as the facts that the operator reads from it."""
STEPS = [
    [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "2m"}],
    [{"weight": 25}, {"weight": 100, "hold": "30s"}],
    None,
]
TURNS = ("reconcile", "make_pods", "start", "finish", "list_endpoints", "accept_route", "step")
turns = st.sampled_from(TURNS).map(lambda name: (name, 0))
faults = st.tuples(st.sampled_from(sorted(FAULTS)), st.integers(0, 7))
others = st.one_of(
    st.tuples(st.just("later"), st.sampled_from([1, 31, 61, 700])),
    st.tuples(st.sampled_from(["killed", "recovered"]), st.integers(0, 7)),
)
lives = st.lists(st.one_of(turns, turns, faults, faults, others), min_size=5, max_size=50)


def act(world: World, name: str, number: int) -> None:
    pods = sorted(world.pods)
    chosen = pods[number % len(pods)] if pods else ""
    if name in TURNS:
        getattr(world, name)()
    elif name == "later":
        world.later(number)
    elif chosen and name == "killed":
        del world.pods[chosen]
    elif chosen and name == "recovered":
        world.pods[chosen] = replace(world.pods[chosen], problem=None)
    elif chosen and not world.pods[chosen].ended:
        facts = FAULTS[name]
        pod = replace(world.pods[chosen], ready=False, ended=facts.ended, problem=facts.problem)
        world.pods[chosen] = replace(pod, since=world.now.isoformat())


def never_judged(world: World) -> None:
    """Check that no revision is rolled back or given up."""
    assert world.status.rollout is None or world.status.rollout.phase is not Phase.ROLLED_BACK, world.status.rollout
    assert all(entry.role != Role.FAILED for entry in world.status.revisions), world.status.revisions


def ends_promoted(world: World) -> None:
    """End all problems, and check that the rollout goes on to its end."""
    for pod in list(world.pods.values()):
        world.pods[pod.name] = replace(pod, problem=None)
    for _ in range(8):
        world.settle().later(130)
        never_judged(world)
    world.rest()
    assert world.role(world.hash_of(2)) == Role.STABLE
    assert (world.condition("Ready").status, world.condition("Stalled").status) == ("True", "False")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.booleans(), st.sampled_from(STEPS), st.integers(1, 4), lives)
def test_good_version_ends_promoted_whatever_the_platform_does(
    gateway: bool, steps: list[dict[str, object]] | None, replicas: int, life: list[tuple[str, int]]
) -> None:
    world = World(scaling={"replicas": replicas}, rollout={"steps": steps, "scaleDownDelay": "10s"} if steps else {})
    world.features = MIRRORING
    world.gateway(gateway).rest().serve(2)
    for name, number in life:
        act(world, name, number)
        never_judged(world)
    world.reconcile()
    ends_promoted(world)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_in_a_step_does_not_roll_back(name: str) -> None:
    world = World(scaling={"replicas": 4}, rollout={"steps": STEPS[0], "scaleDownDelay": "10s"}).gateway().rest()
    world.serve(2).settle()
    new = world.hash_of(2)
    assert world.status.rollout is not None
    assert world.status.rollout.phase is Phase.HOLDING
    for index, pod in enumerate(sorted(world.pods)):
        if world.pods[pod].revision == new:
            act(world, name, index)
    world.list_endpoints().reconcile()
    never_judged(world)
    ends_promoted(world)
