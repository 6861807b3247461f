"""The conditions of a resource.

Each function maps (assessment, plan) to a status, a reason and a message. Only `stamp` knows about time. It keeps
lastTransitionTime if the status of a condition did not change. So a resource at rest has the same status for ever.
"""

from __future__ import annotations

from datetime import datetime

from sluicegate.api import duration, names
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import Condition, ConditionType, RolloutStatus
from sluicegate.core.decide.traffic import lacks_timeout
from sluicegate.core.plan.types import Plan
from sluicegate.core.snapshot import staleness
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.parse import text_of
from sluicegate.core.status import traffic_shift
from sluicegate.core.status.condition_state import ConditionState
from sluicegate.core.status.diagnosis import Problems
from sluicegate.core.status.ready import SCALED_TO_ZERO, Context, ready_state

MESSAGE_LIMIT = 2000
"""Maximum number of characters in a message: enough for any of the operator's own, and far below the limit of the
CRD."""


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
    ready = ready_state(Context(assessment, plan, problems, rollout, available))
    stalled = problems.stalled
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
    if assessment.scaled_to_zero and not any(assessment.of(entry.hash).ready for entry in plan.revisions):
        return ConditionState("False", Reason.SCALED_TO_ZERO, SCALED_TO_ZERO)
    if plan.stable is None:
        return ConditionState("False", Reason.NOT_SERVING_YET, "No revision has been ready yet.")
    name = assessment.snapshot.resource.metadata.name
    if not assessment.of(plan.stable).ready:
        retiring = [entry.hash for entry in plan.revisions if assessment.of(entry.hash).ready]
        listed = assessment.snapshot.endpoints.get(name, frozenset())
        if not (retiring and listed):
            return ConditionState("False", Reason.NO_READY_PODS, "No pod of the stable revision is ready.")
    route = assessment.snapshot.route
    serving = route is not None and (route.accepted or route.serving)
    routed = serving or (route is not None and problems.traffic is None)
    if assessment.snapshot.gateways and not routed:
        words = problems.traffic.message if problems.traffic else "The HTTPRoute does not exist yet."
        return ConditionState("False", problems.traffic.reason if problems.traffic else Reason.ROUTE_PENDING, words)
    return ConditionState("True", Reason.SERVING, f"Revision {names.child_name(name, plan.stable)} serves.")


def _progressing(problems: Problems, ready: ConditionState) -> ConditionState:
    if ready.status == "True":
        return ConditionState("False", Reason.COMPLETE, "The desired state is reached.")
    if problems.worst is not None:
        return ConditionState(
            "False" if problems.stalled is not None else "True", problems.worst.reason, problems.worst.message
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
            f"No gateway is configured. The model is reachable only through the in-cluster Service.{about}"
            f"{_shorter_limit(assessment, plan)}",
        )
    if problems.traffic is not None:
        return ConditionState("False", problems.traffic.reason, problems.traffic.message)
    if assessment.snapshot.route is None:
        return ConditionState(
            "False", Reason.WAITING_FOR_PODS, "The operator creates the HTTPRoute once a pod is ready."
        )
    if sentence := traffic_shift.kept(plan):
        return ConditionState("False", Reason.ROUTE_PENDING, sentence)
    if not assessment.snapshot.route.accepted:
        return ConditionState("False", Reason.ROUTE_PENDING, "The gateway has not accepted the route yet.")
    if plan.route is not None and assessment.split != plan.route.split:
        return ConditionState("False", Reason.SHIFTING_TRAFFIC, "The gateway is applying the new weights.")
    limits = (
        " Its GatewayClass does not support request timeouts, so the gateway does not enforce spec.traffic.timeout."
        if lacks_timeout(assessment)
        else ""
    )
    limits += _shorter_limit(assessment, plan)
    return ConditionState("True", Reason.ACCEPTED, f"The gateway has accepted the route and its weights.{limits}")


def _shorter_limit(assessment: Assessment, plan: Plan) -> str:
    """Return a sentence about pods that end requests before `spec.traffic.timeout`, or an empty text."""
    record = assessment.of(plan.stable).record if plan.stable is not None else None
    limit = record.request_timeout if record is not None else None
    timeout = assessment.spec.traffic.timeout
    if limit is None or limit >= duration.seconds(timeout):
        return ""
    return (
        f" The stable revision's pods end a request after {limit:g}s, before spec.traffic.timeout ({timeout}). Set the "
        "annotation sluicegate.dev/roll to a new value to create pods with the new timeout, or change --timeout in "
        "spec.runtime.args."
    )


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
