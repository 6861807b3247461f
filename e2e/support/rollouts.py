"""Helpers for rollouts in steps: versions, waits, and the history of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from e2e.support.kube import Json, wait_until
from e2e.support.load import Load
from e2e.support.registry import Registry
from e2e.support.share import shares
from e2e.support.watch import Watch
from e2e.support.workspace import Workspace

MODEL = "progressive"
FIRST, GOOD, SLOW, RAISES, LEAKS, UNLOADABLE = range(1, 7)
"""Versions of MODEL.

Version N adds N * 100 to its scores, so the predictions of GOOD are far from those of FIRST.
"""
MODEL_ERROR = '500 .*"error_code": "INTERNAL_ERROR"'
"""What a scoring pod returns when the model raises. No gateway returns this text."""
SECONDS = 2.0
"""Seconds that SLOW takes to respond."""
_TRAINING = (
    ("--profile",),
    ("--profile",),
    (f"--slow={SECONDS}",),
    ("--broken=visitors",),
    ("--broken=leak",),
    ("--broken=load",),
)
POINTS = 2
"""The allowed difference between a measured share and the weight.

The unit is percent of the requests.
"""
LAG = 5
"""Seconds that a gateway may take to apply a route that it has accepted.

Traefik takes two.
"""


def train(registry: Registry) -> None:
    """Register the versions of MODEL if they do not exist yet."""
    if registry.versions(MODEL) != list(range(1, 7)):
        registry.train_all(*_TRAINING, model=MODEL)


def uri(version: int) -> str:
    """Return the model URI of a version."""
    return f"models:/{MODEL}/{version}"


def analysis(*metrics: Json) -> Json:
    """Return `spec.rollout.analysis` with short times."""
    return {"interval": "2s", "window": "10s", "warmUp": f"{LAG}s", "failureLimit": 2, "metrics": list(metrics)}


def state(space: Workspace, name: str = "shop") -> Json:
    """Return the current status.rollout."""
    return dict(space.status(name).get("rollout") or {})


def wait_at(space: Workspace, index: int, phase: str, timeout: float = 150) -> Json:
    """Wait until the rollout is in a phase of a step, and return its state."""

    def look() -> Json | None:
        found = state(space)
        return found if (found.get("stepIndex"), found["phase"]) == (index, phase) else None

    return dict(wait_until(f"the rollout to be {phase} at step {index + 1}", look, timeout))


def wait_back(space: Workspace, timeout: float = 200) -> Json:
    """Wait until the candidate is rolled back, and return the rollout's state."""
    wait_until("the new version to be rolled back", lambda: state(space).get("phase") == "RolledBack", timeout)
    return state(space)


def check_left_alone(space: Workspace, steady: Load, first: str, version: int, name: str = "shop") -> int:
    """Wait until only the revision `first` is left, and assert that no request fails.

    By then, every client gets responses from `version`.

    Returns:
        The number of requests that failed until then.
    """
    space.wait_only(name, first)
    wait_until("every client to be answered by the first", lambda: steady.settled_on(version), 60)
    failed, total = len(steady.errors), steady.total
    wait_until("some more answers", lambda: steady.total > total + 200)
    assert len(steady.errors) == failed, "nothing reaches the other one any more"
    return failed


def seconds(time: str) -> float:
    """Convert a time in status to seconds since 1970."""
    return datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


def history(seen: Watch, candidate: str, name: str = "shop") -> Sequence[Json]:
    """List every status.rollout that was about the revision `candidate`, in order."""
    states = [each.obj.get("status", {}).get("rollout") or {} for each in seen.of(name)]
    return [each for each in states if each.get("candidate") == candidate]


def spans(states: Sequence[Json]) -> list[tuple[float, float]]:
    """Return (share accepted, step ended) of each finished step.

    Times are in seconds since 1970.
    """
    found = []
    for one, following in pairwise(states):
        if one.get("stepIndex") is not None and following.get("stepIndex", 0) > one["stepIndex"]:
            assert "acceptedAt" in one, f"a step was left before its share was in force: {one} -> {following}"
            found.append((seconds(one["acceptedAt"]), seconds(following["stepStartedAt"])))
    return found


def check_steps(states: Sequence[Json], holds: Sequence[float]) -> None:
    """Assert that the steps ran once each, in order, and none ended before its hold.

    `holds` are in seconds.
    """
    indices = [each["stepIndex"] for each in states if each.get("stepIndex") is not None]
    order = [one for one, following in zip(indices, [*indices[1:], None], strict=True) if one != following]
    assert order == list(range(len(holds) + 1)), order
    for (accepted, left), hold in zip(spans(states), holds, strict=True):
        assert left >= accepted + hold, f"left {left - accepted:.0f} seconds after it was accepted, before {hold}"


def check_served(seen: Watch, name: str = "shop") -> None:
    """Assert that the resource was Available all the time."""
    conditions = [
        condition
        for each in seen.of(name)
        for condition in each.obj.get("status", {}).get("conditions", ())
        if condition["type"] == "Available"
    ]
    assert {each["status"] for each in conditions} == {"True"}, [
        each for each in conditions if each["status"] != "True"
    ]


def check_load_share(steady: Load, span: tuple[float, float], version: int, weight: int) -> None:
    """Assert the share that the running load measured during a step."""
    found = steady.between(span[0] + LAG, span[1])
    share = 100 * found[version] / max(1, found.total())
    print(f"weight {weight}: measured {share:.2f} % of {found.total()} requests", flush=True)
    assert found.total() >= 100, found
    assert abs(share - weight) <= POINTS, found


def check_share(url: str, version: int, weight: int, count: int = 2000) -> None:
    """Wait until the gateway is close to the weight, and assert the share.

    It measures the share with requests of its own.
    """

    def percent(count: int) -> float:
        found = shares(url, count)
        return 100 * found[version] / found.total()

    wait_until(f"the gateway to route by the weight {weight}", lambda: abs(percent(200) - weight) <= 8, 60)
    share = percent(count)
    print(f"weight {weight}: measured {share:.2f} % of {count} requests", flush=True)
    assert abs(share - weight) <= POINTS
