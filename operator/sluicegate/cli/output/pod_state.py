"""The state of a pod in one word, for the view of `get`.

The facts of a pod hold only what the operator's decisions use. This word is for users, so it is read from the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sluicegate.api import names
from sluicegate.core.snapshot.facts import PodFacts

Raw = Mapping[str, Any]
_RUNNING = {names.FETCH_CONTAINER: "Fetching", names.INSTALL_CONTAINER: "Installing"}
"""The word for each init container that runs."""


def pod_state(raw: Raw, facts: PodFacts) -> str:
    """Return the state, such as Ready, Loading, Fetching, Pending or CrashLoopBackOff."""
    status = raw.get("status") or {}
    if facts.deleting:
        return "Terminating"
    if facts.ready:
        return "Ready"
    if status.get("reason"):
        return str(status["reason"])
    states = (_container_state(container) for container in container_statuses(raw))
    return next((state for state in states if state is not None), None) or _scheduling(status)


def container_statuses(raw: Raw) -> Iterator[Raw]:
    """Yield the status of each container, the init containers first."""
    status = raw.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _container_state(container: Raw) -> str | None:
    """Return the state of a pod whose progress this container shows, or None."""
    state = container.get("state") or {}
    waiting = (state.get("waiting") or {}).get("reason")
    if waiting and waiting != "PodInitializing":
        return str(waiting)
    terminated = state.get("terminated") or {}
    if terminated.get("exitCode"):
        return str(terminated.get("reason") or "Error")
    if "running" not in state:
        return None
    if container.get("name") == names.MODEL_CONTAINER:
        return "NotReady" if container.get("started") else "Loading"
    return _RUNNING.get(str(container.get("name")))


def _scheduling(status: Raw) -> str:
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    return str(conditions.get("PodScheduled", {}).get("reason") or status.get("phase") or "Pending")
