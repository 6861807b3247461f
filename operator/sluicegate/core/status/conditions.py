"""The conditions of a resource, from a chain of small rules.

Each rule maps (assessment, plan) to a status, a reason and a message. Only `stamp` knows about time. It keeps
lastTransitionTime if the status of a condition did not change. So a resource at rest has the same status for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import Condition, ConditionType, RolloutStatus
from sluicegate.core.decide.roles import same_as_base
from sluicegate.core.decide.traffic import lacks_timeout
from sluicegate.core.plan.scaling import candidate_needed
from sluicegate.core.plan.types import Autoscaled, Fixed, Plan, RevisionPlan
from sluicegate.core.rollout import canary
from sluicegate.core.rollout.in_place import replacing
from sluicegate.core.snapshot import staleness
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.parse import text_of
from sluicegate.core.status.diagnosis import Judgement, making_way

Truth = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 2000
"""Maximum number of characters in a message: enough for any of the operator's own, and far below the limit of the
CRD."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A condition without its time."""

    status: Truth
    reason: Reason
    message: str


def wanted_pods(plan: RevisionPlan) -> int:
    """Return the minimum number of ready pods that a revision's scale asks for."""
    match plan.scale:
        case Fixed(replicas):
            return replicas
        case Autoscaled():
            return plan.scale.min


def verdicts(
    assessment: Assessment, plan: Plan, judgement: Judgement, state: RolloutStatus
) -> dict[ConditionType, Verdict]:
    """Return every condition of the resource, without its time.

    Args:
        assessment: All facts on the resource.
        plan: The operator's decision.
        judgement: The problems of the resource.
        state: The state of the rollout.
    """
    available = _available(assessment, plan, judgement)
    ready = _ready(assessment, plan, judgement, available)
    if ready.status == "False" and plan.roles.progressive and plan.target is not None and judgement.worst is None:
        ready = _rolling_out(assessment, state, plan.target)
    stalled = judgement.worst if judgement.worst is not None and judgement.worst.waits_for_user else None
    done = ready.status == "True"
    told = {ConditionType.STALE: _stale(assessment, plan)} if assessment.spec.model.max_staleness else {}
    return {
        ConditionType.READY: ready,
        ConditionType.AVAILABLE: available,
        ConditionType.MODEL_RESOLVED: _resolved(assessment),
        ConditionType.PROGRESSING: _progressing(plan, judgement, ready),
        ConditionType.TRAFFIC_ROUTED: _routed(assessment, plan, judgement),
        ConditionType.RECONCILING: Verdict("False", Reason.COMPLETE, "")
        if done or stalled
        else Verdict("True", ready.reason, ready.message),
        ConditionType.STALLED: Verdict("True", stalled.reason, stalled.message)
        if stalled
        else Verdict("False", Reason.NOT_STALLED, ""),
    } | told


def _resolved(assessment: Assessment) -> Verdict:
    resolved = assessment.snapshot.desired.resolved
    troubles = [each.trouble for each in assessment.snapshot.all_desired if each.trouble is not None]
    if troubles and assessment.snapshot.desired.problem is None:
        return Verdict("False", troubles[0].reason, troubles[0].message)
    if resolved is not None:
        what = f"{resolved.name} version {resolved.version}" if resolved.version else resolved.source
        return Verdict("True", Reason.RESOLVED, f"{resolved.uri} is {what}.")
    problem = assessment.snapshot.desired.problem
    if problem is None:
        return Verdict("Unknown", Reason.RESOLVING, f"Asking for {assessment.spec.model.uri}.")
    return Verdict("False", problem.reason, problem.message)


def _stale(assessment: Assessment, plan: Plan) -> Verdict:
    left, since = staleness.patience_left(assessment, plan.stable), staleness.newer_since(assessment, plan.stable)
    wanted, limit = assessment.snapshot.desired.resolved, assessment.spec.model.max_staleness
    newer = staleness.newer(assessment, plan.stable)
    record = assessment.of(plan.stable).record
    if left is None or since is None or wanted is None or record is None:
        whole = assessment.spec.model.stale_against == "Model"
        words = (
            "No higher version than the served one is known." if whole else "The version that the spec asks for serves."
        )
        return Verdict("False", Reason.CURRENT, words)
    serving = record.model
    if newer is not None:
        words = (
            f"The newest version of {wanted.name} is {newer.version}, and since {since:%Y-%m-%dT%H:%M:%SZ} "
            f"there is a higher one than {serving}, which serves"
        )
        todo = f"Make {wanted.uri} mean it, or change spec.model.uri; where that is done, Ready says what keeps it."
    else:
        words = f"{wanted.uri} is version {wanted.version} since {since:%Y-%m-%dT%H:%M:%SZ}, and {serving} serves"
        todo = "Ready says what keeps it."
    if left > 0:
        return Verdict("False", Reason.WAITING, f"{words}; spec.model.maxStaleness allows {limit}.")
    return Verdict("True", Reason.NEWER_VERSION, f"{words}: longer than spec.model.maxStaleness ({limit}). {todo}")


