"""The conditions of a resource, from a chain of small rules.

Each rule maps (assessment, plan) to a status, a reason and a message. Only `stamp` knows about time. It keeps
lastTransitionTime if the status of a condition did not change. So a resource at rest has the same status for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import Condition, ConditionType, Phase, RolloutStatus
from sluicegate.core.decide.roles import same_as_base
from sluicegate.core.decide.traffic import lacks_timeout
from sluicegate.core.plan.scaling import candidate_needed
from sluicegate.core.plan.types import Autoscaled, Fixed, Plan, RevisionPlan
from sluicegate.core.rollout import canary
from sluicegate.core.rollout.in_place import replacing
from sluicegate.core.snapshot import staleness
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.parse import text_of
from sluicegate.core.status.diagnosis import Problems, making_way

Truth = Literal["True", "False", "Unknown"]
MESSAGE_LIMIT = 2000
"""Maximum number of characters in a message: enough for any of the operator's own, and far below the limit of the
CRD."""


@dataclass(frozen=True, slots=True)
class ConditionState:
    """A condition without its time."""

    status: Truth
    reason: Reason
    message: str
    held: bool = False
    """Whether the change waits until the user ends a pause."""


def wanted_pods(plan: RevisionPlan) -> int:
    """Return the minimum number of ready pods that a revision's scale asks for."""
    match plan.scale:
        case Fixed(replicas):
            return replicas
        case Autoscaled():
            return plan.scale.min


def condition_states(
    assessment: Assessment, plan: Plan, problems: Problems, rollout: RolloutStatus
) -> dict[ConditionType, ConditionState]:
    """Return every condition of the resource, without its time.

    Args:
        assessment: All facts on the resource.
        plan: The operator's decision.
        problems: The problems of the resource.
        rollout: The state of the rollout.
    """
    available = _available(assessment, plan, problems)
    ready = _ready(_Context(assessment, plan, problems, rollout, available))
    stalled = problems.worst if problems.worst is not None and problems.worst.waits_for_user else None
    done = ready.status == "True" or stalled is not None
    states = {
        ConditionType.READY: ready,
        ConditionType.AVAILABLE: available,
        ConditionType.MODEL_RESOLVED: _resolved(assessment),
        ConditionType.PROGRESSING: _progressing(problems, ready),
        ConditionType.TRAFFIC_ROUTED: _routed(assessment, plan, problems),
        ConditionType.RECONCILING: ConditionState("False", Reason.COMPLETE, "")
        if done
        else ConditionState("True", ready.reason, ready.message),
        ConditionType.STALLED: ConditionState("True", stalled.reason, stalled.message)
        if stalled
        else ConditionState("False", Reason.NOT_STALLED, ""),
    }
    if assessment.spec.model.max_staleness:
        states[ConditionType.STALE] = _stale(assessment, plan)
    return states


def _resolved(assessment: Assessment) -> ConditionState:
    resolved = assessment.snapshot.desired.resolved
    problems = assessment.snapshot.follow_problems
    if problems and assessment.snapshot.desired.problem is None:
        return ConditionState("False", problems[0].reason, problems[0].message)
    if resolved is not None:
        what = f"{resolved.name} version {resolved.version}" if resolved.version else resolved.source
        return ConditionState("True", Reason.RESOLVED, f"{resolved.uri} resolves to {what}.")
    problem = assessment.snapshot.desired.problem
    if problem is None:
        return ConditionState("Unknown", Reason.RESOLVING, f"Resolving {assessment.spec.model.uri}.")
    return ConditionState("False", problem.reason, problem.message)


