"""Parse the objects of the Gateway API into facts: HTTPRoutes, Gateways and GatewayClasses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sluicegate.api.names import RevisionHash
from sluicegate.api.traffic import Header, ParentRef
from sluicegate.core.snapshot.facts import (
    GatewayClassFacts,
    GatewayFacts,
    Listener,
    Mirror,
    ParentReport,
    RouteFacts,
    RouteParent,
    Split,
)
from sluicegate.core.snapshot.parse import conditions_of
from sluicegate.core.snapshot.redaction import sentence
from sluicegate.core.snapshot.route_reports import with_controllers

Raw = Mapping[str, Any]


def route(obj: Raw) -> RouteFacts:
    """Return the facts of the HTTPRoute.

    They are what its spec says, and whether every parent accepts the current generation.
    """
    spec, metadata = obj.get("spec") or {}, obj["metadata"]
    namespace, generation = metadata.get("namespace") or "", int(metadata.get("generation") or 0)
    reports = tuple(
        ParentReport(
            ref=_parent_ref(entry.get("parentRef") or {}, namespace),
            controller=str(entry.get("controllerName") or ""),
            acceptance=_parent_acceptance(entry, generation),
            serves=_serves(entry),
        )
        for entry in (obj.get("status") or {}).get("parents") or ()
    )
    refs = dict.fromkeys(_parent_ref(ref, namespace) for ref in spec.get("parentRefs") or ())
    rules = spec.get("rules") or ()
    facts = RouteFacts(
        split=_split(rules),
        accepted=False,
        parents=tuple(RouteParent(ref, accepted=False, serving=False) for ref in refs),
        hostnames=tuple(spec.get("hostnames") or ()),
        path_prefixes=path_prefixes(rules),
        reports=reports,
    )
    return with_controllers(facts, {})


def _serves(parent: Raw) -> bool:
    return conditions_of({"status": parent}).get("Accepted", {}).get("status") == "True"


def _parent_ref(ref: Raw, namespace: str) -> ParentRef:
    return ParentRef(
        name=ref.get("name") or "",
        namespace=ref.get("namespace") or namespace,
        section_name=ref.get("sectionName"),
        port=ref.get("port"),
    )


def path_prefixes(rules: Iterable[Raw]) -> tuple[str, ...]:
    """Return the path prefixes that the rules of a route match, each once."""
    matches = [match for rule in rules for match in rule.get("matches") or ()]
    prefixes = [(match.get("path") or {}).get("value") for match in matches]
    return tuple(dict.fromkeys(prefix for prefix in prefixes if prefix))


def _split(rules: Sequence[Raw]) -> Split:
    """Return the traffic split that the rules of a route express.

    A rule with a header match belongs to the candidate alone. The other rule distributes requests by weight. While the
    path prefix changes, each prefix has the same rules.
    """
    weights: dict[RevisionHash, int] = {}
    matched, matches, mirror = None, [], None
    prefixes = path_prefixes(rules)
    for rule in rules:
        if prefixes and path_prefixes([rule]) != prefixes[:1]:
            continue
        shares = {_revision_of(backend): int(backend.get("weight", 1)) for backend in rule.get("backendRefs") or ()}
        shares = {revision: weight for revision, weight in shares.items() if weight}
        headers = [header for match in rule.get("matches") or () for header in match.get("headers") or ()]
        if headers:
            matched = next(iter(shares), None)
            matches += [
                Header(name=header["name"], value=header["value"], type=header.get("type")) for header in headers
            ]
            continue
        weights.update(shares)
        for filtered in rule.get("filters") or ():
            if filtered.get("type") == "RequestMirror":
                copied = filtered["requestMirror"]
                mirror = Mirror(_revision_of(copied["backendRef"]), int(copied.get("percent", 100)))
    return Split(weights=weights, matched=matched, matches=tuple(matches), mirror=mirror)


def _revision_of(backend: Raw) -> RevisionHash:
    return RevisionHash(str(backend.get("name", "")).rpartition("-")[2])


def _parent_acceptance(parent: Mapping[str, Any], generation: int) -> bool | str | None:
    """Tell whether a parent accepts the route, or why not.

    Returns:
        True when the parent accepts this generation, a sentence when it refuses it, and None when it has not processed
        it yet.
    """
    conditions = {entry["type"]: entry for entry in parent.get("conditions") or ()}
    for condition_type in ("Accepted", "ResolvedRefs"):
        condition = conditions.get(condition_type)
        if condition is None or int(condition.get("observedGeneration") or 0) < generation:
            return None
        if condition.get("status") != "True":
            name = (parent.get("parentRef") or {}).get("name")
            return (
                f"Gateway {name} reports {condition_type}={condition.get('status')} ({condition.get('reason')}): "
                f"{sentence(str(condition.get('message') or 'no message'))}"
            )
    return True


def gateway(obj: Raw) -> GatewayFacts:
    """Return the facts of a Gateway that exists."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    addresses = status.get("addresses") or ()
    reported = {entry.get("name"): entry for entry in status.get("listeners") or ()}
    return GatewayFacts(
        namespace=obj["metadata"]["namespace"],
        name=obj["metadata"]["name"],
        exists=True,
        address=addresses[0].get("value") if addresses else None,
        listeners=tuple(_listener(entry, reported.get(entry["name"]) or {}) for entry in spec.get("listeners") or ()),
        gateway_class=str(spec.get("gatewayClassName") or ""),
    )


def _listener(listener: Raw, status: Raw) -> Listener:
    allowed = listener.get("allowedRoutes") or {}
    routes = [kind.get("kind") for kind in allowed.get("kinds") or ()]
    return Listener(
        name=listener["name"],
        protocol=listener["protocol"],
        port=int(listener["port"]),
        hostname=listener.get("hostname") or None,
        namespaces="None"
        if routes and "HTTPRoute" not in routes
        else str((allowed.get("namespaces") or {}).get("from") or "Same"),
        programmed=conditions_of({"status": status}).get("Programmed", {}).get("status") != "False",
    )


def gateway_class(obj: Raw) -> GatewayClassFacts:
    """Return the facts of a GatewayClass."""
    listed = (obj.get("status") or {}).get("supportedFeatures") or ()
    return GatewayClassFacts(
        controller=str((obj.get("spec") or {}).get("controllerName") or ""),
        features=frozenset(entry["name"] if isinstance(entry, Mapping) else str(entry) for entry in listed),
    )
