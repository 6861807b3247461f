"""The condition Ready: a chain of small rules, of which the first that applies decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluicegate.api import names
from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.api.status import Phase, RolloutStatus
from sluicegate.core.decide.roles import same_as_base
from sluicegate.core.plan.scaling import candidate_needed
from sluicegate.core.plan.types import Autoscaled, Fixed, Plan, RevisionPlan
from sluicegate.core.rollout import canary
from sluicegate.core.rollout.in_place import replacing
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.status import traffic_shift
from sluicegate.core.status.condition_state import ConditionState
from sluicegate.core.status.diagnosis import Problems, making_way

SCALED_TO_ZERO = "spec.scaling.replicas is 0, so no pod runs and no request is answered."


@dataclass(frozen=True, slots=True)
class Context:
    """What the rules of the condition Ready read."""

    assessment: Assessment
    plan: Plan
    problems: Problems
    rollout: RolloutStatus
    available: ConditionState


def ready_state(context: Context) -> ConditionState:
    """Return the condition Ready: the first rule that applies decides."""
    return next(state for rule in _READY_RULES if (state := rule(context)) is not None)


def _blocked(context: Context) -> ConditionState | None:
    problem = context.problems.worst
    if problem is None:
        return None
    suffix = (
        " The previous revision keeps serving."
        if context.available.status == "True" and (context.problems.spec or context.plan.next_stable)
        else _stays(context)
    )
    return ConditionState("False", problem.reason, problem.message + suffix)


def _pinned(context: Context) -> ConditionState | None:
    pin = context.assessment.pinned
    if pin is None or pin == context.assessment.desired or context.plan.next_stable is not None:
        return None
    child = context.assessment.snapshot.child(pin)
    return ConditionState(
        "False",
        Reason.PINNED,
        f"The annotation {names.ANNOTATION_PIN} pins revision {child}: remove it to follow the spec.",
    )


def _scaled_to_zero(context: Context) -> ConditionState | None:
    """Return the condition of a resource that has no pods, as its spec declares."""
    if context.available.reason is not Reason.SCALED_TO_ZERO:
        return None
    return ConditionState("True", Reason.SCALED_TO_ZERO, SCALED_TO_ZERO)


def _unchanged_while_paused(context: Context) -> ConditionState | None:
    stable = context.plan.stable
    paused = context.assessment.paused
    return context.available if paused and stable is not None and stable == context.assessment.desired else None


def _pending_at_zero(context: Context) -> ConditionState | None:
    """Return the condition while the spec asks for no pods and a candidate waits for some.

    It is True, because the spec is in effect, and the candidate waits for a change of the spec.
    """
    assessment, stable, next_stable = context.assessment, context.plan.stable, context.plan.next_stable
    if next_stable is None or stable is None or not assessment.scaled_to_zero or assessment.paused:
        return None
    if assessment.of(stable).live or assessment.of(next_stable).live:
        return None
    serves, waits = assessment.snapshot.child(stable), assessment.snapshot.child(next_stable)
    how = "its steps" if context.plan.roles.progressive else "to take over"
    return ConditionState(
        "True",
        Reason.SCALED_TO_ZERO,
        f"spec.scaling.replicas is 0. When it is raised, revision {serves} serves first, and revision {waits} starts "
        f"{how} after that.",
    )


def _rolling_out(context: Context) -> ConditionState | None:
    """Return the condition during a rollout by steps.

    Its message says which step the rollout is at, and what it waits for.
    """
    next_stable, rollout = context.plan.next_stable, context.rollout
    if next_stable is None or not context.plan.roles.progressive:
        return None
    steps = len(context.assessment.spec.rollout.steps or ())
    child = context.assessment.snapshot.child(next_stable)
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


def _paused(context: Context) -> ConditionState | None:
    if not context.assessment.paused:
        return None
    return ConditionState("False", Reason.PAUSED, "spec.paused is true: set it to false to apply changes.", held=True)


def _in_place(context: Context) -> ConditionState | None:
    assessment, next_stable, stable = context.assessment, context.plan.next_stable, context.plan.stable
    if next_stable is None or stable is None or not replacing(assessment, next_stable, stable):
        return None
    return ConditionState("False", Reason.REPLACING, making_way(assessment, next_stable, stable))


def _starting(context: Context) -> ConditionState | None:
    next_stable = context.plan.next_stable
    if next_stable is None:
        return None
    if context.assessment.of(next_stable).waits_at_zero:
        child, message = context.assessment.snapshot.child(next_stable), context.rollout.message
        return ConditionState("False", Reason.WAITING_FOR_PODS, f"Revision {child} waits. {message}")
    pods = f"{len(context.assessment.of(next_stable).ready)} of {_wanted_of(context.plan, next_stable)} pods are ready"
    return ConditionState(
        "False",
        Reason.WAITING_FOR_PODS,
        f"Revision {context.assessment.snapshot.child(next_stable)} is starting: {pods}.",
    )


def _unavailable(context: Context) -> ConditionState | None:
    available = context.available
    return None if available.status == "True" else ConditionState("False", available.reason, available.message)


def _too_few(context: Context) -> ConditionState | None:
    stable = context.plan.stable
    if stable is None:
        return None
    ready, wanted = len(context.assessment.of(stable).ready), _wanted_of(context.plan, stable)
    if ready >= wanted:
        return None
    return ConditionState("False", Reason.PODS_NOT_READY, f"{ready} of {wanted} pods are ready.")


def _route_pending(context: Context) -> ConditionState | None:
    route = context.assessment.snapshot.route
    if sentence := traffic_shift.kept(context.plan):
        return ConditionState("False", Reason.ROUTE_PENDING, sentence)
    if not context.assessment.snapshot.gateways or (route is not None and route.accepted):
        return None
    return ConditionState("False", Reason.ROUTE_PENDING, "The gateway has not accepted the route yet.")


def _shifting(context: Context) -> ConditionState | None:
    if context.plan.shifted:
        return None
    return ConditionState("False", Reason.SHIFTING_TRAFFIC, "Traffic is shifting to the new revision.")


def _stays(context: Context) -> str:
    """Return a sentence about the canary's share while the canary has no pods ready.

    It is empty if the canary is not the cause, or if stable is not available.
    """
    canary, problems = context.plan.canary, context.problems
    if canary is None or problems.worst is not problems.canary or context.available.status != "True":
        return ""
    return " Its share stays with the stable revision." if not context.assessment.of(canary).able else ""


def _canary_pending(context: Context) -> ConditionState | None:
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


def _serving(context: Context) -> ConditionState:
    assessment, plan, available = context.assessment, context.plan, context.available
    if plan.canary is not None:
        child = assessment.snapshot.child(plan.canary)
        about = "" if assessment.routed else "about "
        weight = canary.declared(assessment, plan.canary).weight
        return ConditionState(
            "True", Reason.SERVING, f"{available.message} Canary {child} receives {about}{weight}% of the requests."
        )
    if same_as_base(assessment, plan.stable, plan.next_stable):
        return ConditionState(
            "True",
            Reason.SAME_AS_STABLE,
            f"{available.message} spec.canary resolves to the same revision, so there is no canary.",
        )
    return ConditionState("True", Reason.SERVING, available.message)


_READY_RULES: tuple[Callable[[Context], ConditionState | None], ...] = (
    _blocked,
    _pinned,
    _pending_at_zero,
    _scaled_to_zero,
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
    return next((_wanted_pods(entry) for entry in plan.revisions if entry.hash == revision), 0)


def _wanted_pods(plan: RevisionPlan) -> int:
    """Return the minimum number of ready pods that a revision's scale asks for."""
    match plan.scale:
        case Fixed(replicas):
            return replicas
        case Autoscaled():
            return plan.scale.min
