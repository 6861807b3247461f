"""Conditions: a chain of small rules, each `(snapshot, plan) -> verdict`.

A verdict is a status, a reason and a sentence. Only `stamp` knows about time: it keeps lastTransitionTime where the
status did not change, so that a resource at rest has the same status for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sluicegate.api import duration, names
from sluicegate.api.status import Condition, ConditionType
from sluicegate.core import canary
from sluicegate.core.decide import canary_deadline_left, started_at
from sluicegate.core.facts import Problem, Snapshot
from sluicegate.core.lineup import aborted, same_as_base
from sluicegate.core.plan import Autoscaled, Fixed, Plan, RevisionPlan
from sluicegate.core.scaling import needed, needed_by_canary, patience_left
from sluicegate.core.traffic import lacks_timeout

Truth = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 2000
"""Characters of a message: enough for any sentence, far below the CRD's bound."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition without its time."""

    status: Truth
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is wrong with a resource, by the part it concerns."""

    spec: Problem | None
    """The spec cannot be acted on: unsupported, refused, or its model is unknown."""
    target: Problem | None
    """The revision that is to serve does not come up."""
    traffic: Problem | None
    """Requests from outside do not reach it as declared."""
    scaling: Problem | None
    """The autoscaler is blind."""
    canary: Problem | None = None
    """The canary does not come up, or not as declared."""

    @property
    def worst(self) -> Problem | None:
        """The one that a reader should see first."""
        return self.spec or self.target or self.traffic or self.canary or self.scaling


def judge(snapshot: Snapshot, plan: Plan, refused: Problem | None = None) -> Judgement:
    """Collects what is wrong.

    Args:
        snapshot: What is known.
        plan: What was decided.
        refused: What the API server said against applying the plan, if it did.
    """
    shown = plan.target or plan.stable
    return Judgement(
        spec=snapshot.target.problem or refused,
        target=revision_problem(snapshot, shown) or _late(snapshot, plan),
        traffic=_traffic_problem(snapshot),
        scaling=_scaling_problem(snapshot, plan.stable),
        canary=_canary_problem(snapshot, plan),
    )


def _canary_problem(snapshot: Snapshot, plan: Plan) -> Problem | None:
    """What keeps the canary from what is declared; without a canary of its own, what the annotations ask in vain."""
    if aborted(snapshot):
        child = names.child_name(snapshot.resource.metadata.name, snapshot.target.revision or "")
        return Problem(
            "Aborted", f"The take-over of {child} was aborted: change the spec, or remove {names.ANNOTATION_ABORT}."
        )
    revision = plan.lineup.next_canary or plan.canary
    found = revision_problem(snapshot, revision)
    if found is not None:
        return replace(found, message=f"Canary: {found.message}")
    if revision is not None and canary.named(snapshot, names.ANNOTATION_ABORT) == revision:
        return Problem(
            "Aborted",
            f"The canary was aborted, so it has no share: change spec.canary, or remove {names.ANNOTATION_ABORT}.",
        )
    if canary_deadline_left(snapshot, revision) == 0:
        text = snapshot.resource.spec.rollout.progress_deadline
        return Problem(
            "ProgressDeadlineExceeded",
            f"The canary's pods were not ready within spec.rollout.progressDeadline ({text}): look at their logs.",
        )
    return canary.problem(snapshot)


def revision_problem(snapshot: Snapshot, revision: str | None) -> Problem | None:
    """Why pods of a revision do not serve: the pods' own words first, then what kept them from being made."""
    if revision is None:
        return None
    pods = sorted(snapshot.live_pods(revision), key=lambda pod: pod.name)
    there = snapshot.deployments.get(revision)
    enough = there is not None and len(snapshot.ready_pods(revision)) >= max(1, there.replicas)
    for pod in () if enough else pods:  # an evicted pod stays in the list long after another has replaced it
        if pod.problem is not None and not pod.ready:
            return pod.problem
    digests = {pod.digest for pod in pods if pod.digest}
    if len(digests) > 1:
        return Problem(
            "ArtifactsDiffer",
            f"Pods of revision {revision} fetched different artifacts ({', '.join(sorted(digests))}): the source was overwritten "
            "after it was registered. Register a new version, or set the annotation sluicegate.dev/roll.",
        )
    if there is not None and there.replica_failure and there.current < max(1, there.replicas):
        quota = "exceeded quota" in there.replica_failure
        remedy = (
            "raise the quota or ask for less in spec.resources"
            if quota
            else "change spec.podTemplate or the namespace's policy"
        )
        return Problem(
            "QuotaExceeded" if quota else "PodRefused",
            f"The API server refuses the pods: {there.replica_failure}; {remedy}.",
        )
    return None


