"""Where requests go: the route's split, and what the stable Service selects.

A weight only ever rises on a backend that is ready to carry it; a share whose backend has no ready endpoint goes to stable.
"""

from __future__ import annotations

from sluicegate.api import duration, names
from sluicegate.core.plan import scaling
from sluicegate.core.plan.types import Lineup, RoutePlan
from sluicegate.core.rollout import in_place
from sluicegate.core.snapshot.facts import Mirror, Snapshot, Split


def released(snapshot: Snapshot, revision: str) -> bool:
    """Whether every way in has let go of `revision`, as observed."""
    route = snapshot.route if snapshot.routed and snapshot.gateway_api else None
    if route is not None and (not route.accepted or revision in route.split.revisions):
        return False
    if snapshot.service is None or snapshot.service.revision in (None, revision):
        return False
    return not listed(snapshot, revision)


def listed(snapshot: Snapshot, revision: str) -> bool:
    """Whether the Service sends requests to pods of `revision`, whatever it selects by now: its slices lag behind."""
    pods = snapshot.endpoints.get(snapshot.resource.metadata.name, frozenset())
    return bool(pods & {pod.name for pod in snapshot.pods.get(revision, ())})


def shifted(snapshot: Snapshot, lineup: Lineup) -> bool:
    """Whether nothing but stable and the revision beside it gets requests, as observed."""
    if lineup.stable is None or snapshot.service is None:
        return False
    if snapshot.routed and snapshot.gateway_api:
        route = snapshot.route
        if route is None or not route.accepted or not route.split.weights:
            return False
        if not route.split.revisions <= {lineup.stable, lineup.sharing}:
            return False
    if snapshot.service.revision != service_revision(snapshot, lineup):
        return False
    return not any(listed(snapshot, each) for each in snapshot.pods if each not in (lineup.stable, lineup.sharing))


def weight_beside(snapshot: Snapshot, lineup: Lineup) -> int:
    """Percent of the requests that the revision beside stable can have now, on the way to what it should have."""
    beside = lineup.beside
    if beside is None or not snapshot.able_pods(beside.revision):
        return 0
    wanted, has = beside.share.weight, snapshot.split.weight(beside.revision)
    if wanted <= has or snapshot.able_pods(beside.revision) >= scaling.needed_beside(snapshot, beside, lineup.stable):
        return wanted
    return has


def split_of(snapshot: Snapshot, lineup: Lineup) -> Split | None:
    """The split to ask for next; None while there is nothing to route to."""
    stable, now = lineup.stable, snapshot.split
    if stable is None:
        return None
    if not lineup.stepped and lineup.target in now.revisions and snapshot.able_pods(lineup.target):
        wanted = _frozen(now, stable, lineup.target or "")
    else:
        wanted = _with_beside(snapshot, stable, lineup)
    whole = sum(now.weights.values()) == 100
    if wanted.weight(stable) > now.weight(stable):
        if not snapshot.endpoints.get(names.child_name(snapshot.resource.metadata.name, stable)):
            return now if whole else None
        able = [each for each in now.weights if snapshot.able_pods(each)]
        if whole and able and not snapshot.able_pods(stable):
            return now  # the slices lag behind its pods, and somebody else answers
        serving = whole and len(able) == len(now.weights)
        if serving and not _can_carry(snapshot, lineup, wanted.weight(stable)):
            return now
    return wanted


def _frozen(now: Split, stable: str, target: str) -> Split:
    """A canary that is being promoted, or a target behind its last step, keeps its share until it has the pods for all of it."""
    share = now.weight(target)
    ours = now.matched == target
    return Split(
        weights=_weights({stable: 100 - share, target: share}),
        matched=target if ours else None,
        matches=now.matches if ours else (),
        mirror=now.mirror if now.mirror is not None and now.mirror.revision == target else None,
    )


