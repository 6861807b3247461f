"""The way back from a stable revision that crashes to the one that was stable before it.

A revision that takes over keeps its predecessor's pods running for `scaleDownDelay`. If the new one crashes meanwhile,
by a fault of its own, the predecessor gets the requests again at once. The new one counts as rolled back.
"""

from __future__ import annotations

from sluicegate.api.names import RevisionHash
from sluicegate.core.snapshot.assessment import Assessment, RevisionAssessment
from sluicegate.core.snapshot.facts import PodFacts, Problem
from sluicegate.core.snapshot.pod_faults import own_fault

CRASHED_PODS = 2
"""How many pods must be down by a crash. A revision with fewer pods needs fewer, and a pod that crashed twice counts
alone. One crash of one pod among several may be an accident, and the others carry its requests meanwhile."""


def way_back(assessment: Assessment) -> RevisionHash | None:
    """Return the previous stable revision if it must replace the stable one now, or None.

    The previous one must have more pods that are able to serve than the stable one has ready. So requests never go to
    a revision that would serve fewer of them, and where both crash, nothing moves.
    """
    previous = assessment.of(assessment.status.previous)
    stable = assessment.of(assessment.stable)
    if assessment.paused or assessment.pinned is not None or assessment.scaled_to_zero:
        return None
    if previous.record is None or stable.record is None or previous.hash == stable.hash:
        return None
    if previous.given_up or assessment.overrides.abort == previous.hash:
        return None
    if crash(stable) is None or previous.able <= len(stable.ready):
        return None
    return previous.hash


def previous(assessment: Assessment, stable: RevisionHash | None) -> RevisionHash | None:
    """Return the revision that was stable before `stable`, which is the stable one from now on.

    A revision that gave its traffic back is not kept. So where both crash in turn, the traffic moves once.
    """
    before = assessment.stable
    if stable == before:
        recorded = assessment.status.previous
        return recorded if assessment.of(recorded).record is not None else None
    return before if stable != way_back(assessment) else None


def crash(revision: RevisionAssessment) -> Problem | None:
    """Return the crash because of which too few pods of `revision` are ready, or None.

    Only pods that its own faults have stopped count.
    """
    needed = max(1, revision.deployment.replicas) if revision.deployment is not None else 1
    down = [pod for pod in sorted(revision.live, key=lambda pod: pod.name) if _crashed(pod)]
    if len(revision.ready) >= needed or not down:
        return None
    if len(down) < min(CRASHED_PODS, needed) and all(pod.crashes < CRASHED_PODS for pod in down):
        return None
    return down[0].problem


def _crashed(pod: PodFacts) -> bool:
    return not pod.ready and own_fault(pod.problem)
