"""Pods that crashed and are ready again, but have not been ready for long.

A pod that runs out of memory under requests becomes ready again after each restart, until the next requests. The
condition Ready must not change with it.
"""

from __future__ import annotations

from sluicegate.core.snapshot.assessment import Assessment, RevisionAssessment
from sluicegate.core.snapshot.facts import PodFacts, Problem
from sluicegate.core.snapshot.parse import time_of
from sluicegate.core.snapshot.pod_faults import own_fault

SETTLED_AFTER = 60.0
"""How long a pod must have been ready after a crash of its own, in seconds. A model that cannot stand its requests
crashes again within seconds of them. After the second crash, the kubelet waits for 10 seconds and more before it
restarts the container, and a client or a batch job sends its next requests within a minute."""


def settling(assessment: Assessment, revision: RevisionAssessment) -> tuple[Problem, float] | None:
    """Return (crash, seconds left) of the pod of `revision` that takes longest to settle, or None."""
    waits = [
        (left, pod.name, pod.crash)
        for pod in revision.live
        if pod.crash is not None and own_fault(pod.crash) and (left := _left(assessment, pod)) > 0
    ]
    if not waits:
        return None
    left, _, crash = max(waits, key=lambda wait: wait[:2])
    return crash, left


def settling_left(assessment: Assessment, revision: RevisionAssessment) -> float | None:
    """Return the seconds until all pods of `revision` have settled, or None where they have."""
    wait = settling(assessment, revision)
    return wait[1] if wait is not None else None


def _left(assessment: Assessment, pod: PodFacts) -> float:
    since = time_of(pod.ready_since)
    if not pod.ready or since is None:
        return 0.0
    passed = (assessment.now - since).total_seconds()
    if passed < -SETTLED_AFTER:
        return 0.0  # The clocks differ by too much to tell, and Ready must not wait for hours.
    return min(SETTLED_AFTER, SETTLED_AFTER - passed)
