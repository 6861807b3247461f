"""Who a host and a path of a Gateway belong to: the resource that claimed them first.

A resource claims what its spec asks for, and what its HTTPRoute in the cluster has. Two claims overlap on one Gateway
if they have a host name in common, and if one path prefix is a prefix of the other. This holds across namespaces, and
for default paths (/NAMESPACE/NAME) as for others. Within one namespace, only equal prefixes overlap: its users divide
their paths, and a Gateway sends a request to the longest prefix. `first_is_other` has the rule that decides who was
first. It uses nothing but the objects in the cluster, so a restart of the operator changes no owner of a path.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

from sluicegate.api.resource import Key, ModelDeployment
from sluicegate.api.traffic import ParentRef
from sluicegate.config.settings import Settings
from sluicegate.core.decide.route_shift import common_hostname, listeners
from sluicegate.core.snapshot.facts import GatewayFacts, Rival, RouteFacts


@dataclass(frozen=True, slots=True)
class Claim:
    """Host names and path prefixes on one Gateway."""

    gateway: Key
    hostnames: frozenset[str]
    """When empty, all host names."""
    prefixes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Claimant:
    """A resource, and the paths that it claims."""

    key: Key
    created: str | None
    """The creationTimestamp. None, which is later than any, for a resource that is not in the cluster yet and for an
    HTTPRoute whose ModelDeployment is not known."""
    wanted: tuple[Claim, ...] = ()
    """What the spec asks for."""
    held: tuple[Claim, ...] = ()
    """What the HTTPRoute in the cluster has, whether or not its Gateways accept it. A route that is refused for a while
    must not lose its path."""

    @property
    def prefixes(self) -> frozenset[str]:
        """Return all path prefixes of the claims."""
        return frozenset(prefix for claim in (*self.wanted, *self.held) for prefix in claim.prefixes)

    @property
    def waits(self) -> bool:
        """Whether a part of what the spec asks for has no route yet."""
        return any(claim not in self.held for claim in self.wanted)

    @property
    def gateways(self) -> frozenset[Key]:
        """Return all Gateways of the claims."""
        return frozenset(claim.gateway for claim in (*self.wanted, *self.held))


@dataclass(frozen=True, slots=True)
class Contest:
    """The facts that decide who a path belongs to that two resources claim."""

    mine_routed: bool
    """Whether the HTTPRoute of this resource has it now."""
    other_routed: bool
    """Whether the HTTPRoute of the other resource has it now."""
    other_older: bool
    """Whether the other resource has the earlier creationTimestamp, or the same one and the lower namespace and
    name."""


def first_is_other(contest: Contest) -> bool:
    """Tell whether the path belongs to the other resource, as a truth table.

    What is already routed keeps its path. Between two that are routed, or two that are not, the older resource is
    first.
    """
    match contest:
        case Contest(mine_routed=False, other_routed=True):
            return True
        case Contest(mine_routed=True, other_routed=False):
            return False
        case _:
            return contest.other_older


def claimant(
    key: Key,
    resource: ModelDeployment | None,
    route: RouteFacts | None,
    gateway: Callable[[str, str], GatewayFacts],
    settings: Settings,
) -> Claimant:
    """Return a resource with its claims.

    Args:
        key: Namespace and name of the resource, and of its HTTPRoute.
        resource: The resource, or None if it is not known. Its HTTPRoute may still be there.
        route: The HTTPRoute in the cluster, if any.
        gateway: Returns the facts of a Gateway, by namespace and name.
        settings: The operator's settings.
    """
    held: tuple[Claim, ...] = ()
    if route is not None:
        refs = [parent.ref for parent in route.parents]
        held = _claims(refs, key[0], route.hostnames, route.path_prefixes, gateway)
    wanted: tuple[Claim, ...] = ()
    leaving = resource is None or resource.metadata.deletion_timestamp is not None
    if resource is not None and not leaving and allows_path(resource, settings):
        spec = resource.spec.traffic.gateway
        refs = [*(spec.parent_refs or settings.gateway.parent_refs)]
        hostnames = spec.hostnames or settings.gateway.hostnames
        wanted = _claims(refs, key[0], hostnames, (path_prefix(resource),), gateway)
    return Claimant(
        key=key,
        created=(resource.metadata.creation_timestamp or None) if resource is not None else None,
        wanted=wanted,
        held=held,
    )


def rival(
    mine: Claimant,
    region: Iterable[Claim],
    others: Iterable[Claimant],
    blocked: Callable[[Claimant], bool] = lambda _: False,
) -> Rival | None:
    """Return the resource that a part of `region` belongs to, or None if no other resource was first.

    Args:
        mine: The resource.
        region: Some of its claims.
        others: The other resources. Those without an overlap are allowed.
        blocked: Tells whether another resource gets no route, because a part of its path is routed to a third one. Such
            a resource blocks no other. Otherwise a resource that claims `/` without a route would block every path.
    """
    region = tuple(region)
    for other in sorted(others, key=_age):
        overlap = _overlap(mine, other)
        contested = overlap(other.wanted, region)
        used = overlap(other.held, region)
        contest = Contest(
            mine_routed=bool(overlap(mine.held, contested)),
            other_routed=bool(overlap(other.held, contested)),
            other_older=_age(other) < _age(mine),
        )
        # A path that the other one is leaving is free for the one that has it too.
        left = bool(used) and not overlap(mine.held, used)
        first = bool(contested) and first_is_other(contest) and (contest.other_routed or not blocked(other))
        if first or left:
            return Rival("/".join(other.key), sorted((contested or used)[0].prefixes)[0])
    return None


def routed_elsewhere(mine: Claimant, other: Claimant) -> bool:
    """Tell whether a part of what `mine` wants is routed to `other` and not to `mine`."""
    overlap = _overlap(mine, other)
    used = overlap(other.held, mine.wanted)
    return bool(used) and not overlap(mine.held, used)


def _overlap(mine: Claimant, other: Claimant) -> Callable[[Iterable[Claim], Iterable[Claim]], tuple[Claim, ...]]:
    """Return the function that computes what the claims of two resources have in common."""
    return overlaps if mine.key[0] != other.key[0] else partial(overlaps, nested=False)


def path_prefix(resource: ModelDeployment) -> str:
    """Return the path in front of the model's own: the user's, or /NAMESPACE/NAME."""
    metadata = resource.metadata
    return resource.spec.traffic.gateway.path_prefix or f"/{metadata.namespace}/{metadata.name}"


def allows_path(resource: ModelDeployment, settings: Settings) -> bool:
    """Tell whether the settings allow the path prefix of a resource."""
    own = f"/{resource.metadata.namespace}"
    return not settings.gateway.confine_to_namespace or _covers(own, normalized(path_prefix(resource)))


def normalized(prefix: str) -> str:
    """Return a path prefix without escapes and dot segments, as some gateways compare it."""
    return posixpath.normpath(unquote(prefix))


def ancestors(prefix: str) -> tuple[str, ...]:
    """Return the shorter path prefixes that cover a normalized one, such as `/` and `/a` for `/a/b`."""
    parts = prefix.split("/")[1:]
    return () if prefix == "/" else ("/", *("/" + "/".join(parts[:length]) for length in range(1, len(parts))))


def overlaps(first: Iterable[Claim], second: Iterable[Claim], *, nested: bool = True) -> tuple[Claim, ...]:
    """Return what two lists of claims have in common.

    Args:
        first: Some claims.
        second: Other claims.
        nested: Whether a prefix overlaps the prefixes below it. Otherwise, it overlaps only an equal one.
    """
    second = tuple(second)
    common = (_common(one, other, nested) for one in first for other in second)
    return tuple(claim for claim in common if claim is not None)


def _common(first: Claim, second: Claim, nested: bool) -> Claim | None:
    if first.gateway != second.gateway:
        return None
    hostnames = first.hostnames or second.hostnames
    if first.hostnames and second.hostnames:
        pairs = (common_hostname(one, other) for one in first.hostnames for other in second.hostnames)
        hostnames = frozenset(name for name in pairs if name is not None)
        if not hostnames:
            return None
    prefixes = frozenset(
        max(one, other, key=len)
        for one in first.prefixes
        for other in second.prefixes
        if one == other or (nested and (_covers(one, other) or _covers(other, one)))
    )
    return Claim(first.gateway, hostnames, prefixes) if prefixes else None


def _covers(short: str, long: str) -> bool:
    """Tell whether every path below `long` is below `short` too."""
    return short in ("/", long) or long.startswith(f"{short}/")


def _claims(
    refs: Iterable[ParentRef],
    namespace: str,
    hostnames: tuple[str, ...],
    prefixes: Iterable[str],
    gateway: Callable[[str, str], GatewayFacts],
) -> tuple[Claim, ...]:
    paths = frozenset(map(normalized, prefixes))
    claims = []
    for ref in refs:
        key = _gateway_of(ref, namespace)
        names = frozenset(hostnames) or _listener_hostnames(gateway(*key), ref, namespace)
        claims.append(Claim(key, names, paths))
    return tuple(dict.fromkeys(claims)) if paths else ()


def _listener_hostnames(gateway: GatewayFacts, ref: ParentRef, namespace: str) -> frozenset[str]:
    """Return the host names of a route without any, or an empty set for all."""
    names = [listener.hostname for listener in listeners(gateway, ref, namespace)]
    return frozenset(name for name in names if name is not None) if None not in names else frozenset()


def _gateway_of(ref: ParentRef, namespace: str) -> Key:
    return (ref.namespace or namespace, ref.name)


def _age(resource: Claimant) -> tuple[bool, str, Key]:
    return (resource.created is None, resource.created or "", resource.key)