def _late(snapshot: Snapshot, plan: Plan) -> Problem | None:
    if plan.target is None or snapshot.resource.spec.paused:
        return None
    if len(snapshot.ready_pods(plan.target)) >= max(1, needed(snapshot, plan.target, plan.stable)):
        return None  # it waits for something else than its pods
    text = snapshot.resource.spec.rollout.progress_deadline
    if (snapshot.now - started_at(snapshot, plan.target)).total_seconds() < duration.seconds(text):
        return None
    child = names.child_name(snapshot.resource.metadata.name, plan.target)
    return Problem(
        "ProgressDeadlineExceeded",
        f"Revision {child} was not ready within spec.rollout.progressDeadline ({text}): look at its pods' logs.",
    )


def _traffic_problem(snapshot: Snapshot) -> Problem | None:
    if not snapshot.gateways:
        return None
    if not snapshot.gateway_api:
        return Problem(
            "GatewayAPIMissing",
            "A gateway is named, but this cluster has no HTTPRoute kind: install the Gateway API's resources.",
        )
    for gateway in snapshot.gateways:
        if not gateway.exists:
            return Problem(
                "GatewayNotFound",
                f"Gateway {gateway.namespace}/{gateway.name} does not exist: create it, or correct spec.traffic.gateway.parentRefs.",
            )
        if gateway.lacks("HTTPRoutePathRewrite"):
            return Problem(
                "GatewayLacksFeature",
                f"Gateway {gateway.namespace}/{gateway.name} is of class {gateway.gateway_class}, which cannot rewrite paths "
                "(HTTPRoutePathRewrite), so requests would not reach the model: name a gateway of another class.",
            )
    if snapshot.rival is not None:
        return Problem(
            "RouteConflict",
            f"ModelDeployment {snapshot.rival}, which is older, has the same host and path: change spec.traffic.gateway.pathPrefix.",
        )
    if snapshot.route is not None and snapshot.route.refusal:
        return Problem("RouteRefused", snapshot.route.refusal)
    return None


def _scaling_problem(snapshot: Snapshot, stable: str | None) -> Problem | None:
    facts = snapshot.autoscalers.get(stable or "")
    if facts is None or facts.inactive is None or not snapshot.resource.spec.scaling.autoscaled:
        return None
    lasting = patience_left(snapshot, stable) is None
    certain = "missing request" in facts.inactive.message
    return facts.inactive if lasting or certain else None


def wanted_pods(plan: RevisionPlan) -> int:
    """Ready pods that a revision's own scale asks for at least."""
    match plan.scale:
        case Fixed(replicas):
            return replicas
        case Autoscaled():
            return plan.scale.min


def verdicts(snapshot: Snapshot, plan: Plan, judgement: Judgement) -> dict[ConditionType, Verdict]:
    """Every condition of the resource."""
    available = _available(snapshot, plan, judgement)
    ready = _ready(snapshot, plan, judgement, available)
    stalled = judgement.worst if judgement.worst is not None and judgement.worst.waits_for_user else None
    done = ready.status == "True"
    return {
        ConditionType.READY: ready,
        ConditionType.AVAILABLE: available,
        ConditionType.MODEL_RESOLVED: _resolved(snapshot),
        ConditionType.PROGRESSING: _progressing(plan, judgement, ready),
        ConditionType.TRAFFIC_ROUTED: _routed(snapshot, plan, judgement),
        ConditionType.RECONCILING: Verdict("False", "Complete", "")
        if done or stalled
        else Verdict("True", ready.reason, ready.message),
        ConditionType.STALLED: Verdict("True", stalled.reason, stalled.message)
        if stalled
        else Verdict("False", "NotStalled", ""),
    }