def _available(assessment: Assessment, plan: Plan, judgement: Judgement) -> Verdict:
    if plan.stable is None:
        return Verdict("False", Reason.NOT_SERVING_YET, "No revision has become ready yet.")
    name = assessment.snapshot.resource.metadata.name
    if not assessment.of(plan.stable).ready:
        retiring = [entry.hash for entry in plan.revisions if assessment.of(entry.hash).ready]
        listed = assessment.snapshot.endpoints.get(name, frozenset())
        if not (retiring and listed):
            words = judgement.target.message if judgement.target else "No pod of the stable revision is ready."
            return Verdict("False", Reason.NO_READY_PODS, words)
    routed = assessment.snapshot.route is not None and (
        assessment.snapshot.route.accepted or not assessment.snapshot.route.refusal
    )
    if assessment.snapshot.gateways and not routed:
        words = judgement.traffic.message if judgement.traffic else "The route is not there yet."
        return Verdict("False", judgement.traffic.reason if judgement.traffic else Reason.ROUTE_PENDING, words)
    return Verdict("True", Reason.SERVING, f"Revision {names.child_name(name, plan.stable)} serves.")


def _ready(assessment: Assessment, plan: Plan, judgement: Judgement, available: Verdict) -> Verdict:
    if judgement.worst is not None:
        suffix = (
            " The previous revision goes on serving."
            if available.status == "True" and (judgement.spec or plan.target)
            else _stays(assessment, plan, available, judgement)
        )
        return Verdict("False", judgement.worst.reason, judgement.worst.message + suffix)
    if (pin := assessment.pinned) is not None and pin != assessment.desired and plan.target is None:
        child = assessment.snapshot.child(pin)
        return Verdict(
            "False",
            Reason.PINNED,
            f"The annotation {names.ANNOTATION_PIN} holds revision {child}: remove it to follow the spec.",
        )
    if assessment.paused:
        if plan.stable is not None and plan.stable == assessment.desired:
            return available
        return Verdict("False", Reason.PAUSED, "spec.paused is true: changes wait until it is false.")
    pending = plan.target
    if pending is not None and plan.stable is not None and replacing(assessment, pending, plan.stable):
        return Verdict("False", Reason.REPLACING, making_way(assessment, pending, plan.stable))
    if pending is not None:
        pods = f"{len(assessment.of(pending).ready)} of {_wanted_of(plan, pending)} pods ready"
        return Verdict(
            "False",
            Reason.WAITING_FOR_PODS,
            f"Revision {assessment.snapshot.child(pending)} is starting: {pods}.",
        )
    if plan.stable is None or available.status != "True":
        return Verdict("False", available.reason, available.message)
    ready, wanted = len(assessment.of(plan.stable).ready), _wanted_of(plan, plan.stable)
    if ready < wanted:
        return Verdict("False", Reason.PODS_NOT_READY, f"{ready} of {wanted} pods are ready.")
    if assessment.snapshot.gateways and (assessment.snapshot.route is None or not assessment.snapshot.route.accepted):
        return Verdict("False", Reason.ROUTE_PENDING, "The gateway has not accepted the route yet.")
    if not plan.shifted:
        return Verdict("False", Reason.SHIFTING_TRAFFIC, "Traffic is moving to the new revision.")
    return _ready_canary(assessment, plan) or _serving(assessment, plan, available)


def _rolling_out(assessment: Assessment, state: RolloutStatus, target: RevisionHash) -> Verdict:
    """Return the condition Ready during a rollout by steps.

    Its message says which step the rollout is at, and what it waits for.
    """
    steps = len(assessment.spec.rollout.steps or ())
    if state.step_index is None:
        where = "before the first step"
    else:
        where = f"step {state.step_index + 1} of {steps}" if state.step_index < steps else f"behind all {steps} steps"
    paused = state.reason in (Reason.ROLLOUT_PAUSED, Reason.PAUSED)
    return Verdict(
        "False",
        Reason(state.reason) if paused and state.reason else Reason.ROLLING_OUT,
        f"Revision {assessment.snapshot.child(target)}, {where}: {state.message}",
    )


def _stays(assessment: Assessment, plan: Plan, available: Verdict, judgement: Judgement) -> str:
    """Return a sentence about the canary's share while the canary has no pods ready.

    It is empty if the canary is not the cause, or if stable is not available.
    """
    if plan.canary is None or judgement.worst is not judgement.canary or available.status != "True":
        return ""
    return " Its share stays with the stable revision." if not assessment.of(plan.canary).able else ""


