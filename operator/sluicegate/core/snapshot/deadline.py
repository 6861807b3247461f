"""How much of `spec.rollout.progressDeadline` a revision that comes up has left."""

from __future__ import annotations

from datetime import datetime

from sluicegate.api import duration
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.core.snapshot.parse import time_of


def started_at(snapshot: Snapshot, target: str) -> datetime:
    """When `target` became the one that is to take over, or began the step that it is at: each may need more pods."""
    rollout = snapshot.resource.status.rollout
    if rollout is not None and rollout.target == target:
        return time_of(rollout.step_started_at or rollout.started_at) or snapshot.now
    return snapshot.now


def target_left(snapshot: Snapshot, target: str | None) -> float | None:
    """Seconds that the target has left; 0 when its time is over, None where none is counted."""
    if target is None or snapshot.resource.spec.paused:
        return None
    return _left(snapshot, started_at(snapshot, target))


def canary_left(snapshot: Snapshot, revision: str | None) -> float | None:
    """Seconds that the pod of a canary that has waited longest to be ready has left; 0 when its time is over."""
    waiting = [time_of(pod.waiting_since) for pod in snapshot.live_pods(revision) if not pod.ready]
    since = min((each for each in waiting if each is not None), default=None)
    return _left(snapshot, since) if since is not None else None


def _left(snapshot: Snapshot, since: datetime) -> float:
    deadline = duration.seconds(snapshot.resource.spec.rollout.progress_deadline)
    return max(0.0, deadline - (snapshot.now - since).total_seconds())