def _with_beside(snapshot: Snapshot, stable: str, lineup: Lineup) -> Split:
    beside, weight = lineup.beside, weight_beside(snapshot, lineup)
    if beside is None or not snapshot.able_pods(beside.revision):
        return Split(weights={stable: 100})
    known = beside.revision in snapshot.split.revisions
    able = known or snapshot.able_pods(beside.revision) >= scaling.needed_beside(snapshot, beside, stable)
    matches = beside.share.matches if able else ()
    copies = beside.share.mirror if able else 0
    return Split(
        weights=_weights({stable: 100 - weight, beside.revision: weight}),
        matched=beside.revision if matches else None,
        matches=matches,
        mirror=Mirror(beside.revision, copies) if copies else None,
    )


def _weights(shares: dict[str, int]) -> dict[str, int]:
    return {revision: weight for revision, weight in shares.items() if weight}


def _can_carry(snapshot: Snapshot, lineup: Lineup, share: int) -> bool:
    """Whether an autoscaled stable revision has the pods for a larger share, or will not get them: it makes way for others, or they fail."""
    spec, stable = snapshot.resource.spec.scaling, lineup.stable
    if in_place.replacing(snapshot, lineup.target, stable):
        return True
    if not spec.autoscaled or snapshot.able_pods(stable) >= scaling.carrying(snapshot, spec, share):
        return True
    return any(pod.problem is not None for pod in snapshot.live_pods(stable))


def route_of(snapshot: Snapshot, lineup: Lineup) -> RoutePlan | None:
    """The route, once there is something to route to."""
    if not snapshot.routed or not snapshot.gateway_api or snapshot.rival is not None:
        return None
    split = split_of(snapshot, lineup)
    if split is None:
        return None
    traffic, defaults = snapshot.resource.spec.traffic, snapshot.settings.gateway
    return RoutePlan(
        parent_refs=traffic.gateway.parent_refs or defaults.parent_refs,
        hostnames=traffic.gateway.hostnames or defaults.hostnames,
        path_prefix=path_prefix(snapshot),
        timeout_seconds=None if lacks_timeout(snapshot) else duration.seconds(traffic.timeout),
        split=split,
    )


def lacks_timeout(snapshot: Snapshot) -> bool:
    """Whether a gateway does not support HTTPRoute's request timeout, an extended feature of the Gateway API."""
    return any(gateway.lacks("HTTPRouteRequestTimeout") for gateway in snapshot.gateways)


def path_prefix(snapshot: Snapshot) -> str:
    """The path in front of the model's own: the user's, or /NAMESPACE/NAME."""
    metadata = snapshot.resource.metadata
    return snapshot.resource.spec.traffic.gateway.path_prefix or f"/{metadata.namespace}/{metadata.name}"


def service_revision(snapshot: Snapshot, lineup: Lineup) -> str | None:
    """Which revision the stable Service selects; None selects the pods of all.

    It is widened over a change of the stable revision, so that there is never a moment without endpoints, and without a
    gateway for as long as the canary has a share.
    """
    wanted = lineup.stable or lineup.target
    if not snapshot.routed and lineup.stable is not None:
        if _shares_service(snapshot, lineup):
            return None
        if weight_beside(snapshot, lineup) == 100:
            wanted = lineup.sharing
    if snapshot.service is None or snapshot.service.revision == wanted or wanted is None:
        return wanted
    now = snapshot.service.revision
    ready = snapshot.ready_pods(wanted)
    if now is None:
        listed = snapshot.endpoints.get(snapshot.resource.metadata.name, frozenset())
        beside = (lineup.target, lineup.canary, lineup.next_canary)
        starting = any(snapshot.live_pods(each) for each in beside)  # a wide selector would send them requests
        return wanted if ready and (ready <= listed or starting) else None
    if not ready:
        return now if snapshot.ready_pods(now) else wanted
    unrouted = any(snapshot.live_pods(revision) for revision in snapshot.pods if revision not in (now, wanted))
    return wanted if unrouted or lineup.target is not None else None


def _shares_service(snapshot: Snapshot, lineup: Lineup) -> bool:
    """Whether stable and the revision beside it may share the Service: only while no other revision has pods that it would select."""
    if not 0 < weight_beside(snapshot, lineup) < 100 or not snapshot.ready_pods(lineup.stable):
        return False
    live = {revision for revision in snapshot.pods if snapshot.live_pods(revision)}
    return live <= {lineup.stable, lineup.sharing}
