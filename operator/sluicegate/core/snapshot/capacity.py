"""Whether a pod that cannot be scheduled lacks room, or a node that could run it.

The scheduler says why only in a sentence, and no decision depends on a sentence. But the pods show it. If another pod
of the resource asks the same of a node and runs on one, then such a node exists, and only its room is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sluicegate.api.names import RevisionHash
from sluicegate.core.snapshot.facts import PodFacts

Pods = Mapping[RevisionHash, tuple[PodFacts, ...]]


def with_lack_of_room(pods: Pods) -> dict[RevisionHash, tuple[PodFacts, ...]]:
    """Return `pods`, by revision, with `lacks_room` set in the problems of those that lack only room."""
    occupied = {pod.room for revision_pods in pods.values() for pod in revision_pods if pod.scheduled and not pod.ended}
    return {
        revision: tuple(_marked(pod, occupied) for pod in revision_pods) for revision, revision_pods in pods.items()
    }


def _marked(pod: PodFacts, occupied: set[str]) -> PodFacts:
    problem = pod.problem
    if problem is None or pod.scheduled or pod.room not in occupied:
        return pod
    return replace(pod, problem=replace(problem, lacks_room=True))