def _ready_canary(assessment: Assessment, plan: Plan) -> Verdict | None:
    """Return the condition Ready while the canary waits for something, or None.

    None means that the canary is as declared.
    """
    name, revision = assessment.snapshot.resource.metadata.name, plan.roles.next_canary or plan.canary
    if revision is None:
        return None
    declared = canary.candidate(assessment, revision)
    able, wanted = assessment.of(revision).able, candidate_needed(assessment, declared, plan.stable)
    if able < (1 if assessment.split.weight(revision) else wanted) or plan.roles.next_canary is not None:
        keeper = "the present canary" if plan.roles.next_canary is not None else "the stable revision"
        words = f"Canary {names.child_name(name, revision)} is starting: {able} of {wanted} pods ready"
        return Verdict("False", Reason.WAITING_FOR_PODS, f"{words}; its share stays with {keeper}.")
    if plan.route is not None and plan.route.split.weight(revision) != declared.share.weight:
        return Verdict("False", Reason.WAITING_FOR_PODS, "Pods are started for the new weights first.")
    if plan.route is not None and assessment.split != plan.route.split:
        return Verdict("False", Reason.SHIFTING_TRAFFIC, "New weights are on their way to the gateway.")
    return None


def _serving(assessment: Assessment, plan: Plan, available: Verdict) -> Verdict:
    if plan.canary is not None:
        child = assessment.snapshot.child(plan.canary)
        about = "" if assessment.routed else "about "
        weight = canary.declared(assessment, plan.canary).weight
        return Verdict(
            "True", Reason.SERVING, f"{available.message} Canary {child} has {about}{weight} % of the requests."
        )
    if same_as_base(assessment, plan.stable, plan.target):
        return Verdict(
            "True",
            Reason.SAME_AS_STABLE,
            f"{available.message} spec.canary is the same revision, so there is no canary.",
        )
    return Verdict("True", Reason.SERVING, available.message)


def _wanted_of(plan: Plan, revision: RevisionHash) -> int:
    return next((wanted_pods(entry) for entry in plan.revisions if entry.hash == revision), 0)


def _progressing(plan: Plan, judgement: Judgement, ready: Verdict) -> Verdict:
    if ready.status == "True":
        return Verdict("False", Reason.COMPLETE, "What the spec declares is what serves.")
    if judgement.worst is not None:
        return Verdict(
            "False" if judgement.worst.waits_for_user else "True", judgement.worst.reason, judgement.worst.message
        )
    waits = ready.reason in (Reason.PAUSED, Reason.ROLLOUT_PAUSED)
    return Verdict("False" if waits else "True", ready.reason, ready.message)


def _routed(assessment: Assessment, plan: Plan, judgement: Judgement) -> Verdict:
    if not assessment.snapshot.gateways:
        about = " The canary's weight is approximate: requests spread over pods." if plan.canary is not None else ""
        return Verdict(
            "True", Reason.SERVICE_ONLY, f"No gateway is named: the in-cluster Service is the only way in.{about}"
        )
    if judgement.traffic is not None:
        return Verdict("False", judgement.traffic.reason, judgement.traffic.message)
    if assessment.snapshot.route is None:
        return Verdict("False", Reason.WAITING_FOR_PODS, "The route is made once a pod is ready.")
    if not assessment.snapshot.route.accepted:
        return Verdict("False", Reason.ROUTE_PENDING, "The gateway has not accepted the route yet.")
    if plan.route is not None and assessment.split != plan.route.split:
        return Verdict("False", Reason.SHIFTING_TRAFFIC, "New weights are on their way to the gateway.")
    limits = (
        " Its class does not support request timeouts, so spec.traffic.timeout has no effect."
        if lacks_timeout(assessment)
        else ""
    )
    return Verdict("True", Reason.ACCEPTED, f"The gateway has accepted the route and its weights.{limits}")


def shortened(message: str) -> str:
    """Shorten `message` to what the CRD accepts.

    A message may quote other programs, whose text can be of any length.
    """
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"


def stamp(resource: ModelDeployment, now: datetime, found: dict[ConditionType, Verdict]) -> tuple[Condition, ...]:
    """Add times to conditions.

    lastTransitionTime changes only when the status of a condition changes.
    """
    before = {condition.type: condition for condition in resource.status.conditions}
    now_text = text_of(now)
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
                last_transition_time=old.last_transition_time if same and old is not None else now_text,
                observed_generation=resource.metadata.generation,
            )
        )
    return tuple(stamped)
