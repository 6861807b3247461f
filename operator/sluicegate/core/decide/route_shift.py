"""A change of the route's parents, host names or path prefix, in the order of a shift.

The route has what it had and what the spec asks for now, until the gateways accept it at the route's generation. Then
it has only what the spec asks for. All this follows from the route in the cluster, so a restart continues the shift.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from sluicegate.api.traffic import ParentRef
from sluicegate.core.plan.types import RoutePlan, RouteShift
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import GatewayFacts, Listener, RouteFacts, Split

PARENT_LIMIT = 32
HOSTNAME_LIMIT = 16
RULE_LIMIT = 16
"""The limits of the Gateway API for one HTTPRoute."""


def plan_route(assessment: Assessment, prefix: str, timeout_seconds: float | None, split: Split) -> RoutePlan:
    """Return the route to apply next.

    Args:
        assessment: All facts on the resource.
        prefix: The path prefix that the spec asks for.
        timeout_seconds: The request timeout of the route.
        split: The traffic split of the route.
    """
    refs, hostnames = parent_refs(assessment), desired_hostnames(assessment)
    route = assessment.snapshot.route
    shift = RouteShift()
    if route is not None and route.serving:
        shift = RouteShift(
            parent_refs=tuple(_kept_parents(assessment, route, refs))[: PARENT_LIMIT - len(refs)],
            hostnames=_kept_hostnames(assessment, route, refs, hostnames)[: HOSTNAME_LIMIT - len(hostnames)],
            all_hostnames=bool(hostnames) and not route.hostnames and not _settled(assessment, route, refs, hostnames),
            path_prefixes=_kept_prefixes(route, refs, prefix, RULE_LIMIT // (1 + len(split.matches))),
        )
    return RoutePlan(
        parent_refs=(*refs, *shift.parent_refs),
        hostnames=() if shift.all_hostnames else (*hostnames, *shift.hostnames),
        path_prefixes=(prefix, *shift.path_prefixes),
        timeout_seconds=timeout_seconds,
        split=split,
        shift=shift,
    )


def parent_refs(assessment: Assessment) -> tuple[ParentRef, ...]:
    """Return the parentRefs that the spec or the settings ask for, each with a namespace."""
    refs = assessment.spec.traffic.gateway.parent_refs or assessment.snapshot.settings.gateway.parent_refs
    namespace = assessment.snapshot.resource.metadata.namespace
    return tuple(dict.fromkeys(replace(ref, namespace=ref.namespace or namespace) for ref in refs))


def desired_hostnames(assessment: Assessment) -> tuple[str, ...]:
    """Return the host names that the spec or the settings ask for."""
    return assessment.spec.traffic.gateway.hostnames or assessment.snapshot.settings.gateway.hostnames


def _accepted(route: RouteFacts, refs: Iterable[ParentRef]) -> bool:
    """Tell whether all these parents have accepted the current generation of the route."""
    return set(refs) <= {parent.ref for parent in route.parents if parent.accepted}


def _kept_parents(assessment: Assessment, route: RouteFacts, refs: tuple[ParentRef, ...]) -> Iterator[ParentRef]:
    """Yield the former parents that still serve, while one of the desired parents has not accepted the route.

    An HTTPRoute may not name a Gateway both with and without a section. So a former parent without one becomes one
    parent for each of its other listeners. A desired parent without one includes the former parents of that Gateway.
    """
    if _accepted(route, refs):
        return
    for parent in route.parents:
        ref, same = parent.ref, [other for other in refs if _gateway_of(other) == _gateway_of(parent.ref)]
        if ref in refs or not parent.serving or any(other.section_name is None for other in same):
            continue
        if same and ref.section_name is None:
            yield from _sections(assessment, ref, {other.section_name for other in same})
        else:
            yield ref


def _sections(assessment: Assessment, ref: ParentRef, taken: set[str | None]) -> Iterator[ParentRef]:
    gateway = gateway_of(assessment, ref)
    if gateway is None:
        return
    for listener in listeners(gateway, ref, assessment.snapshot.resource.metadata.namespace):
        if listener.name not in taken:
            yield replace(ref, section_name=listener.name)


def _kept_hostnames(
    assessment: Assessment, route: RouteFacts, refs: tuple[ParentRef, ...], desired: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the former host names, until the gateways have accepted a route with one of the desired ones."""
    if not desired or not route.hostnames or set(route.hostnames) == set(desired):
        return ()
    if set(desired) <= set(route.hostnames) and _settled(assessment, route, refs, desired):
        return ()
    former = tuple(parent.ref for parent in route.parents)
    kept = (name for name in route.hostnames if name not in desired)
    return tuple(name for name in kept if has_listener(assessment, (*refs, *former), (name,)))


