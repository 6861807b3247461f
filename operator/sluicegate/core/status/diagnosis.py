"""The problems of a resource, by the part that they concern.

`Problems.worst` is the one that users should see first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluicegate.api import names
from sluicegate.api.reasons import Reason
from sluicegate.core.decide.roles import aborted
from sluicegate.core.plan.scaling import candidate_needed, needed, patience_left
from sluicegate.core.plan.types import Plan
from sluicegate.core.rollout import canary, compatibility, give_up
from sluicegate.core.rollout.candidate import prepared_candidate, unable
from sluicegate.core.rollout.in_place import replacing
from sluicegate.core.snapshot import deadline
from sluicegate.core.snapshot.facts import Problem, Snapshot
from sluicegate.core.snapshot.overrides import named


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems of a resource, by the part that they concern."""

    spec: Problem | None
    """The operator cannot act on the spec: it is unsupported or refused, or its model is unknown."""
    target: Problem | None
    """The revision that should serve does not become ready."""
    traffic: Problem | None
    """Requests from outside the cluster do not reach the revision as declared."""
    scaling: Problem | None
    """The autoscaler has no metrics."""
    canary: Problem | None = None
    """The canary does not become ready, or not as declared."""

    model: Problem | None = None
    """What the spec follows no longer exists in the registry."""

    @property
    def worst(self) -> Problem | None:
        """Return the problem that users should see first."""
        return self.spec or self.target or self.traffic or self.canary or self.scaling or self.model


def diagnose(snapshot: Snapshot, plan: Plan, refused: Problem | None = None) -> Problems:
    """Collect the problems of a resource.

    Args:
        snapshot: All facts on the resource.
        plan: The operator's decision.
        refused: Problem that the API server reported when the operator applied the plan, if any.
    """
    shown = plan.target or plan.stable
    return Problems(
        spec=snapshot.desired.problem or refused,
        target=given_up(snapshot, snapshot.desired.revision)
        or _in_place(snapshot, plan, revision_problem(snapshot, shown))
        or compatibility.problem(snapshot, plan.target)
        or _late(snapshot, plan),
        traffic=_traffic_problem(snapshot),
        scaling=_scaling_problem(snapshot, plan.stable),
        canary=_canary_problem(snapshot, plan),
        model=_gone(snapshot),
    )


def given_up(snapshot: Snapshot, revision: str | None) -> Problem | None:
    """Return why a revision that the spec asks for is given up, or None."""
    return give_up.problem(snapshot, revision, revision_problem(snapshot, revision))


def at_fault(snapshot: Snapshot, revision: str) -> Problem | None:
    """Return a crash that the revision itself causes, or None.

    If the revision gets requests, the operator does not wait for it to recover.
    """
    found = revision_problem(snapshot, revision)
    return found if found is not None and found.reason in give_up.OWN_FAULTS else None


def _gone(snapshot: Snapshot) -> Problem | None:
    """Return the problem of a followed alias, stage or model that no longer exists.

    A registry that is unavailable is not included, because it must not make the resource not Ready.
    """
    found = [each.trouble for each in snapshot.all_desired if each.trouble is not None]
    return next((each for each in found if each.waits_for_user), None)


