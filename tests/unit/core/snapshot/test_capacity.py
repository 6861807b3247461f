"""Whether a pod lacks room, or a node that could run it."""

from sluicegate.core.snapshot.capacity import with_lack_of_room
from sluicegate.core.snapshot.facts import PodFacts, Problem

WAITING = Problem("Unschedulable", "in any words", waits_for_user=False)


def pod(name: str, room: str, *, scheduled: bool, problem: Problem | None = None) -> PodFacts:
    return PodFacts(name, "r", scheduled, False, problem=problem, room=room, scheduled=scheduled)


def lacks_room(*others: PodFacts) -> bool:
    waiting = pod("new", "one GPU", scheduled=False, problem=WAITING)
    problem = with_lack_of_room({"old": others, "new": (waiting,)})["new"][0].problem
    assert problem is not None
    return problem.lacks_room


def test_a_pod_lacks_room_if_one_like_it_is_on_a_node() -> None:
    assert lacks_room(pod("old", "one GPU", scheduled=True))


def test_a_pod_that_asks_something_else_of_a_node_shows_nothing() -> None:
    assert not lacks_room(pod("old", "two GPUs", scheduled=True))


def test_a_pod_that_is_on_no_node_shows_nothing() -> None:
    assert not lacks_room(pod("old", "one GPU", scheduled=False, problem=WAITING))
    assert not lacks_room()


def test_only_a_pod_that_cannot_be_scheduled_lacks_room() -> None:
    evicted = pod("new", "one GPU", scheduled=True, problem=Problem("Evicted", "Pod was evicted."))
    pods = with_lack_of_room({"old": (pod("old", "one GPU", scheduled=True),), "new": (evicted,)})
    assert pods["new"] == (evicted,)