def _resolved(snapshot: Snapshot) -> Verdict:
    resolved = snapshot.target.resolved
    if resolved is not None:
        what = f"{resolved.name} version {resolved.version}" if resolved.version else resolved.source
        return Verdict("True", "Resolved", f"{resolved.uri} is {what}.")
    problem = snapshot.target.problem
    if problem is None:
        return Verdict("Unknown", "Resolving", f"Asking for {snapshot.resource.spec.model.uri}.")
    return Verdict("False", problem.reason, problem.message)


def _available(snapshot: Snapshot, plan: Plan, judgement: Judgement) -> Verdict:
    if plan.stable is None:
        return Verdict("False", "NotServingYet", "No revision has become ready yet.")
    name = snapshot.resource.metadata.name
    if not snapshot.ready_pods(plan.stable):
        retiring = [entry.hash for entry in plan.revisions if snapshot.ready_pods(entry.hash)]
        listed = snapshot.endpoints.get(name, frozenset())
        if not (retiring and listed):
            words = judgement.target.message if judgement.target else "No pod of the stable revision is ready."
            return Verdict("False", "NoReadyPods", words)
    routed = snapshot.route is not None and (snapshot.route.accepted or not snapshot.route.refusal)
    if snapshot.gateways and not routed:
        words = judgement.traffic.message if judgement.traffic else "The route is not there yet."
        return Verdict("False", judgement.traffic.reason if judgement.traffic else "RoutePending", words)
    return Verdict("True", "Serving", f"Revision {names.child_name(name, plan.stable)} serves.")


def _ready(snapshot: Snapshot, plan: Plan, judgement: Judgement, available: Verdict) -> Verdict:
    if judgement.worst is not None:
        suffix = (
            " The previous revision goes on serving."
            if available.status == "True" and (judgement.spec or plan.target)
            else _stays(snapshot, plan, available, judgement)
        )
        return Verdict("False", judgement.worst.reason, judgement.worst.message + suffix)
    if (pin := canary.pinned(snapshot)) is not None and pin != snapshot.target.revision and plan.target is None:
        child = names.child_name(snapshot.resource.metadata.name, pin)
        return Verdict(
            "False",
            "Pinned",
            f"The annotation {names.ANNOTATION_PIN} holds revision {child}: remove it to follow the spec.",
        )
    if snapshot.resource.spec.paused:
        if plan.stable is not None and plan.stable == snapshot.target.revision:
            return available
        return Verdict("False", "Paused", "spec.paused is true: changes wait until it is false.")
    pending = plan.target
    if pending is not None:
        pods = f"{len(snapshot.ready_pods(pending))} of {_wanted_of(plan, pending)} pods ready"
        return Verdict(
            "False",
            "WaitingForPods",
            f"Revision {names.child_name(snapshot.resource.metadata.name, pending)} is starting: {pods}.",
        )
    if plan.stable is None or available.status != "True":
        return Verdict("False", available.reason, available.message)
    ready, wanted = len(snapshot.ready_pods(plan.stable)), _wanted_of(plan, plan.stable)
    if ready < wanted:
        return Verdict("False", "PodsNotReady", f"{ready} of {wanted} pods are ready.")
    if snapshot.gateways and (snapshot.route is None or not snapshot.route.accepted):
        return Verdict("False", "RoutePending", "The gateway has not accepted the route yet.")
    if not plan.shifted:
        return Verdict("False", "ShiftingTraffic", "Traffic is moving to the new revision.")
    return _ready_canary(snapshot, plan) or _serving(snapshot, plan, available)


def _stays(snapshot: Snapshot, plan: Plan, available: Verdict, judgement: Judgement) -> str:
    """Who has the canary's share while the canary does not come up."""
    if plan.canary is None or judgement.worst is not judgement.canary or available.status != "True":
        return ""
    return " Its share stays with the stable revision." if not snapshot.able_pods(plan.canary) else ""


