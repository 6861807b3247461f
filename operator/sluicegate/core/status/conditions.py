"""The conditions of a resource, from a chain of small rules.

Each rule maps (snapshot, plan) to a status, a reason and a message. Only `stamp` knows about time. It keeps
lastTransitionTime if the status of a condition did not change. So a resource at rest has the same status for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sluicegate.api import names
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
from sluicegate.core.snapshot.facts import Snapshot
from sluicegate.core.snapshot.overrides import pinned
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


def required_pods(plan: RevisionPlan) -> int:
    """Return the minimum number of ready pods that a revision's scale asks for."""
    match plan.scale:
        case Fixed(replicas):
            return replicas
        case Autoscaled():
            return plan.scale.min


def condition_states(
    snapshot: Snapshot, plan: Plan, problems: Problems, rollout: RolloutStatus
) -> dict[ConditionType, ConditionState]:
    """Return every condition of the resource, without its time.

    Args:
        snapshot: All facts on the resource.
        plan: The operator's decision.
        problems: The problems of the resource.
        rollout: The state of the rollout.
    """
    available = _available(snapshot, plan, problems)
    ready = _ready(_Context(snapshot, plan, problems, rollout, available))
    stalled = problems.worst if problems.worst is not None and problems.worst.waits_for_user else None
    done = ready.status == "True" or stalled is not None
    states = {
        ConditionType.READY: ready,
        ConditionType.AVAILABLE: available,
        ConditionType.MODEL_RESOLVED: _resolved(snapshot),
        ConditionType.PROGRESSING: _progressing(problems, ready),
        ConditionType.TRAFFIC_ROUTED: _routed(snapshot, plan, problems),
        ConditionType.RECONCILING: ConditionState("False", Reason.COMPLETE, "")
        if done
        else ConditionState("True", ready.reason, ready.message),
        ConditionType.STALLED: ConditionState("True", stalled.reason, stalled.message)
        if stalled
        else ConditionState("False", Reason.NOT_STALLED, ""),
    }
    if snapshot.resource.spec.model.max_staleness:
        states[ConditionType.STALE] = _stale(snapshot, plan)
    return states


def _resolved(snapshot: Snapshot) -> ConditionState:
    resolved = snapshot.desired.resolved
    problems = [each.trouble for each in snapshot.all_desired if each.trouble is not None]
    if problems and snapshot.desired.problem is None:
        return ConditionState("False", problems[0].reason, problems[0].message)
    if resolved is not None:
        version = f"{resolved.name} version {resolved.version}" if resolved.version else resolved.source
        return ConditionState("True", Reason.RESOLVED, f"{resolved.uri} resolves to {version}.")
    problem = snapshot.desired.problem
    if problem is None:
        return ConditionState("Unknown", Reason.RESOLVING, f"Resolving {snapshot.resource.spec.model.uri}.")
    return ConditionState("False", problem.reason, problem.message)


def _stale(snapshot: Snapshot, plan: Plan) -> ConditionState:
    left, since = staleness.patience_left(snapshot, plan.stable), staleness.newer_since(snapshot, plan.stable)
    resolved, limit = snapshot.desired.resolved, snapshot.resource.spec.model.max_staleness
    newer = staleness.newer(snapshot, plan.stable)
    if left is None or since is None or resolved is None:
        of_model = snapshot.resource.spec.model.stale_against == "Model"
        message = (
            "The registry has no version higher than the stable one."
            if of_model
            else "The stable revision serves the version that spec.model.uri resolves to."
        )
        return ConditionState("False", Reason.CURRENT, message)
    serving = snapshot.revisions[plan.stable or ""].model
    if newer is not None:
        message = (
            f"{serving} is stable, and {resolved.name} has had a higher version since {since:%Y-%m-%dT%H:%M:%SZ} "
            f"(newest: {newer.version})"
        )
        remedy = f"Point {resolved.uri} at it, or change spec.model.uri. If you already have, see the condition Ready."
    else:
        message = (
            f"{resolved.uri} has resolved to version {resolved.version} since {since:%Y-%m-%dT%H:%M:%SZ}, "
            f"and {serving} is still stable"
        )
        remedy = "See the condition Ready for the cause."
    if left > 0:
        return ConditionState("False", Reason.WAITING, f"{message}. spec.model.maxStaleness allows {limit}.")
    return ConditionState(
        "True", Reason.NEWER_VERSION, f"{message}. This is longer than spec.model.maxStaleness ({limit}). {remedy}"
    )


def _available(snapshot: Snapshot, plan: Plan, problems: Problems) -> ConditionState:
    if plan.stable is None:
        return ConditionState("False", Reason.NOT_SERVING_YET, "No revision has been ready yet.")
    name = snapshot.resource.metadata.name
    if not snapshot.ready_pods(plan.stable):
        retiring = [entry.hash for entry in plan.revisions if snapshot.ready_pods(entry.hash)]
        listed = snapshot.endpoints.get(name, frozenset())
        if not (retiring and listed):
            return ConditionState("False", Reason.NO_READY_PODS, "No pod of the stable revision is ready.")
    routed = snapshot.route is not None and (snapshot.route.accepted or not snapshot.route.refusal)
    if snapshot.gateways and not routed:
        message = problems.traffic.message if problems.traffic else "The HTTPRoute does not exist yet."
        return ConditionState("False", problems.traffic.reason if problems.traffic else Reason.ROUTE_PENDING, message)
    return ConditionState("True", Reason.SERVING, f"Revision {names.child_name(name, plan.stable)} serves.")


