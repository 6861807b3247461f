"""Crashes that a pod's containers report, also after the pod has become ready again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluicegate.api import names
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.snapshot.pod_diagnosis import pod_problem


def last_crash(pod: Mapping[str, Any]) -> Problem | None:
    """Return why a container of a pod that is ready now ended before, or None."""
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or ()
    if not any((entry.get("lastState") or {}).get("terminated") for entry in containers):
        return None
    # As the pod was before its container became ready again.
    before = [{**entry, "ready": False} for entry in containers]
    return pod_problem({**pod, "status": {**status, "containerStatuses": before}})


def crash_count(pod: Mapping[str, Any]) -> int:
    """Return how often the model container has ended.

    Its restart count does not include the last end until the container runs again.
    """
    for entry in (pod.get("status") or {}).get("containerStatuses") or ():
        if entry.get("name") == names.MODEL_CONTAINER:
            state = entry.get("state") or {}
            ended = "terminated" in state or (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff"
            return int(entry.get("restartCount") or 0) + ended
    return 0