def _canary_problem(snapshot: Snapshot, plan: Plan) -> Problem | None:
    """Return what keeps the canary from being as declared.

    During a rollout by steps, it is what the gateways cannot do of the current step. It includes what the annotations
    ask for and the operator cannot do, even without a canary.
    """
    if aborted(snapshot):
        child = snapshot.child(snapshot.desired.revision or "")
        return Problem(
            Reason.ABORTED,
            f"The rollout of revision {child} was aborted: change the spec, or remove the annotation "
            f"{names.ANNOTATION_ABORT}.",
        )
    if plan.roles.progressive and plan.target is not None:
        return unable(snapshot, plan.target)
    revision = plan.roles.next_canary or plan.canary
    wanted = snapshot.desired_canary.revision if snapshot.desired_canary is not None else None
    found = given_up(snapshot, wanted) or revision_problem(snapshot, revision)
    if found is not None:
        return replace(found, message=f"Canary: {found.message}")
    if (changed := compatibility.problem(snapshot, revision)) is not None:
        return changed
    if revision is not None and named(snapshot, names.ANNOTATION_ABORT) == revision:
        return Problem(
            Reason.ABORTED,
            "The canary was aborted, so it receives no requests: change spec.canary, or remove the annotation "
            f"{names.ANNOTATION_ABORT}.",
        )
    if deadline.canary_left(snapshot, revision) == 0:
        text = snapshot.resource.spec.rollout.progress_deadline
        return Problem(
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            f"The canary's pods were not ready within spec.rollout.progressDeadline ({text}): check their logs, "
            f"for example with `kubectl logs -l {names.LABEL_REVISION}={revision}`.",
        )
    return canary.problem(snapshot)


def revision_problem(snapshot: Snapshot, revision: str | None) -> Problem | None:
    """Return why pods of a revision do not serve, or None.

    Problems that the pods report come first, then what kept the pods from being created.
    """
    if revision is None:
        return None
    pods = sorted(snapshot.live_pods(revision), key=lambda pod: pod.name)
    there = snapshot.deployments.get(revision)
    enough = there is not None and len(snapshot.ready_pods(revision)) >= max(1, there.replicas)
    for pod in () if enough else pods:  # an evicted pod stays in the list long after another has replaced it
        if pod.problem is not None and not pod.ready:
            return _overdue(snapshot, revision, pod.problem)
    digests = {pod.digest for pod in pods if pod.digest}
    if len(digests) > 1:
        return Problem(
            Reason.ARTIFACTS_DIFFER,
            f"Pods of revision {revision} fetched different artifacts ({', '.join(sorted(digests))}), "
            "because the source was overwritten after it was registered. "
            "Register a new version, or set the annotation sluicegate.dev/roll.",
        )
    if there is not None and there.replica_failure and there.current < max(1, there.replicas):
        quota = "exceeded quota" in there.replica_failure
        remedy = (
            "raise the quota or lower spec.resources" if quota else "change spec.podTemplate or the namespace's policy"
        )
        return Problem(
            Reason.QUOTA_EXCEEDED if quota else Reason.POD_REFUSED,
            f"The API server rejects the pods: {there.replica_failure}. To fix it, {remedy}.",
        )
    return None


def _overdue(snapshot: Snapshot, revision: str, problem: Problem) -> Problem:
    """Return `problem`, changed to one for the user if a pod waited for a node for all of progressDeadline.

    Until then, a node may be added, for example by an autoscaler. A pod that lacks only room may wait for ever.
    """
    if problem.reason not in (Reason.UNSCHEDULABLE, Reason.VOLUME_NOT_FOUND) or problem.lacks_room:
        return problem
    of_rollout = revision == snapshot.desired.revision and deadline.target_left(snapshot, revision) == 0
    return replace(problem, waits_for_user=of_rollout or deadline.canary_left(snapshot, revision) == 0)


def _in_place(snapshot: Snapshot, plan: Plan, found: Problem | None) -> Problem | None:
    """Return `found`, changed to what `whenFull: Replace` does about a lack of room."""
    if found is None or found.reason != Reason.UNSCHEDULABLE or snapshot.resource.spec.rollout.when_full != "Replace":
        return found
    if plan.target is None or plan.stable is None:
        return found
    if not replacing(snapshot, plan.target, plan.stable):
        why = "because no pod of the stable revision has the same requirements for a node"
        return replace(found, message=f"{found.message} spec.rollout.whenFull: Replace removes no pod, {why}.")
    message = making_way(snapshot, plan.target, plan.stable)
    return replace(found, reason=Reason.REPLACING, message=message, waits_for_user=False)