def _stale(assessment: Assessment, plan: Plan) -> ConditionState:
    left, since = staleness.patience_left(assessment, plan.stable), staleness.newer_since(assessment, plan.stable)
    wanted, limit = assessment.snapshot.desired.resolved, assessment.spec.model.max_staleness
    newer = staleness.newer(assessment, plan.stable)
    record = assessment.of(plan.stable).record
    if left is None or since is None or wanted is None or record is None:
        whole = assessment.spec.model.stale_against == "Model"
        words = (
            "The registry has no version higher than the stable one."
            if whole
            else "The stable revision serves the version that spec.model.uri resolves to."
        )
        return ConditionState("False", Reason.CURRENT, words)
    serving = record.model
    if newer is not None:
        words = (
            f"{serving} is stable, and {wanted.name} has had a higher version since {since:%Y-%m-%dT%H:%M:%SZ} "
            f"(newest: {newer.version})"
        )
        todo = f"Point {wanted.uri} at it, or change spec.model.uri. If you already have, see the condition Ready."
    else:
        words = (
            f"{wanted.uri} has resolved to version {wanted.version} since {since:%Y-%m-%dT%H:%M:%SZ}, "
            f"and {serving} is still stable"
        )
        todo = "See the condition Ready for the cause."
    if left > 0:
        return ConditionState("False", Reason.WAITING, f"{words}. spec.model.maxStaleness allows {limit}.")
    return ConditionState(
        "True", Reason.NEWER_VERSION, f"{words}. This is longer than spec.model.maxStaleness ({limit}). {todo}"
    )


def _available(assessment: Assessment, plan: Plan, problems: Problems) -> ConditionState:
    if plan.stable is None:
        return ConditionState("False", Reason.NOT_SERVING_YET, "No revision has been ready yet.")
    name = assessment.snapshot.resource.metadata.name
    if not assessment.of(plan.stable).ready:
        retiring = [entry.hash for entry in plan.revisions if assessment.of(entry.hash).ready]
        listed = assessment.snapshot.endpoints.get(name, frozenset())
        if not (retiring and listed):
            return ConditionState("False", Reason.NO_READY_PODS, "No pod of the stable revision is ready.")
    route = assessment.snapshot.route
    routed = route is not None and (route.accepted or not route.refusal)
    if assessment.snapshot.gateways and not routed:
        words = problems.traffic.message if problems.traffic else "The HTTPRoute does not exist yet."
        return ConditionState("False", problems.traffic.reason if problems.traffic else Reason.ROUTE_PENDING, words)
    return ConditionState("True", Reason.SERVING, f"Revision {names.child_name(name, plan.stable)} serves.")


@dataclass(frozen=True, slots=True)
class _Context:
    """What the rules of the condition Ready read."""

    assessment: Assessment
    plan: Plan
    problems: Problems
    rollout: RolloutStatus
    available: ConditionState


def _ready(context: _Context) -> ConditionState:
    """Return the condition Ready: the first rule that applies decides."""
    return next(state for rule in _READY_RULES if (state := rule(context)) is not None)


def _blocked(context: _Context) -> ConditionState | None:
    problem = context.problems.worst
    if problem is None:
        return None
    suffix = (
        " The previous revision keeps serving."
        if context.available.status == "True" and (context.problems.spec or context.plan.target)
        else _stays(context)
    )
    return ConditionState("False", problem.reason, problem.message + suffix)


def _pinned(context: _Context) -> ConditionState | None:
    pin = context.assessment.pinned
    if pin is None or pin == context.assessment.desired or context.plan.target is not None:
        return None
    child = context.assessment.snapshot.child(pin)
    return ConditionState(
        "False",
        Reason.PINNED,
        f"The annotation {names.ANNOTATION_PIN} pins revision {child}: remove it to follow the spec.",
    )


def _unchanged_while_paused(context: _Context) -> ConditionState | None:
    stable = context.plan.stable
    paused = context.assessment.paused
    return context.available if paused and stable is not None and stable == context.assessment.desired else None


