"""The problems of a resource, by the part that they concern.

`Problems.worst` is the one that users should see first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.core.decide.path_claims import allows_path
from sluicegate.core.decide.roles import aborted
from sluicegate.core.decide.traffic import path_prefix
from sluicegate.core.plan.scaling import candidate_needed, needed, patience_left
from sluicegate.core.plan.types import Plan
from sluicegate.core.rollout import canary, compatibility, give_up
from sluicegate.core.rollout.candidate import prepared_candidate, unable
from sluicegate.core.rollout.in_place import replacing
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.snapshot.pod_faults import own_fault
from sluicegate.core.snapshot.pod_refusal import pod_refusal
from sluicegate.core.snapshot.redaction import sentence
from sluicegate.core.snapshot.settling import settling
from sluicegate.core.status import traffic_shift


@dataclass(frozen=True, slots=True)
class Problems:
    """The problems of a resource, by the part that they concern."""

    spec: Problem | None
    """The operator cannot act on the spec: it is unsupported or refused, or its model is unknown."""
    next_stable: Problem | None
    """The revision that should serve does not become ready."""
    traffic: Problem | None
    """Requests from outside the cluster do not reach the revision as declared."""
    scaling: Problem | None
    """The autoscaler has no metrics."""
    canary: Problem | None = None
    """The canary does not become ready, or not as declared."""

    model: Problem | None = None
    """What the spec follows no longer exists in the registry."""

    overdue: bool = False
    """Whether problems that may pass by themselves have lasted for progressDeadline."""

    @property
    def passing(self) -> bool:
        """Tell whether the worst problem may pass by itself, and progressDeadline limits how long it may take.

        A pod that lacks only room may wait for ever: see `whenFull`.
        """
        return self.worst is not None and not self.worst.waits_for_user and not self.worst.lacks_room

    @property
    def stalled(self) -> Problem | None:
        """Return the worst problem if nothing changes until a user acts."""
        if self.worst is None or not (self.worst.waits_for_user or (self.passing and self.overdue)):
            return None
        return self.worst

    @property
    def worst(self) -> Problem | None:
        """Return the problem that users should see first."""
        return self.spec or self.next_stable or self.traffic or self.canary or self.scaling or self.model


def diagnose(assessment: Assessment, plan: Plan, refused: Problem | None = None) -> Problems:
    """Collect the problems of a resource.

    Args:
        assessment: All facts on the resource.
        plan: The operator's decision.
        refused: Problem that the API server reported when the operator applied the plan, if any.
    """
    shown = plan.next_stable or plan.stable
    return Problems(
        spec=assessment.snapshot.desired.problem or refused,
        next_stable=given_up(assessment, assessment.desired)
        or _in_place(assessment, plan, revision_problem(assessment, shown))
        or compatibility.problem(assessment, plan.next_stable)
        or _late(assessment, plan)
        or _settling(assessment, plan),
        traffic=traffic_shift.problem(assessment, plan, _traffic_problem(assessment)),
        scaling=_scaling_problem(assessment, plan.stable),
        canary=_canary_problem(assessment, plan),
        model=_gone(assessment),
        overdue=assessment.problem_deadline_left == 0,
    )


def given_up(assessment: Assessment, revision: RevisionHash | None) -> Problem | None:
    """Return why a revision that the spec asks for is given up, or None."""
    return give_up.problem(assessment, revision, revision_problem(assessment, revision))


def at_fault(assessment: Assessment, revision: RevisionHash) -> Problem | None:
    """Return a crash that the revision itself causes, or None.

    If the revision gets requests, the operator does not wait for it to recover.
    """
    problem = revision_problem(assessment, revision)
    return problem if own_fault(problem) else None


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
            f"The rollout of revision {child} was aborted. Changed steps alone do not start it again: run "
            f"`sluicegate retry {_named(assessment)}`, remove the annotation {names.ANNOTATION_ABORT}, or change the "
            "model or the pods.",
        )
    if plan.roles.progressive and plan.next_stable is not None:
        return unable(assessment, plan.next_stable)
    revision = plan.roles.next_canary or plan.canary
    desired_canary = assessment.desired_canary
    pod_problem = given_up(assessment, desired_canary) or revision_problem(assessment, revision)
    if pod_problem is not None:
        message = canary.canary_fields(assessment.snapshot.resource, pod_problem.message)
        return replace(pod_problem, message=f"Canary: {message}")
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
            f"for example with `kubectl logs{_of(assessment)} -l {names.LABEL_REVISION}={revision}`.",
        )
    return canary.problem(assessment)


def revision_problem(assessment: Assessment, revision: RevisionHash | None) -> Problem | None:
    """Return why pods of a revision do not serve, or None.

    Problems that the pods report come first, the faults of the revision itself before any others. Then comes what kept
    the pods from being created.
    """
    if revision is None:
        return None
    facts = assessment.of(revision)
    pods = sorted((*facts.live, *facts.ended), key=lambda pod: (not own_fault(pod.problem), pod.ended, pod.name))
    deployment = assessment.of(revision).deployment
    enough = deployment is not None and len(assessment.of(revision).ready) >= max(1, deployment.replicas)
    for pod in () if enough else pods:
        if pod.problem is not None and not pod.ready:
            return _overdue(assessment, revision, _of_registry(assessment, revision, pod.problem))
    digests = {pod.digest for pod in facts.live if pod.digest}
    if len(digests) > 1:
        return Problem(
            Reason.ARTIFACTS_DIFFER,
            f"Pods of revision {revision} fetched different artifacts ({', '.join(sorted(digests))}), "
            "because the source was overwritten after it was registered. "
            "Register a new version, or set the annotation sluicegate.dev/roll.",
        )
    return pod_refusal(deployment) if deployment is not None else None


def _of_registry(assessment: Assessment, revision: RevisionHash, problem: Problem) -> Problem:
    """Return `problem` with the fields of an inline registry. Pods do not know that theirs is one."""
    resource = assessment.snapshot.resource
    view = canary.canary_view(resource) if revision == assessment.desired_canary else None
    if problem.reason != Reason.MODEL_FETCH_FAILED or (view or resource).spec.model.inline_registry is None:
        return problem
    field = "spec.model.inlineRegistry"
    message = problem.message.replace("the registry's podSecret", f"the Secret that {field}.secretRef names")
    return replace(problem, message=message.replace("the registry's trackingUri", f"{field}.trackingUri"))


def _overdue(assessment: Assessment, revision: RevisionHash, problem: Problem) -> Problem:
    """Return `problem`, changed to one for the user if a pod waited for all of progressDeadline.

    Until then, the problem may pass: an autoscaler may add a node, a registry may come back. A pod that lacks only room
    may wait for ever. The deadline of a rollout counts until its first step. After that, pods that are lost have the
    time that every pod has to become ready.
    """
    if problem.waits_for_user or problem.lacks_room:
        return problem
    facts = assessment.of(revision)
    of_rollout = revision == assessment.desired and facts.rollout is None and facts.deadline_left == 0
    return replace(problem, waits_for_user=of_rollout or facts.ready_deadline_left == 0)


def _in_place(assessment: Assessment, plan: Plan, problem: Problem | None) -> Problem | None:
    """Return `problem`, changed to what `whenFull: Replace` does about a lack of room."""
    if problem is None or problem.reason != Reason.UNSCHEDULABLE or assessment.spec.rollout.when_full != "Replace":
        return problem
    if plan.next_stable is None or plan.stable is None:
        return problem
    if not replacing(assessment, plan.next_stable, plan.stable):
        why = "because no pod of the stable revision has the same requirements for a node"
        return replace(problem, message=f"{problem.message} spec.rollout.whenFull: Replace removes no pod, {why}.")
    message = making_way(assessment, plan.next_stable, plan.stable)
    return replace(problem, reason=Reason.REPLACING, message=message, waits_for_user=False)


def making_way(assessment: Assessment, next_stable: RevisionHash, stable: RevisionHash) -> str:
    """Describe what `whenFull: Replace` is doing, as a message."""
    old, new = (assessment.snapshot.child(revision) for revision in (stable, next_stable))
    pods = f"{len(assessment.of(next_stable).ready)} ready"
    down = "" if assessment.of(stable).ready else " The model is unavailable until one is ready."
    if assessment.spec.rollout.steps and not assessment.of(stable).live:
        down += " spec.rollout.steps are skipped, because only one revision has pods."
    return (
        f"No node has room for both revisions, so the operator replaces pods of {old} with pods of {new}, {pods} "
        f"(spec.rollout.whenFull: Replace).{down}"
    )


def _late(assessment: Assessment, plan: Plan) -> Problem | None:
    if plan.next_stable is None or assessment.paused or assessment.scaled_to_zero:
        return None
    if len(assessment.of(plan.next_stable).ready) >= max(1, _needed(assessment, plan, plan.next_stable)):
        return None  # it waits for something other than its pods
    text = assessment.spec.rollout.progress_deadline
    facts = assessment.of(plan.next_stable)
    if facts.deadline_left != 0 or (facts.rollout is not None and facts.ready_deadline_left != 0):
        return None  # a pod that is lost during a long step has a deadline of its own
    child = assessment.snapshot.child(plan.next_stable)
    return Problem(
        Reason.PROGRESS_DEADLINE_EXCEEDED,
        f"Revision {child} was not ready within spec.rollout.progressDeadline ({text}): check the logs of its pods, "
        f"for example with `kubectl logs{_of(assessment)} -l {names.LABEL_REVISION}={plan.next_stable}`.",
    )


def _settling(assessment: Assessment, plan: Plan) -> Problem | None:
    """Return the crash of a pod of stable that is ready again, but not for long."""
    wait = settling(assessment, assessment.of(plan.stable)) if plan.next_stable is None else None
    return wait[0] if wait is not None else None


def _named(assessment: Assessment) -> str:
    """Return the arguments of a command that name the resource."""
    metadata = assessment.snapshot.resource.metadata
    return names.cli_args(metadata.name, metadata.namespace)


def _of(assessment: Assessment) -> str:
    """Return the option of a command for the namespace of the resource."""
    return names.cli_args("", assessment.snapshot.resource.metadata.namespace)


def _needed(assessment: Assessment, plan: Plan, next_stable: RevisionHash) -> int:
    """Return the ready pods that the candidate needs for what comes next."""
    coming = prepared_candidate(assessment, plan.roles)
    if plan.roles.progressive and coming is not None:
        return candidate_needed(assessment, coming, plan.stable)
    return needed(assessment, next_stable, plan.stable)


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
    prefix, namespace = path_prefix(assessment), assessment.snapshot.resource.metadata.namespace
    if not allows_path(assessment.snapshot.resource, assessment.snapshot.settings):
        return Problem(
            Reason.PATH_NOT_ALLOWED,
            f"spec.traffic.gateway.pathPrefix: the platform allows only path prefixes below /{namespace}, not "
            f"{prefix}: set it to such a path, or remove it.",
        )
    rival = assessment.snapshot.rival
    if rival is not None:
        return Problem(
            Reason.ROUTE_CONFLICT,
            f"The path prefix {prefix} overlaps {rival.path}, which ModelDeployment {rival.name} claimed first on this "
            "Gateway and host: change spec.traffic.gateway.pathPrefix.",
        )
    if assessment.snapshot.route is not None and assessment.snapshot.route.refusal:
        return Problem(Reason.ROUTE_REFUSED, assessment.snapshot.route.refusal)
    return None


def _scaling_problem(assessment: Assessment, stable: RevisionHash | None) -> Problem | None:
    facts = assessment.of(stable).autoscaler
    if facts is None or not assessment.spec.scaling.autoscaled:
        return None
    if facts.utilization and not assessment.snapshot.metrics_api:
        return Problem(
            Reason.AUTOSCALER_WITHOUT_METRICS,
            "The cluster does not serve the metrics API (metrics.k8s.io), so the number of pods does not change. "
            "To fix it, install metrics-server, or set spec.scaling.replicas instead of min and max.",
        )
    if facts.inactive is None:
        return None
    missing = sorted(facts.utilization & {name for pod in assessment.of(stable).live for name in pod.unrequested})
    if patience_left(assessment, stable) is not None and not missing:
        return None
    remedy = (
        " and ".join(_request_to_set(assessment, stable, name) for name in missing)
        or "check that the metrics API (metrics-server, or the adapter of the metric) responds"
    )
    return Problem(
        Reason.AUTOSCALER_WITHOUT_METRICS,
        f"The autoscaler has no metrics, so the number of pods does not change: {sentence(facts.inactive)} To fix it, "
        f"{remedy}.",
    )


def _request_to_set(assessment: Assessment, stable: RevisionHash | None, name: str) -> str:
    """Return which request is missing: that of the scoring container, or those of its sidecars."""
    pods = assessment.of(stable).live
    sidecars = sorted({sidecar for pod in pods for resource, sidecar in pod.unrequested_sidecars if resource == name})
    if not sidecars:
        return f"set spec.resources.requests.{name}"
    return f"set the request for {name} of container {' and '.join(sidecars)}"