@dataclass(frozen=True, slots=True)
class _Context:
    """What the rules of the condition Ready read."""

    snapshot: Snapshot
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
    pin = pinned(context.snapshot)
    if pin is None or pin == context.snapshot.desired.revision or context.plan.target is not None:
        return None
    child = context.snapshot.child(pin)
    return ConditionState(
        "False",
        Reason.PINNED,
        f"The annotation {names.ANNOTATION_PIN} pins revision {child}: remove it to follow the spec.",
    )


def _unchanged_while_paused(context: _Context) -> ConditionState | None:
    stable = context.plan.stable
    paused = context.snapshot.resource.spec.paused
    return context.available if paused and stable is not None and stable == context.snapshot.desired.revision else None


def _rolling_out(context: _Context) -> ConditionState | None:
    """Return the condition during a rollout by steps.

    Its message says which step the rollout is at, and what it waits for.
    """
    if not context.plan.roles.progressive:
        return None
    rollout = context.rollout
    steps = len(context.snapshot.resource.spec.rollout.steps or ())
    child = context.snapshot.child(rollout.target or "")
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
    if not context.snapshot.resource.spec.paused:
        return None
    return ConditionState("False", Reason.PAUSED, "spec.paused is true: set it to false to apply changes.", held=True)


def _in_place(context: _Context) -> ConditionState | None:
    snapshot, target, stable = context.snapshot, context.plan.target, context.plan.stable
    if target is None or not replacing(snapshot, target, stable):
        return None
    return ConditionState("False", Reason.REPLACING, making_way(snapshot, target, stable))


def _starting(context: _Context) -> ConditionState | None:
    target = context.plan.target
    if target is None:
        return None
    pods = f"{len(context.snapshot.ready_pods(target))} of {_required_of(context.plan, target)} pods are ready"
    return ConditionState(
        "False", Reason.WAITING_FOR_PODS, f"Revision {context.snapshot.child(target)} is starting: {pods}."
    )


def _unavailable(context: _Context) -> ConditionState | None:
    available = context.available
    return None if available.status == "True" else ConditionState("False", available.reason, available.message)


def _too_few(context: _Context) -> ConditionState | None:
    stable = context.plan.stable or ""
    ready, required = len(context.snapshot.ready_pods(stable)), _required_of(context.plan, stable)
    if ready >= required:
        return None
    return ConditionState("False", Reason.PODS_NOT_READY, f"{ready} of {required} pods are ready.")


def _route_pending(context: _Context) -> ConditionState | None:
    route = context.snapshot.route
    if not context.snapshot.gateways or (route is not None and route.accepted):
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
    return " Its share stays with the stable revision." if not context.snapshot.able_pods(canary) else ""


def _canary_pending(context: _Context) -> ConditionState | None:
    """Return the condition Ready while the canary waits for something, or None.

    None means that the canary is as declared.
    """
    snapshot, plan = context.snapshot, context.plan
    name, revision = snapshot.resource.metadata.name, plan.roles.next_canary or plan.canary
    if revision is None:
        return None
    declared = canary.candidate(snapshot, revision)
    able, required = snapshot.able_pods(revision), candidate_needed(snapshot, declared, plan.stable)
    if able < (1 if snapshot.split.weight(revision) else required) or plan.roles.next_canary is not None:
        keeper = "the current canary" if plan.roles.next_canary is not None else "the stable revision"
        message = f"Canary {names.child_name(name, revision)} is starting: {able} of {required} pods are ready"
        return ConditionState("False", Reason.WAITING_FOR_PODS, f"{message}. Its share stays with {keeper}.")
    if plan.route is not None and plan.route.split.weight(revision) != declared.share.weight:
        return ConditionState("False", Reason.WAITING_FOR_PODS, "Pods are starting to carry the new weights.")
    if plan.route is not None and snapshot.split != plan.route.split:
        return ConditionState("False", Reason.SHIFTING_TRAFFIC, "The gateway is applying the new weights.")
    return None


def _serving(context: _Context) -> ConditionState:
    snapshot, plan, available = context.snapshot, context.plan, context.available
    if plan.canary is not None:
        child = snapshot.child(plan.canary)
        about = "" if snapshot.routed else "about "
        weight = canary.declared(snapshot, plan.canary).weight
        return ConditionState(
            "True", Reason.SERVING, f"{available.message} Canary {child} receives {about}{weight}% of the requests."
        )
    if same_as_base(snapshot, plan.stable, plan.target):
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


def _required_of(plan: Plan, revision: str) -> int:
    return next((required_pods(entry) for entry in plan.revisions if entry.hash == revision), 0)


def _progressing(problems: Problems, ready: ConditionState) -> ConditionState:
    if ready.status == "True":
        return ConditionState("False", Reason.COMPLETE, "The desired state is reached.")
    if problems.worst is not None:
        return ConditionState(
            "False" if problems.worst.waits_for_user else "True", problems.worst.reason, problems.worst.message
        )
    return ConditionState("False" if ready.held else "True", ready.reason, ready.message)


def _routed(snapshot: Snapshot, plan: Plan, problems: Problems) -> ConditionState:
    if not snapshot.gateways:
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
    if snapshot.route is None:
        return ConditionState(
            "False", Reason.WAITING_FOR_PODS, "The operator creates the HTTPRoute once a pod is ready."
        )
    if not snapshot.route.accepted:
        return ConditionState("False", Reason.ROUTE_PENDING, "The gateway has not accepted the route yet.")
    if plan.route is not None and snapshot.split != plan.route.split:
        return ConditionState("False", Reason.SHIFTING_TRAFFIC, "The gateway is applying the new weights.")
    limits = (
        " Its GatewayClass does not support request timeouts, so spec.traffic.timeout has no effect."
        if lacks_timeout(snapshot)
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
