"""Which entries of an HTTPRoute's status count.

Several controllers may write an entry for one parentRef. Only the controller that the GatewayClass of the Gateway names
decides whether the Gateway accepts the route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sluicegate.api.resource import Key
from sluicegate.api.traffic import ParentRef
from sluicegate.core.snapshot.facts import ParentReport, RouteFacts, RouteParent


def with_controllers(route: RouteFacts, controllers: Mapping[Key, str]) -> RouteFacts:
    """Return the route with what the right controllers report.

    Args:
        route: The route, with all reports.
        controllers: The controller of each Gateway, by namespace and name. All reports count for a Gateway without
            one, because an operator of one namespace may not be allowed to read GatewayClasses.
    """
    reports = tuple(
        report for report in route.reports if controllers.get(gateway_key(report.ref)) in (None, "", report.controller)
    )
    parents = tuple(_parent(parent.ref, reports) for parent in route.parents)
    return replace(
        route,
        accepted=bool(parents) and all(parent.accepted for parent in parents),
        refusal=next((text for parent in parents for text in _refusals(parent, reports)), None),
        parents=parents,
        serving=any(report.serves for report in reports),
    )


def gateway_key(ref: ParentRef) -> Key:
    """Return the namespace and name of the Gateway of a parentRef with a namespace."""
    return (ref.namespace or "", ref.name)


def _parent(ref: ParentRef, reports: tuple[ParentReport, ...]) -> RouteParent:
    own = [report for report in reports if report.ref == ref]
    counted = own or [report for report in reports if gateway_key(report.ref) == gateway_key(ref)]
    return RouteParent(
        ref=ref,
        accepted=any(report.acceptance is True for report in own),
        serving=any(report.serves for report in counted),
    )


def _refusals(parent: RouteParent, reports: tuple[ParentReport, ...]) -> list[str]:
    if parent.accepted:
        return []
    own = (report.acceptance for report in reports if report.ref == parent.ref)
    return [acceptance for acceptance in own if isinstance(acceptance, str)]
