"""Crashes of pods that are ready again, and how often a pod has crashed."""

from typing import Any

import pytest
from sluicegate.core.snapshot import parse

from tests.unit.core.snapshot.test_pod_diagnosis import container, pod, terminated, waiting

OOM = terminated(137, reason="OOMKilled")
RUNNING = {"running": {"startedAt": "2026-03-01T12:00:10Z"}}


def facts(entry: dict[str, Any], ready: bool) -> Any:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-03-01T12:00:20Z"}
    return parse.pod(pod(entry, conditions=[condition]))


def test_ready_pod_says_why_it_ended_before() -> None:
    found = facts(container("model", RUNNING, last=OOM, restarts=1, ready=True), ready=True)
    assert found.problem is None
    assert found.crash is not None
    assert found.crash.reason == "OOMKilled"
    assert found.ready_since == "2026-03-01T12:00:20Z"


def test_pod_that_never_ended_has_no_crash() -> None:
    found = facts(container("model", RUNNING, ready=True), ready=True)
    assert (found.crash, found.ready_since, found.crashes) == (None, "", 0)


@pytest.mark.parametrize(
    ("entry", "count"),
    [
        (container("model", OOM), 1),
        (container("model", RUNNING, last=OOM, restarts=1), 1),
        (container("model", OOM, last=OOM, restarts=1), 2),
        (container("model", waiting("CrashLoopBackOff"), last=OOM, restarts=1), 2),
        (container("sidecar", OOM, restarts=7), 0),
    ],
)
def test_counts_the_ends_of_the_model_container(entry: dict[str, Any], count: int) -> None:
    assert facts(entry, ready=False).crashes == count