def _ready_canary(snapshot: Snapshot, plan: Plan) -> Verdict | None:
    """What the canary still waits for; None when it has what is declared."""
    name, revision = snapshot.resource.metadata.name, plan.lineup.next_canary or plan.canary
    if revision is None:
        return None
    able, wanted = snapshot.able_pods(revision), needed_by_canary(snapshot, revision, plan.stable)
    if able < (1 if snapshot.split.weight(revision) else wanted) or plan.lineup.next_canary is not None:
        keeper = "the present canary" if plan.lineup.next_canary is not None else "the stable revision"
        words = f"Canary {names.child_name(name, revision)} is starting: {able} of {wanted} pods ready"
        return Verdict("False", "WaitingForPods", f"{words}; its share stays with {keeper}.")
    if plan.route is not None and plan.route.split.weight(revision) != canary.declared_weight(snapshot, revision):
        return Verdict("False", "WaitingForPods", "Pods are started for the new weights first.")
    if plan.route is not None and snapshot.split != plan.route.split:
        return Verdict("False", "ShiftingTraffic", "New weights are on their way to the gateway.")
    return None


def _serving(snapshot: Snapshot, plan: Plan, available: Verdict) -> Verdict:
    if plan.canary is not None:
        child = names.child_name(snapshot.resource.metadata.name, plan.canary)
        about = "" if snapshot.routed else "about "
        weight = canary.declared_weight(snapshot, plan.canary)
        return Verdict("True", "Serving", f"{available.message} Canary {child} has {about}{weight} % of the requests.")
    if same_as_base(snapshot, plan.stable, plan.target):
        return Verdict(
            "True", "SameAsStable", f"{available.message} spec.canary is the same revision, so there is no canary."
        )
    return Verdict("True", "Serving", available.message)


def _wanted_of(plan: Plan, revision: str) -> int:
    return next((wanted_pods(entry) for entry in plan.revisions if entry.hash == revision), 0)


def _progressing(plan: Plan, judgement: Judgement, ready: Verdict) -> Verdict:
    if ready.status == "True":
        return Verdict("False", "Complete", "What the spec declares is what serves.")
    if judgement.worst is not None:
        return Verdict(
            "False" if judgement.worst.waits_for_user else "True", judgement.worst.reason, judgement.worst.message
        )
    return Verdict("False" if ready.reason == "Paused" else "True", ready.reason, ready.message)


def _routed(snapshot: Snapshot, plan: Plan, judgement: Judgement) -> Verdict:
    if not snapshot.gateways:
        about = " The canary's weight is approximate: requests spread over pods." if plan.canary is not None else ""
        return Verdict("True", "ServiceOnly", f"No gateway is named: the in-cluster Service is the only way in.{about}")
    if judgement.traffic is not None:
        return Verdict("False", judgement.traffic.reason, judgement.traffic.message)
    if snapshot.route is None:
        return Verdict("False", "WaitingForPods", "The route is made once a pod is ready.")
    if not snapshot.route.accepted:
        return Verdict("False", "RoutePending", "The gateway has not accepted the route yet.")
    if plan.route is not None and snapshot.split != plan.route.split:
        return Verdict("False", "ShiftingTraffic", "New weights are on their way to the gateway.")
    limits = (
        " Its class does not support request timeouts, so spec.traffic.timeout has no effect."
        if lacks_timeout(snapshot)
        else ""
    )
    return Verdict("True", "Accepted", f"The gateway has accepted the route and its weights.{limits}")


def shortened(message: str) -> str:
    """`message` within what the CRD lets in; others' words in it can be of any length."""
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"


def stamp(snapshot: Snapshot, found: dict[ConditionType, Verdict]) -> tuple[Condition, ...]:
    """Verdicts with times: lastTransitionTime moves only when a status changes."""
    before = {condition.type: condition for condition in snapshot.resource.status.conditions}
    now = snapshot.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    stamped = []
    for kind, verdict in found.items():
        old = before.get(kind.value)
        same = old is not None and old.status == verdict.status
        stamped.append(
            Condition(
                type=kind.value,
                status=verdict.status,
                reason=verdict.reason,
                message=shortened(verdict.message),
                last_transition_time=old.last_transition_time if same and old is not None else now,
                observed_generation=snapshot.resource.metadata.generation,
            )
        )
    return tuple(stamped)
