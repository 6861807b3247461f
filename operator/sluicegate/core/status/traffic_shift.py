"""What status says while the route keeps what an earlier spec asked for."""

from __future__ import annotations

from dataclasses import replace

from sluicegate.api.reasons import Reason
from sluicegate.api.traffic import ParentRef
from sluicegate.core.decide.route_shift import desired_hostnames, has_listener, parent_refs
from sluicegate.core.plan.types import Plan
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Problem


def kept(plan: Plan) -> str:
    """Return a sentence about what the route keeps, or an empty text."""
    if plan.route is None or not plan.route.shift:
        return ""
    shift = plan.route.shift
    parts = [_gateway(ref) for ref in shift.parent_refs]
    if shift.all_hostnames:
        parts.append("all host names")
    if shift.hostnames:
        parts.append(f"the host name{'s' if len(shift.hostnames) > 1 else ''} {', '.join(shift.hostnames)}")
    if shift.path_prefixes:
        parts.append(f"the path prefix {', '.join(shift.path_prefixes)}")
    return f"Until the gateway accepts the change of the route, the route keeps {' and '.join(parts)}."


def problem(assessment: Assessment, plan: Plan, other: Problem | None) -> Problem | None:
    """Return `other` with what the route keeps, or what prevents the change of the route, or None.

    Args:
        assessment: All facts on the resource.
        plan: The operator's decision.
        other: The problem of the route, if it has one without the change.
    """
    sentence = kept(plan)
    if not sentence or plan.route is None:
        return other
    if other is not None:
        return replace(other, message=f"{other.message} {sentence}")
    shift, hostnames = plan.route.shift, desired_hostnames(assessment)
    if not (shift.hostnames or shift.all_hostnames) or has_listener(assessment, parent_refs(assessment), hostnames):
        return None
    return Problem(
        Reason.ROUTE_REFUSED,
        f"No listener of the Gateway has the host name {' or '.join(hostnames)}: add a listener, or correct "
        f"spec.traffic.gateway.hostnames. {sentence}",
    )


def _gateway(ref: ParentRef) -> str:
    listener = f" (listener {ref.section_name})" if ref.section_name else ""
    return f"Gateway {ref.namespace}/{ref.name}{listener}"