def _settled(
    assessment: Assessment, route: RouteFacts, refs: tuple[ParentRef, ...], hostnames: tuple[str, ...]
) -> bool:
    """Tell whether the gateways have accepted the route, and have a listener for one of these host names.

    A gateway accepts a route if one of its host names is on one of its listeners. So the acceptance alone does not tell
    whether a desired host name is.
    """
    return _accepted(route, refs) and has_listener(assessment, refs, hostnames)


def _kept_prefixes(route: RouteFacts, refs: tuple[ParentRef, ...], desired: str, limit: int) -> tuple[str, ...]:
    """Return the former path prefixes, until the gateways have accepted a route with the desired one.

    The last ones are those that the gateways accepted first. The route has at most `limit` prefixes.
    """
    if desired in route.path_prefixes and _accepted(route, refs):
        return ()
    former = tuple(prefix for prefix in route.path_prefixes if prefix != desired)
    return former[max(0, len(former) - (limit - 1)) :]


def has_listener(assessment: Assessment, refs: Iterable[ParentRef], hostnames: tuple[str, ...]) -> bool:
    """Tell whether a listener of these parents has one of these host names.

    This is also true for a Gateway without listeners of its own, because other objects may add some.
    """
    namespace = assessment.snapshot.resource.metadata.namespace
    for ref in refs:
        gateway = gateway_of(assessment, ref)
        if gateway is None or not gateway.exists:
            continue
        if not gateway.listeners:
            return True
        for listener in listeners(gateway, ref, namespace):
            if listener.hostname is None or any(common_hostname(listener.hostname, name) for name in hostnames):
                return True
    return False


def gateway_of(assessment: Assessment, ref: ParentRef) -> GatewayFacts | None:
    """Return the facts of the Gateway that a parentRef names, or None where they are not in the snapshot."""
    for gateway in (*assessment.snapshot.gateways, *assessment.snapshot.former_gateways):
        if (gateway.namespace, gateway.name) == _gateway_of(ref):
            return gateway
    return None


def listeners(gateway: GatewayFacts, ref: ParentRef, namespace: str) -> list[Listener]:
    """Return the listeners of a Gateway that an HTTPRoute with this parentRef may attach to.

    Args:
        gateway: The Gateway.
        ref: The parentRef.
        namespace: The namespace of the HTTPRoute.
    """
    return [
        listener
        for listener in gateway.listeners
        if listener.protocol in ("HTTP", "HTTPS")
        and ref.section_name in (None, listener.name)
        and ref.port in (None, listener.port)
        and listener.namespaces != "None"
        and not (listener.namespaces == "Same" and gateway.namespace != namespace)
    ]


def common_hostname(first: str, second: str) -> str | None:
    """Return the host names that two patterns have in common, as a pattern, or None."""
    if first == second:
        return first
    for pattern, name in ((first, second), (second, first)):
        if pattern.startswith("*.") and name.endswith(pattern[1:]):
            return name
    return None


def _gateway_of(ref: ParentRef) -> tuple[str | None, str]:
    return ref.namespace, ref.name
