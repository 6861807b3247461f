"""ModelDeployments in every state that a GitOps tool may meet.

The operator itself composes their statuses. One table serves two health checks: that of Argo CD, and kstatus, which
Flux and Helm use. It says what each of them must report for each state.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from sluicegate.api import names
from sluicegate.core.snapshot.analysis_result import Measurement, Outcome, Reading
from sluicegate.core.snapshot.facts import Problem

from tests.support.fake_cluster import NAME, NAMESPACE, World

CRASH = Problem("CrashLoopBackOff", "Container model ended with exit code 1 and said: no.")
UNKNOWN = Problem("VersionNotFound", "Registered model churn has no version 9: correct spec.model.uri.")
NO_NODE = Problem("Unschedulable", "No node can run pod p1.", waits_for_user=False)
LOST = Problem("NodeLost", "Container model of pod p1 was lost.", waits_for_user=False)
FETCH = Problem("ModelFetchFailed", "The model could not be fetched: no route.", waits_for_user=False)
AWAY = Problem("RegistryUnreachable", "The registry does not answer.", waits_for_user=False)
DEAD_WEBHOOK = Problem(
    "ApplyRefused", "The API server failed to accept Deployment churn-1: failed calling webhook.", waits_for_user=False
)
POLICY = Problem("ApplyRefused", "The API server refused Deployment churn-1: no cost centre.")
QUOTA = "exceeded quota: small"


@dataclass(frozen=True, slots=True)
class Case:
    """One state, and the health that each tool must report for it."""

    made: Callable[[], World]
    argo: str
    kstatus: str


def stored(world: World) -> dict[str, Any]:
    """Return the object as the API server returns it."""
    status = msgspec.to_builtins(world.status)
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": NAME, "namespace": NAMESPACE, "generation": world.generation},
        "spec": copy.deepcopy(world.spec),
        "status": status or {"observedGeneration": 0},  # This is the default in the CRD.
    }


def served(**spec: Any) -> World:
    """Return a world in which version 1 serves through a gateway."""
    return World(**spec).gateway().rest()


def failing(world: World, problem: Problem | None) -> World:
    """Set the problem that the registry reports for the URI in the spec."""
    world.model_problem = problem
    return world.reconcile()


def refused(world: World) -> World:
    """Let the gateway reject the route."""
    world.refusal = "Not allowed by the listener."
    return world.rest()


def unwritten(world: World, problem: Problem, seconds: float = 0) -> World:
    """Let the API server not accept a write for some seconds."""
    world.write_problem = problem
    return world.reconcile().later(seconds).reconcile()


def without_quota(seconds: float) -> World:
    """Return a world in which the API server has refused the pods of version 2 for some seconds."""
    world = served().serve(2)
    world.replica_failure[world.hash_of(2)] = QUOTA
    return world.reconcile().reconcile().later(seconds).reconcile()


def lost_gateway(world: World) -> World:
    """Delete the Gateway that the resource names."""
    world.missing_gateway = True
    return world.reconcile()


def crashing(world: World, version: int) -> World:
    """Let the pods of a version crash as soon as they exist."""
    return crashing_with(world, version, CRASH)


def trouble(world: World, version: int, problem: Problem, seconds: float = 0) -> World:
    """Let the pods of a version report a problem, and let time pass."""
    return crashing_with(world, version, problem).later(seconds).reconcile()


def crashing_with(world: World, version: int, problem: Problem) -> World:
    world.reconcile().make_pods().fail(world.hash_of(version), problem).list_endpoints()
    return world.reconcile()


def over_quota(seconds: float = 0) -> World:
    """Return a world in which the quota of the namespace has no room for the first pod."""
    world = World().gateway()
    world.replica_failure[world.hash_of(1)] = 'pods "x" is forbidden: exceeded quota: small'
    return world.reconcile().make_pods().reconcile().later(seconds).reconcile()


def annotated(world: World, annotation: str, version: int) -> World:
    """Set an annotation that names a revision, as a user does."""
    world.annotations[annotation] = world.hash_of(version)
    return world.reconcile()


def in_step(*steps: dict[str, Any]) -> World:
    """Return a world in the middle of a rollout of version 2.

    The rollout is at the first step that takes time.
    """
    fields = {
        "steps": list(steps) or [{"weight": 10, "hold": "5m"}, {"weight": 50, "hold": "5m"}],
        "scaleDownDelay": "1s",
    }
    return served(scaling={"replicas": 4}, rollout=fields).serve(2).settle()


def rolled_back() -> World:
    """Return a world in which the analysis failed version 2 at the first step."""
    world = in_step()
    state = world.status.rollout
    assert state is not None
    measurement = Measurement("errors", Outcome.FAILED, 0.2, 0.0, 0.01, 500, "0.2 is above 0.01 (100 of 500 requests).")
    world.reading = Reading(world.hash_of(2), state.accepted_at or "", Outcome.FAILED, measurement)
    return world.rest()


CASES: dict[str, Case] = {
    "never looked at": Case(World, "Progressing", "InProgress"),
    "first pods start": Case(lambda: World().gateway().reconcile(), "Progressing", "InProgress"),
    "serves": Case(served, "Healthy", "Current"),
    "serves without a gateway": Case(lambda: World().rest(), "Healthy", "Current"),
    "changed, not yet looked at": Case(lambda: served().serve(2), "Progressing", "InProgress"),
    "failed, corrected, not yet looked at": Case(
        lambda: failing(served().serve(9), UNKNOWN).serve(2), "Progressing", "InProgress"
    ),
    "a change waits for its pods": Case(lambda: served().serve(2).reconcile(), "Progressing", "InProgress"),
    "traffic shifts": Case(
        lambda: served().serve(2).reconcile().make_pods().start().list_endpoints().reconcile(),
        "Progressing",
        "InProgress",
    ),
    "changed": Case(lambda: served().serve(2).rest(), "Healthy", "Current"),
    "unknown version": Case(lambda: failing(World(9), UNKNOWN), "Degraded", "Failed"),
    "unknown version, the old one serves": Case(lambda: failing(served().serve(9), UNKNOWN), "Degraded", "Failed"),
    "registry away": Case(lambda: failing(World(), AWAY), "Progressing", "InProgress"),
    "registry away for longer than the deadline": Case(
        lambda: failing(World(), AWAY).later(601).reconcile(), "Degraded", "Failed"
    ),
    "registry away, a pod restarts": Case(lambda: trouble(served(), 1, FETCH), "Progressing", "InProgress"),
    "registry away, a pod restarts, for longer": Case(lambda: trouble(served(), 1, FETCH, 601), "Degraded", "Failed"),
    "autoscaler adds a node": Case(lambda: trouble(World(), 1, NO_NODE), "Progressing", "InProgress"),
    "autoscaler adds a node for a change": Case(
        lambda: trouble(served().serve(2), 2, NO_NODE), "Progressing", "InProgress"
    ),
    "no node for longer than the deadline": Case(lambda: trouble(World(), 1, NO_NODE, 601), "Degraded", "Failed"),
    "a node is lost": Case(lambda: trouble(served(), 1, LOST), "Progressing", "InProgress"),
    "a node is lost in a step": Case(lambda: trouble(in_step(), 2, LOST), "Progressing", "InProgress"),
    "quota is full": Case(over_quota, "Progressing", "InProgress"),
    "quota is full for longer than the deadline": Case(lambda: over_quota(601), "Degraded", "Failed"),
    "webhook does not answer": Case(lambda: unwritten(served(), DEAD_WEBHOOK), "Progressing", "InProgress"),
    "webhook does not answer for longer": Case(lambda: unwritten(served(), DEAD_WEBHOOK, 601), "Degraded", "Failed"),
    "zero pods declared": Case(lambda: served(scaling={"replicas": 0}), "Healthy", "Current"),
    "zero pods declared from now on": Case(lambda: served().edit(scaling={"replicas": 0}).rest(), "Healthy", "Current"),
    "new version crashes": Case(lambda: crashing(served().serve(2), 2), "Degraded", "Failed"),
    "new version never gets ready": Case(
        lambda: served().serve(2).reconcile().make_pods().later(700).reconcile(), "Degraded", "Failed"
    ),
    "route refused": Case(lambda: refused(World().gateway()), "Degraded", "Failed"),
    "an admission webhook is down": Case(lambda: unwritten(World(), DEAD_WEBHOOK), "Progressing", "InProgress"),
    "an admission webhook is down, the old one serves": Case(
        lambda: unwritten(served(), DEAD_WEBHOOK, 599), "Progressing", "InProgress"
    ),
    "an admission webhook stays down": Case(lambda: unwritten(World(), DEAD_WEBHOOK, 600), "Degraded", "Failed"),
    "a policy refuses a child": Case(lambda: unwritten(World(), POLICY), "Degraded", "Failed"),
    "a quota is full": Case(lambda: without_quota(599), "Progressing", "InProgress"),
    "a quota stays full": Case(lambda: without_quota(600), "Degraded", "Failed"),
    "gateway lost": Case(lambda: lost_gateway(served()), "Degraded", "Failed"),
    "paused, a change waits": Case(
        lambda: served().edit(paused=True).reconcile().serve(2).reconcile(), "Suspended", "InProgress"
    ),
    "paused, nothing waits": Case(lambda: served().edit(paused=True).rest(), "Suspended", "Current"),
    "paused, unknown version": Case(
        lambda: failing(served().edit(paused=True).reconcile().serve(9), UNKNOWN), "Degraded", "Failed"
    ),
    "canary starts": Case(lambda: served().canary(2).reconcile(), "Progressing", "InProgress"),
    "canary serves": Case(lambda: served().canary(2).rest(), "Healthy", "Current"),
    "canary's weight moves": Case(
        lambda: served().canary(2).rest().canary(2, 50).reconcile(), "Progressing", "InProgress"
    ),
    "canary crashes": Case(lambda: crashing(served().canary(2), 2), "Degraded", "Failed"),
    "canary aborted": Case(
        lambda: annotated(served().canary(2).rest(), names.ANNOTATION_ABORT, 2), "Degraded", "Failed"
    ),
    "a step holds": Case(in_step, "Progressing", "InProgress"),
    "a rollout begins": Case(
        lambda: served(rollout={"steps": [{"weight": 10, "hold": "5m"}]}).serve(2).reconcile(),
        "Progressing",
        "InProgress",
    ),
    "a step waits for approval": Case(lambda: in_step({"weight": 10}, {"pause": {}}), "Suspended", "InProgress"),
    "a user pauses a rollout": Case(lambda: annotated(in_step(), names.ANNOTATION_PAUSE, 2), "Suspended", "InProgress"),
    "a rollout is through": Case(lambda: in_step({"weight": 10}).rest(), "Healthy", "Current"),
    "rolled back by its analysis": Case(rolled_back, "Degraded", "Failed"),
    "a rollout aborted": Case(lambda: annotated(in_step(), names.ANNOTATION_ABORT, 2).rest(), "Degraded", "Failed"),
    "pinned to an older revision": Case(
        lambda: annotated(served().serve(2).rest(), names.ANNOTATION_PIN, 1).rest(), "Suspended", "InProgress"
    ),
}


def walk() -> list[dict[str, Any]]:
    """Return the object after every action of every actor in one life."""
    world = World(scaling={"replicas": 2}).gateway()
    seen: list[dict[str, Any]] = []
    turns: list[Callable[[World], World]] = [
        *(World.reconcile, World.make_pods, World.start, World.list_endpoints, World.finish, World.accept_route),
    ]
    changes: list[Callable[[World], World]] = [
        lambda w: w,
        lambda w: w.serve(2),
        lambda w: w.canary(3, 10),
        lambda w: w.canary(3, 50),
        lambda w: w.serve(3).canary(None),
        lambda w: w.edit(paused=True),
        lambda w: w.serve(1),
        lambda w: w.edit(paused=None),
        lambda w: w.edit(scaling={"min": 1, "max": 3}),
        lambda w: w.edit(scaling={"replicas": 1}),
    ]
    for change in changes:
        change(world)
        for _ in range(4):
            for turn in turns:
                turn(world)
                seen.append(stored(world))
            world.later(20)
    return seen
