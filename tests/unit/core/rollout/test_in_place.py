"""`whenFull: Replace`: which pods are replaced, when, and the message about it."""

from dataclasses import replace
from typing import Any

from sluicegate.api.status import Role
from sluicegate.core.snapshot.facts import Problem

from tests.support.fake_cluster import World

FULL = Problem("Unschedulable", "No node has 1 nvidia.com/gpu free.", waits_for_user=False, lacks_room=True)
CRASH = Problem("CrashLoopBackOff", "Container model ended with exit code 1 and said: no.")


class Cluster:
    """A world whose nodes have room for a number of pods.

    Pods of the revisions in `broken` crash once a node has room for them.
    """

    def __init__(self, places: int, replicas: int, **rollout: Any) -> None:
        self.places = places
        self.world = World(scaling={"replicas": replicas}, rollout={"whenFull": "Replace", **rollout}).gateway()
        self.placed: set[str] = set()
        self.broken: set[str] = set()
        self.fewest = 0
        self.rest()
        self.fewest = replicas

    def turn(self) -> None:
        """Run each actor once.

        The actors are the operator, the controllers, the scheduler, the kubelets and the gateway.
        """
        world = self.world.reconcile().make_pods().finish()
        self.placed &= set(world.pods)
        for name, pod in sorted(world.pods.items()):
            if name in self.placed:
                bad = pod.revision in self.broken
                world.pods[name] = replace(pod, problem=CRASH if bad else None, ready=not bad)
            elif len(self.placed) < self.places:
                self.placed.add(name)
                world.pods[name] = replace(pod, problem=None)
            else:
                world.pods[name] = replace(pod, problem=FULL)
        world.list_endpoints().accept_route().later(1)
        served = set(world.weights()) if world.of_kind("HTTPRoute") else set()
        able = sum(1 for pod in world.pods.values() if pod.ready and not pod.deleting and pod.revision in served)
        self.fewest = min(self.fewest, able)

    def rest(self, turns: int = 60) -> None:
        for _ in range(turns):
            self.turn()

    def ready(self, revision: str) -> int:
        return sum(1 for pod in self.world.pods.values() if pod.revision == revision and pod.ready)


def said(world: World) -> str:
    condition = world.condition("Ready")
    return f"{condition.status} {condition.reason}"


def test_with_several_pods_the_traffic_moves_when_half_are_replaced_and_never_stops() -> None:
    cluster = Cluster(places=4, replicas=4)
    cluster.world.serve(2)
    seen = set()
    for _ in range(60):
        cluster.turn()
        seen.add(said(cluster.world))
    new = cluster.world.hash_of(2)
    assert (cluster.world.role(new), cluster.ready(new)) == (Role.STABLE, 4)
    assert cluster.fewest == 2
    assert "False Replacing" in seen
    assert said(cluster.world) == "True Serving"


def test_no_more_pods_make_way_once_the_new_revision_only_waits_to_be_listed() -> None:
    """Check that old pods stay until EndpointSlices list the new ones.

    A pod is Ready a moment before EndpointSlices list it. Removing the last old pod in between lost 40 of 1,148
    requests.
    """
    cluster = Cluster(places=2, replicas=2)
    world, old = cluster.world, cluster.world.hash_of(1)
    world.serve(2)
    while not any(pod.ready for pod in world.pods.values() if pod.revision == world.hash_of(2)):
        cluster.turn()
        world.slices.pop(f"churn-{world.hash_of(2)}", None)
    for _ in range(3):
        world.reconcile().make_pods()
    assert (world.replicas(old), cluster.ready(old)) == (1, 1)


def test_with_one_pod_it_goes_down_and_says_so() -> None:
    cluster = Cluster(places=1, replicas=1)
    cluster.world.serve(2)
    messages = []
    for _ in range(60):
        cluster.turn()
        messages.append(cluster.world.condition("Ready").message)
    assert (cluster.fewest, cluster.ready(cluster.world.hash_of(2))) == (0, 1)
    assert any(message.endswith("The model is unavailable until one is ready.") for message in messages)


def test_with_a_free_place_nothing_makes_way_before_its_time() -> None:
    cluster = Cluster(places=2, replicas=1)
    cluster.world.serve(2)
    cluster.rest()
    assert cluster.fewest == 1


def test_waiting_is_the_default() -> None:
    cluster = Cluster(places=2, replicas=2, whenFull="Wait")
    old = cluster.world.hash_of(1)
    cluster.world.serve(2)
    cluster.rest(700)
    assert (cluster.ready(old), said(cluster.world)) == (2, "False Unschedulable")
    assert cluster.world.status.rollout is not None
    assert cluster.world.status.rollout.phase == "Waiting", "a full cluster is no failure of the revision"


def test_a_revision_that_fails_stops_the_replacing_and_the_old_one_comes_back_with_the_spec() -> None:
    cluster = Cluster(places=3, replicas=3)
    old = cluster.world.hash_of(1)
    cluster.world.serve(2)
    cluster.world.reconcile()
    cluster.broken.add(cluster.world.hash_of(2))
    cluster.rest()
    assert cluster.ready(old) == 2, "one made way, and then no more"
    cluster.broken.clear()
    cluster.world.serve(1)
    cluster.rest()
    assert (cluster.ready(old), said(cluster.world)) == (3, "True Serving")


def test_no_second_pod_makes_way_while_the_first_place_stays_empty() -> None:
    """Check that cordoned nodes cost one pod, not all of them.

    The operator does not read nodes. It sees only that no new pod took the place of the pod that it removed.
    """
    cluster = Cluster(places=4, replicas=4)
    old = cluster.world.hash_of(1)
    cluster.world.serve(2)
    cluster.places = 0
    cluster.rest(120)
    assert cluster.ready(old) == 3


def test_nothing_makes_way_for_pods_that_need_another_place() -> None:
    cluster = Cluster(places=1, replicas=1)
    world = cluster.world
    old = world.hash_of(1)
    world.serve(2).reconcile().make_pods()
    new = world.hash_of(2)
    for name, pod in list(world.pods.items()):
        if pod.revision == new:
            world.pods[name] = replace(pod, problem=FULL, ready=False, room="two GPUs")
    for _ in range(20):
        world.reconcile().later(1)
    assert (world.replicas(old), cluster.ready(old)) == (1, 1)
    assert "removes no pod, because" in world.condition("Ready").message
