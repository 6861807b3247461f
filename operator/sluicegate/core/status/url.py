"""The URL at which clients outside the cluster reach the model."""

from __future__ import annotations

from sluicegate.api.traffic import ParentRef
from sluicegate.core.decide.route_shift import common_hostname, desired_hostnames, gateway_of, listeners, parent_refs
from sluicegate.core.decide.traffic import path_prefix
from sluicegate.core.plan.types import Plan, RouteShift
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import GatewayFacts, RouteFacts

_PORTS = {"http": 80, "https": 443}


def url(assessment: Assessment, plan: Plan) -> str | None:
    """Return a URL that a Gateway serves, or None while there is none.

    It is that of the first parent in the spec that has accepted the route. While the route keeps what an earlier spec
    asked for, it is the URL of that spec, because only that one is known to be served.
    """
    route = assessment.snapshot.route
    if route is None or not assessment.routed:
        return None
    shift = plan.route.shift if plan.route is not None else RouteShift()
    for ref in _serving(assessment, route, shift):
        gateway = gateway_of(assessment, ref)
        if gateway is not None and gateway.exists:
            origin = _origin(assessment, gateway, ref, _hostnames(assessment, route, shift, plan))
            if origin is not None:
                return origin + _prefix(assessment, route, shift, plan)
    return None


def _serving(assessment: Assessment, route: RouteFacts, shift: RouteShift) -> list[ParentRef]:
    """Return the parents that have accepted the route, with those first that the URL should be of."""
    known = [parent.ref for parent in route.parents if parent.serving]
    serving = known or [parent.ref for parent in route.parents if route.serving]
    preferred = shift.parent_refs or parent_refs(assessment)
    return [*(ref for ref in preferred if ref in serving), *(ref for ref in serving if ref not in preferred)]


def _hostnames(assessment: Assessment, route: RouteFacts, shift: RouteShift, plan: Plan) -> tuple[str, ...]:
    if plan.route is None:
        return route.hostnames
    if shift.all_hostnames:
        return ()
    return shift.hostnames or desired_hostnames(assessment)


def _prefix(assessment: Assessment, route: RouteFacts, shift: RouteShift, plan: Plan) -> str:
    prefixes = shift.path_prefixes or (route.path_prefixes if plan.route is None else ())
    return (prefixes or (path_prefix(assessment),))[-1].rstrip("/")


def _origin(assessment: Assessment, gateway: GatewayFacts, ref: ParentRef, hostnames: tuple[str, ...]) -> str | None:
    """Return scheme, host and port of the best listener: HTTPS before HTTP, and a whole host name before a wildcard.

    A wildcard stands for any name, so it becomes the name of the resource.
    """
    if not gateway.listeners:
        host = hostnames[0] if hostnames else gateway.address
        return _text(assessment, "http", host, 80) if host else None
    choices = []
    for listener in listeners(gateway, ref, assessment.snapshot.resource.metadata.namespace):
        if listener.hostname is None:
            hosts = list(hostnames) or ([gateway.address] if gateway.address else [])
        elif hostnames:
            common = (common_hostname(listener.hostname, name) for name in hostnames)
            hosts = [host for host in common if host is not None]
        else:
            hosts = [listener.hostname]
        for host in hosts:
            rank = (listener.programmed, listener.protocol == "HTTPS", not host.startswith("*."))
            choices.append((rank, _text(assessment, listener.protocol.lower(), host, listener.port)))
    return max(choices, key=lambda choice: choice[0])[1] if choices else None


def _text(assessment: Assessment, scheme: str, host: str, port: int) -> str:
    if host.startswith("*."):
        host = f"{assessment.snapshot.resource.metadata.name}{host[1:]}"
    if ":" in host:
        host = f"[{host}]"  # an IPv6 address of the Gateway
    return f"{scheme}://{host}" if port == _PORTS[scheme] else f"{scheme}://{host}:{port}"
