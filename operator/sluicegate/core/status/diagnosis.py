"""The problems of a resource, by the part that they concern.

`Problems.worst` is the one that users should see first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.core.decide.roles import aborted
from sluicegate.core.plan.scaling import candidate_needed, needed, patience_left
from sluicegate.core.plan.types import Plan
from sluicegate.core.rollout import canary, compatibility, give_up
from sluicegate.core.rollout.candidate import prepared_candidate, unable
from sluicegate.core.rollout.in_place import replacing
from sluicegate.core.snapshot.assessment import OWN_FAULTS, Assessment
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.status import traffic_shift


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


def diagnose(assessment: Assessment, plan: Plan, refused: Problem | None = None) -> Problems:
    """Collect the problems of a resource.

    Args:
        assessment: All facts on the resource.
        plan: The operator's decision.
        refused: Problem that the API server reported when the operator applied the plan, if any.
    """
    shown = plan.target or plan.stable
    return Problems(
        spec=assessment.snapshot.desired.problem or refused,
        target=given_up(assessment, assessment.desired)
        or _in_place(assessment, plan, revision_problem(assessment, shown))
        or compatibility.problem(assessment, plan.target)
        or _late(assessment, plan),
        traffic=traffic_shift.problem(assessment, plan, _traffic_problem(assessment)),
        scaling=_scaling_problem(assessment, plan.stable),
        canary=_canary_problem(assessment, plan),
        model=_gone(assessment),
    )


def given_up(assessment: Assessment, revision: RevisionHash | None) -> Problem | None:
    """Return why a revision that the spec asks for is given up, or None."""
    return give_up.problem(assessment, revision, revision_problem(assessment, revision))


def at_fault(assessment: Assessment, revision: RevisionHash) -> Problem | None:
    """Return a crash that the revision itself causes, or None.

    If the revision gets requests, the operator does not wait for it to recover.
    """
    problem = revision_problem(assessment, revision)
    return problem if problem is not None and problem.reason in OWN_FAULTS else None


def _gone(assessment: Assessment) -> Problem | None:
    """Return the problem of a followed alias, stage or model that no longer exists.

    A registry that is unavailable is not included, because it must not make the resource not Ready.
    """
    return next((problem for problem in assessment.snapshot.follow_problems if problem.waits_for_user), None)


def _canary_problem(assessment: Assessment, plan: Plan) -> Problem | None:
    """Return what keeps the canary from being as declared.

    During a rollout by steps, it is what the gateways cannot do of the current step. It includes what the annotations
    ask for and the operator cannot do, even without a canary.
    """
    if assessment.desired is not None and aborted(assessment):
        child = assessment.snapshot.child(assessment.desired)
        return Problem(
            Reason.ABORTED,
            f"The rollout of revision {child} was aborted: change the spec, or remove the annotation "
            f"{names.ANNOTATION_ABORT}.",
        )
    if plan.roles.progressive and plan.target is not None:
        return unable(assessment, plan.target)
    revision = plan.roles.next_canary or plan.canary
    desired_canary = assessment.desired_canary
    pod_problem = given_up(assessment, desired_canary) or revision_problem(assessment, revision)
    if pod_problem is not None:
        return replace(pod_problem, message=f"Canary: {pod_problem.message}")
    if (changed := compatibility.problem(assessment, revision)) is not None:
        return changed
    if revision is not None and assessment.overrides.abort == revision:
        return Problem(
            Reason.ABORTED,
            "The canary was aborted, so it receives no requests: change spec.canary, or remove the annotation "
            f"{names.ANNOTATION_ABORT}.",
        )
    if assessment.of(revision).ready_deadline_left == 0:
        text = assessment.spec.rollout.progress_deadline
        return Problem(
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            f"The canary's pods were not ready within spec.rollout.progressDeadline ({text}): check their logs, "
            f"for example with `kubectl logs -l {names.LABEL_REVISION}={revision}`.",
        )
    return canary.problem(assessment)


def revision_problem(assessment: Assessment, revision: RevisionHash | None) -> Problem | None:
    """Return why pods of a revision do not serve, or None.

    Problems that the pods report come first, then what kept the pods from being created.
    """
    if revision is None:
        return None
    pods = sorted(assessment.of(revision).live, key=lambda pod: pod.name)
    deployment = assessment.of(revision).deployment
    enough = deployment is not None and len(assessment.of(revision).ready) >= max(1, deployment.replicas)
    for pod in () if enough else pods:  # an evicted pod stays in the list long after another has replaced it
        if pod.problem is not None and not pod.ready:
            return _overdue(assessment, revision, pod.problem)
    digests = {pod.digest for pod in pods if pod.digest}
    if len(digests) > 1:
        return Problem(
            Reason.ARTIFACTS_DIFFER,
            f"Pods of revision {revision} fetched different artifacts ({', '.join(sorted(digests))}), "
            "because the source was overwritten after it was registered. "
            "Register a new version, or set the annotation sluicegate.dev/roll.",
        )
    if deployment is not None and deployment.replica_failure and deployment.current < max(1, deployment.replicas):
        quota = "exceeded quota" in deployment.replica_failure
        remedy = (
            "raise the quota or lower spec.resources" if quota else "change spec.podTemplate or the namespace's policy"
        )
        return Problem(
            Reason.QUOTA_EXCEEDED if quota else Reason.POD_REFUSED,
            f"The API server rejects the pods: {deployment.replica_failure}. To fix it, {remedy}.",
        )
    return None


def _overdue(assessment: Assessment, revision: RevisionHash, problem: Problem) -> Problem:
    """Return `problem`, changed to one for the user if a pod waited for a node for all of progressDeadline.

    Until then, a node may be added, for example by an autoscaler. A pod that lacks only room may wait for ever.
    """
    if problem.reason not in (Reason.UNSCHEDULABLE, Reason.VOLUME_NOT_FOUND) or problem.lacks_room:
        return problem
    of_rollout = revision == assessment.desired and assessment.of(revision).deadline_left == 0
    return replace(problem, waits_for_user=of_rollout or assessment.of(revision).ready_deadline_left == 0)


def _in_place(assessment: Assessment, plan: Plan, problem: Problem | None) -> Problem | None:
    """Return `problem`, changed to what `whenFull: Replace` does about a lack of room."""
    if problem is None or problem.reason != Reason.UNSCHEDULABLE or assessment.spec.rollout.when_full != "Replace":
        return problem
    if plan.target is None or plan.stable is None:
        return problem
    if not replacing(assessment, plan.target, plan.stable):
        why = "because no pod of the stable revision has the same requirements for a node"
        return replace(problem, message=f"{problem.message} spec.rollout.whenFull: Replace removes no pod, {why}.")
    message = making_way(assessment, plan.target, plan.stable)
    return replace(problem, reason=Reason.REPLACING, message=message, waits_for_user=False)


def making_way(assessment: Assessment, target: RevisionHash, stable: RevisionHash) -> str:
    """Describe what `whenFull: Replace` is doing, as a message."""
    old, new = (assessment.snapshot.child(revision) for revision in (stable, target))
    pods = f"{len(assessment.of(target).ready)} ready"
    down = "" if assessment.of(stable).ready else " The model is unavailable until one is ready."
    if assessment.spec.rollout.steps and not assessment.of(stable).live:
        down += " spec.rollout.steps are skipped, because only one revision has pods."
    return (
        f"No node has room for both revisions, so the operator replaces pods of {old} with pods of {new}, {pods} "
        f"(spec.rollout.whenFull: Replace).{down}"
    )


def _late(assessment: Assessment, plan: Plan) -> Problem | None:
    if plan.target is None or assessment.paused:
        return None
    if len(assessment.of(plan.target).ready) >= max(1, _needed(assessment, plan, plan.target)):
        return None  # it waits for something other than its pods
    text = assessment.spec.rollout.progress_deadline
    if assessment.of(plan.target).deadline_left != 0:
        return None
    child = assessment.snapshot.child(plan.target)
    return Problem(
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        f"Revision {child} was not ready within spec.rollout.progressDeadline ({text}): check the logs of its pods, "
        f"for example with `kubectl logs -l {names.LABEL_REVISION}={plan.target}`.",
    )


def _needed(assessment: Assessment, plan: Plan, target: RevisionHash) -> int:
    """Return the ready pods that the candidate needs for what comes next."""
    coming = prepared_candidate(assessment, plan.roles)
    if plan.roles.progressive and coming is not None:
        return candidate_needed(assessment, coming, plan.stable)
    return needed(assessment, target, plan.stable)


def _traffic_problem(assessment: Assessment) -> Problem | None:
    if not assessment.snapshot.gateways:
        return None
    if not assessment.snapshot.gateway_api:
        return Problem(
            Reason.GATEWAY_API_MISSING,
            "A gateway is configured, but the cluster has no kind HTTPRoute: install the CRDs of the Gateway API.",
        )
    for gateway in assessment.snapshot.gateways:
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
    if assessment.snapshot.rival is not None:
        return Problem(
            Reason.ROUTE_CONFLICT,
            f"The older ModelDeployment {assessment.snapshot.rival} has the same host and path: "
            "change spec.traffic.gateway.pathPrefix.",
        )
    if assessment.snapshot.route is not None and assessment.snapshot.route.refusal:
        return Problem(Reason.ROUTE_REFUSED, assessment.snapshot.route.refusal)
    return None


def _scaling_problem(assessment: Assessment, stable: RevisionHash | None) -> Problem | None:
    facts = assessment.of(stable).autoscaler
    if facts is None or facts.inactive is None or not assessment.spec.scaling.autoscaled:
        return None
    missing = sorted(facts.utilization & {name for pod in assessment.of(stable).live for name in pod.unrequested})
    if patience_left(assessment, stable) is not None and not missing:
        return None
    remedy = (
        " and ".join(f"set spec.resources.requests.{name}" for name in missing)
        or "check that the metrics API (metrics-server, or the adapter of the metric) responds"
    )
    return Problem(
        Reason.AUTOSCALER_WITHOUT_METRICS,
        f"The autoscaler has no metrics, so the number of pods does not change: {facts.inactive}. To fix it, {remedy}.",
    )
