"""`whenFull: Replace`: where no node has room for a second revision, pods of the old one make way, one at a time.

Peers leave a GPU cluster without a spare device with the choice between a rollout that never ends and `Recreate`, which takes
all pods at once. Here one pod makes way only when the pods that already came are ready, and the traffic moves once the
new revision has as many ready pods as the old one: with two pods or more the model serves throughout, with fewer pods. Nothing
makes way where it would not help: the new pods must ask of a node exactly what the old ones have.
"""

from __future__ import annotations

from sluicegate.core.plan import scaling
from sluicegate.core.plan.types import Fixed, RevisionRoles
from sluicegate.core.rollout import compatibility, machine
from sluicegate.core.snapshot.facts import PodFacts, Snapshot


def waits_for_room(snapshot: Snapshot, revision: str | None) -> bool:
    """Whether a pod of a revision waits for room that others take."""
    return any(_lacks_room(pod) for pod in snapshot.live_pods(revision))


def replacing(snapshot: Snapshot, target: str | None, stable: str | None) -> bool:
    """Whether stable's pods make way for the target's, or have begun to."""
    there = snapshot.deployments.get(stable or "")
    if snapshot.resource.spec.rollout.when_full != "Replace" or target is None or there is None:
        return False
    # Of an autoscaled revision few pods are no sign, and one that is to take the requests back needs more of them.
    tells = not (snapshot.resource.spec.scaling.autoscaled and machine.progressive(snapshot, stable, target))
    begun = tells and there.replicas < scaling.needed(snapshot, target, stable)
    return begun or (waits_for_room(snapshot, target) and would_help(snapshot, target, stable))


def would_help(snapshot: Snapshot, target: str | None, stable: str | None) -> bool:
    """Whether a pod of the target that waits for room could take the place of one of stable's."""
    waiting = {pod.room for pod in snapshot.live_pods(target) if _lacks_room(pod)}
    return any(pod.room in waiting for pod in snapshot.live_pods(stable) if not _lacks_room(pod))


def remaining(snapshot: Snapshot, roles: RevisionRoles) -> Fixed | None:
    """What stable keeps while it makes way; None while it does not have to."""
    target, stable = roles.target, roles.stable
    if not replacing(snapshot, target, stable):
        return None
    there = snapshot.deployments[stable or ""]
    came = [pod for pod in snapshot.live_pods(target) if not _lacks_room(pod)]
    leaving = any(pod.deleting for pod in snapshot.pods.get(stable or "", ()))
    settled = there.current == there.replicas and not leaving and all(pod.ready for pod in came)
    # It takes over as soon as it is listed; in steps it has no more pods than its step needs.
    enough = not roles.progressive and len(snapshot.ready_pods(target)) >= needed(snapshot, target or "", stable)
    wanted = not enough and not compatibility.changes(snapshot, target)
    makes_way = settled and wanted and there.replicas > 0 and would_help(snapshot, target, stable)
    return Fixed(there.replicas - makes_way)


def needed(snapshot: Snapshot, target: str, stable: str | None) -> int:
    """Ready pods that `target` needs before it may take over: while it replaces, no fewer than stable has."""
    usual = scaling.needed(snapshot, target, stable)
    if not replacing(snapshot, target, stable):
        return usual
    return min(usual, max(1, len(snapshot.ready_pods(stable))))


def _lacks_room(pod: PodFacts) -> bool:
    return pod.problem is not None and pod.problem.lacks_room