def making_way(snapshot: Snapshot, target: str, stable: str | None) -> str:
    """Describe what `whenFull: Replace` is doing, as a message."""
    old, new = (snapshot.child(each or "") for each in (stable, target))
    pods = f"{len(snapshot.ready_pods(target))} ready"
    down = "" if snapshot.ready_pods(stable) else " The model is unavailable until one is ready."
    if snapshot.resource.spec.rollout.steps and not snapshot.live_pods(stable):
        down += " spec.rollout.steps are skipped, because only one revision has pods."
    return (
        f"No node has room for both revisions, so the operator replaces pods of {old} with pods of {new}, {pods} "
        f"(spec.rollout.whenFull: Replace).{down}"
    )


def _late(snapshot: Snapshot, plan: Plan) -> Problem | None:
    if plan.target is None or snapshot.resource.spec.paused:
        return None
    if len(snapshot.ready_pods(plan.target)) >= max(1, _needed(snapshot, plan)):
        return None  # it waits for something other than its pods
    text = snapshot.resource.spec.rollout.progress_deadline
    if deadline.target_left(snapshot, plan.target) != 0:
        return None
    child = snapshot.child(plan.target)
    return Problem(
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        f"Revision {child} was not ready within spec.rollout.progressDeadline ({text}): check the logs of its pods, "
        f"for example with `kubectl logs -l {names.LABEL_REVISION}={plan.target}`.",
    )


def _needed(snapshot: Snapshot, plan: Plan) -> int:
    """Return the ready pods that the candidate needs for what comes next."""
    coming = prepared_candidate(snapshot, plan.roles)
    if plan.roles.progressive and coming is not None:
        return candidate_needed(snapshot, coming, plan.stable)
    return needed(snapshot, plan.target or "", plan.stable)


def _traffic_problem(snapshot: Snapshot) -> Problem | None:
    if not snapshot.gateways:
        return None
    if not snapshot.gateway_api:
        return Problem(
            Reason.GATEWAY_API_MISSING,
            "A gateway is configured, but the cluster has no kind HTTPRoute: install the CRDs of the Gateway API.",
        )
    for gateway in snapshot.gateways:
        if not gateway.exists:
            return Problem(
                Reason.GATEWAY_NOT_FOUND,
                f"Gateway {gateway.namespace}/{gateway.name} does not exist: "
                "create it, or correct spec.traffic.gateway.parentRefs.",
            )
        if gateway.lacks("HTTPRoutePathRewrite"):
            return Problem(
                Reason.GATEWAY_LACKS_FEATURE,
                f"Gateway {gateway.namespace}/{gateway.name} has class {gateway.gateway_class}, which does not support "
                "HTTPRoutePathRewrite, so requests would not reach the model: use a gateway of another class.",
            )
    if snapshot.rival is not None:
        return Problem(
            Reason.ROUTE_CONFLICT,
            f"The older ModelDeployment {snapshot.rival} has the same host and path: "
            "change spec.traffic.gateway.pathPrefix.",
        )
    if snapshot.route is not None and snapshot.route.refusal:
        return Problem(Reason.ROUTE_REFUSED, snapshot.route.refusal)
    return None


def _scaling_problem(snapshot: Snapshot, stable: str | None) -> Problem | None:
    facts = snapshot.autoscalers.get(stable or "")
    if facts is None or facts.inactive is None or not snapshot.resource.spec.scaling.autoscaled:
        return None
    missing = sorted(facts.utilization & {name for pod in snapshot.live_pods(stable) for name in pod.unrequested})
    if patience_left(snapshot, stable) is not None and not missing:
        return None
    remedy = (
        " and ".join(f"set spec.resources.requests.{name}" for name in missing)
        or "check that the metrics API (metrics-server, or the adapter of the metric) responds"
    )
    return Problem(
        Reason.AUTOSCALER_WITHOUT_METRICS,
        f"The autoscaler has no metrics, so the number of pods does not change: {facts.inactive}. To fix it, {remedy}.",
    )
