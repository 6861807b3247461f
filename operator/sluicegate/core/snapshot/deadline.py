"""How much of `spec.rollout.progressDeadline` a starting revision has left."""

from __future__ import annotations

from datetime import datetime

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.core.snapshot.parse import time_of


def started_at(snapshot: Snapshot, target: RevisionHash) -> datetime:
    """Return when the rollout of `target` began, or when its current step began.

    Each step counts anew, because it may need more pods.
    """
    rollout = snapshot.resource.status.rollout
    if rollout is not None and rollout.target == target:
        return time_of(rollout.step_started_at or rollout.started_at) or snapshot.now
    return snapshot.now


def target_left(snapshot: Snapshot, target: RevisionHash | None) -> float | None:
    """Return the seconds of progressDeadline that `target` has left.

    The result is 0 when the deadline is over, and None where no deadline applies.
    """
    if target is None or snapshot.resource.spec.paused:
        return None
    return _left(snapshot, started_at(snapshot, target))


def canary_left(snapshot: Snapshot, revision: RevisionHash | None) -> float | None:
    """Return the seconds of progressDeadline that a canary has left.

    The deadline counts from the pod that has waited longest to become ready. The result is 0 when the deadline is over,
    and None while no pod waits.
    """
    waiting = [time_of(pod.waiting_since) for pod in snapshot.live_pods(revision) if not pod.ready]
    since = min((each for each in waiting if each is not None), default=None)
    return _left(snapshot, since) if since is not None else None


def _left(snapshot: Snapshot, since: datetime) -> float:
    deadline = duration.seconds(snapshot.resource.spec.rollout.progress_deadline)
    return max(0.0, deadline - (snapshot.now - since).total_seconds())