def _rolling_out(context: _Context) -> ConditionState | None:
    """Return the condition during a rollout by steps.

    Its message says which step the rollout is at, and what it waits for.
    """
    target, rollout = context.plan.target, context.rollout
    if target is None or not context.plan.roles.progressive:
        return None
    steps = len(context.assessment.spec.rollout.steps or ())
    child = context.assessment.snapshot.child(target)
    if rollout.step_index is None:
        where = "before the first step"
    else:
        where = f"at step {rollout.step_index + 1} of {steps}" if rollout.step_index < steps else "after the last step"
    paused = rollout.phase is Phase.PAUSED
    return ConditionState(
        "False",
        Reason(rollout.reason) if paused and rollout.reason else Reason.ROLLING_OUT,
        f"Revision {child} is {where}. {rollout.message}",
        held=paused,
    )


def _paused(context: _Context) -> ConditionState | None:
    if not context.assessment.paused:
        return None
    return ConditionState("False", Reason.PAUSED, "spec.paused is true: set it to false to apply changes.", held=True)


def _in_place(context: _Context) -> ConditionState | None:
    assessment, target, stable = context.assessment, context.plan.target, context.plan.stable
    if target is None or stable is None or not replacing(assessment, target, stable):
        return None
    return ConditionState("False", Reason.REPLACING, making_way(assessment, target, stable))


def _starting(context: _Context) -> ConditionState | None:
    target = context.plan.target
    if target is None:
        return None
    pods = f"{len(context.assessment.of(target).ready)} of {_wanted_of(context.plan, target)} pods are ready"
    return ConditionState(
        "False", Reason.WAITING_FOR_PODS, f"Revision {context.assessment.snapshot.child(target)} is starting: {pods}."
    )


def _unavailable(context: _Context) -> ConditionState | None:
    available = context.available
    return None if available.status == "True" else ConditionState("False", available.reason, available.message)


def _too_few(context: _Context) -> ConditionState | None:
    stable = context.plan.stable
    if stable is None:
        return None
    ready, wanted = len(context.assessment.of(stable).ready), _wanted_of(context.plan, stable)
    if ready >= wanted:
        return None
    return ConditionState("False", Reason.PODS_NOT_READY, f"{ready} of {wanted} pods are ready.")


def _route_pending(context: _Context) -> ConditionState | None:
    route = context.assessment.snapshot.route
    if not context.assessment.snapshot.gateways or (route is not None and route.accepted):
        return None
    return ConditionState("False", Reason.ROUTE_PENDING, "The gateway has not accepted the route yet.")


def _shifting(context: _Context) -> ConditionState | None:
    if context.plan.shifted:
        return None
    return ConditionState("False", Reason.SHIFTING_TRAFFIC, "Traffic is shifting to the new revision.")


def _stays(context: _Context) -> str:
    """Return a sentence about the canary's share while the canary has no pods ready.

    It is empty if the canary is not the cause, or if stable is not available.
    """
    canary, problems = context.plan.canary, context.problems
    if canary is None or problems.worst is not problems.canary or context.available.status != "True":
        return ""
    return " Its share stays with the stable revision." if not context.assessment.of(canary).able else ""


def _canary_pending(context: _Context) -> ConditionState | None:
    """Return the condition Ready while the canary waits for something, or None.

    None means that the canary is as declared.
    """
    assessment, plan = context.assessment, context.plan
    name, revision = assessment.snapshot.resource.metadata.name, plan.roles.next_canary or plan.canary
    if revision is None:
        return None
    declared = canary.candidate(assessment, revision)
    able, wanted = assessment.of(revision).able, candidate_needed(assessment, declared, plan.stable)
    if able < (1 if assessment.split.weight(revision) else wanted) or plan.roles.next_canary is not None:
        keeper = "the current canary" if plan.roles.next_canary is not None else "the stable revision"
        words = f"Canary {names.child_name(name, revision)} is starting: {able} of {wanted} pods are ready"
        return ConditionState("False", Reason.WAITING_FOR_PODS, f"{words}. Its share stays with {keeper}.")
    if plan.route is not None and plan.route.split.weight(revision) != declared.share.weight:
        return ConditionState("False", Reason.WAITING_FOR_PODS, "Pods are starting to carry the new weights.")
    if plan.route is not None and assessment.split != plan.route.split:
        return ConditionState("False", Reason.SHIFTING_TRAFFIC, "The gateway is applying the new weights.")
    return None


def _serving(context: _Context) -> ConditionState:
    assessment, plan, available = context.assessment, context.plan, context.available
    if plan.canary is not None:
        child = assessment.snapshot.child(plan.canary)
        about = "" if assessment.routed else "about "
        weight = canary.declared(assessment, plan.canary).weight
        return ConditionState(
            "True", Reason.SERVING, f"{available.message} Canary {child} receives {about}{weight}% of the requests."
        )
    if same_as_base(assessment, plan.stable, plan.target):
        return ConditionState(
            "True",
            Reason.SAME_AS_STABLE,
            f"{available.message} spec.canary resolves to the same revision, so there is no canary.",
        )
    return ConditionState("True", Reason.SERVING, available.message)


_READY_RULES: tuple[Callable[[_Context], ConditionState | None], ...] = (
    _blocked,
    _pinned,
    _unchanged_while_paused,
    _rolling_out,
    _paused,
    _in_place,
    _starting,
    _unavailable,
    _too_few,
    _route_pending,
    _shifting,
    _canary_pending,
    _serving,
)


def _wanted_of(plan: Plan, revision: RevisionHash) -> int:
    return next((wanted_pods(entry) for entry in plan.revisions if entry.hash == revision), 0)


def _progressing(problems: Problems, ready: ConditionState) -> ConditionState:
    if ready.status == "True":
        return ConditionState("False", Reason.COMPLETE, "The desired state is reached.")
    if problems.worst is not None:
        return ConditionState(
            "False" if problems.worst.waits_for_user else "True", problems.worst.reason, problems.worst.message
        )
    return ConditionState("False" if ready.held else "True", ready.reason, ready.message)


def _routed(assessment: Assessment, plan: Plan, problems: Problems) -> ConditionState:
    if not assessment.snapshot.gateways:
        about = (
            " The canary's weight is approximate, because the Service distributes requests over pods."
            if plan.canary is not None
            else ""
        )
        return ConditionState(
            "True",
            Reason.SERVICE_ONLY,
            f"No gateway is configured. The model is reachable only through the in-cluster Service.{about}",
        )
    if problems.traffic is not None:
        return ConditionState("False", problems.traffic.reason, problems.traffic.message)
    if assessment.snapshot.route is None:
        return ConditionState(
            "False", Reason.WAITING_FOR_PODS, "The operator creates the HTTPRoute once a pod is ready."
        )
    if not assessment.snapshot.route.accepted:
        return ConditionState("False", Reason.ROUTE_PENDING, "The gateway has not accepted the route yet.")
    if plan.route is not None and assessment.split != plan.route.split:
        return ConditionState("False", Reason.SHIFTING_TRAFFIC, "The gateway is applying the new weights.")
    limits = (
        " Its GatewayClass does not support request timeouts, so spec.traffic.timeout has no effect."
        if lacks_timeout(assessment)
        else ""
    )
    return ConditionState("True", Reason.ACCEPTED, f"The gateway has accepted the route and its weights.{limits}")


def shortened(message: str) -> str:
    """Shorten `message` to what the CRD accepts.

    A message may quote other programs, whose text can be of any length.
    """
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"


def stamp(
    resource: ModelDeployment, now: datetime, states: dict[ConditionType, ConditionState]
) -> tuple[Condition, ...]:
    """Add times to conditions.

    lastTransitionTime changes only when the status of a condition changes.
    """
    before = {condition.type: condition for condition in resource.status.conditions}
    now_text = text_of(now)
    stamped = []
    for kind, state in states.items():
        old = before.get(kind.value)
        same = old is not None and old.status == state.status
        stamped.append(
            Condition(
                type=kind.value,
                status=state.status,
                reason=state.reason,
                message=shortened(state.message),
                last_transition_time=old.last_transition_time if same and old is not None else now_text,
                observed_generation=resource.metadata.generation,
            )
        )
    return tuple(stamped)
