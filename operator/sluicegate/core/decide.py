"""The decision: what should be true next, given everything that is known.

Level-triggered: nothing is remembered but what status records (who is stable, since when the traffic has moved), so the
same snapshot always gives the same plan, and a plan that has come true gives itself again. The order of a change is the one that
loses no request: scale up, Ready, listed in EndpointSlices, route accepted, Service moved, delay, scale down.
"""

from __future__ import annotations

from datetime import datetime

from sluicegate.api import duration, names
from sluicegate.api.status import Role
from sluicegate.core import scaling
from sluicegate.core.facts import Revision, Snapshot
from sluicegate.core.observe import time_of
from sluicegate.core.plan import Fixed, Plan, RevisionPlan, RoutePlan


def decide(snapshot: Snapshot) -> Plan:
    """The plan for one resource."""
    stable, pending = _promote(snapshot, stable_of(snapshot), _wanted(snapshot))
    if stable is None and pending is None:
        return Plan(stable=None, target=None, revisions=_parked(snapshot, ()), recheck_after=None)
    if pending == stable:
        pending = None
    shifted = stable is not None and _all_traffic_on(snapshot, stable)
    delay_left = _delay_left(snapshot, stable) if shifted else None
    live = _serving(snapshot, stable, pending)
    if stable is None or delay_left != 0:
        leaving = _leaving(snapshot, stable, pending)
        live += leaving[:1] if shifted else leaving
    parked = _parked(snapshot, tuple(entry.hash for entry in live))
    forgotten = _forgotten(snapshot, parked, live, released=delay_left == 0)
    return Plan(
        stable=stable,
        target=pending,
        revisions=live + tuple(entry for entry in parked if entry.hash not in forgotten),
        has_service=True,
        service_revision=_service_revision(snapshot, stable, pending),
        route=_route(snapshot, stable),
        drop_route=not snapshot.gateways,
        forgotten=forgotten,
        shifted=shifted,
        recheck_after=_soonest(
            delay_left or None, _deadline_left(snapshot, pending), scaling.patience_left(snapshot, stable)
        ),
    )


def stable_of(snapshot: Snapshot) -> str | None:
    """The revision that serves: as status says, or as the Service shows where the status was lost."""
    for entry in snapshot.resource.status.revisions:
        if entry.role == Role.STABLE and entry.revision in snapshot.revisions:
            return entry.revision
    if not snapshot.resource.status.revisions and snapshot.service is not None:
        found = snapshot.service.revision
        if found in snapshot.revisions and snapshot.ready_pods(found):
            return found
    return None


def _wanted(snapshot: Snapshot) -> str | None:
    """The revision that is to serve, if it can be made: the spec's, or while paused the one already under way."""
    if snapshot.resource.spec.paused:
        rollout = snapshot.resource.status.rollout
        under_way = rollout.target if rollout is not None else None
        return under_way if under_way in snapshot.revisions else None
    return snapshot.target.revision


def _promote(snapshot: Snapshot, stable: str | None, wanted: str | None) -> tuple[str | None, str | None]:
    """(stable, pending) after promoting `wanted`, if it is able to carry the traffic."""
    if wanted is None or wanted == stable or snapshot.resource.spec.paused:
        return stable, wanted
    listed = snapshot.endpoints.get(names.child_name(snapshot.resource.metadata.name, wanted), frozenset())
    able = len(listed & snapshot.ready_pods(wanted)) >= scaling.needed(snapshot, wanted, stable)
    made = wanted in snapshot.revisions and wanted in snapshot.deployments
    return (wanted, None) if able and made and not _crowded(snapshot, stable, wanted) else (stable, wanted)


def _crowded(snapshot: Snapshot, stable: str | None, wanted: str) -> bool:
    """Whether the last change is still on its way, so that one more would leave ever more revisions with pods behind."""
    leaving = {
        entry.revision
        for entry in snapshot.resource.status.revisions
        if entry.role == Role.RETIRING and snapshot.live_pods(entry.revision)
    }
    return stable is not None and bool(leaving) and wanted not in leaving and not _all_traffic_on(snapshot, stable)


def _all_traffic_on(snapshot: Snapshot, stable: str) -> bool:
    """Whether every way in has let go of all other revisions, as observed."""
    name = snapshot.resource.metadata.name
    if snapshot.gateways and snapshot.gateway_api:
        route = snapshot.route
        if route is None or not route.accepted or route.weights != {stable: 100}:
            return False
    if snapshot.service is None or snapshot.service.revision != stable:
        return False
    others = {pod.name for revision, pods in snapshot.pods.items() if revision != stable for pod in pods}
    return not (snapshot.endpoints.get(name, frozenset()) & others)


def shifted_since(snapshot: Snapshot, stable: str | None) -> datetime | None:
    """When the traffic had wholly moved to `stable`, as status recorded it."""
    status = snapshot.resource.status
    same = any(entry.role == Role.STABLE and entry.revision == stable for entry in status.revisions)
    return time_of(status.rollout.shifted_at) if same and status.rollout is not None else None


def _delay_left(snapshot: Snapshot, stable: str | None) -> float:
    """Seconds of scaleDownDelay that are left, once the traffic has moved."""
    since = shifted_since(snapshot, stable) or snapshot.now
    delay = duration.seconds(snapshot.resource.spec.rollout.scale_down_delay)
    return max(0.0, delay - (snapshot.now - since).total_seconds())


def started_at(snapshot: Snapshot, target: str) -> datetime:
    """When `target` became the one that is to take over."""
    rollout = snapshot.resource.status.rollout
    if rollout is not None and rollout.target == target:
        return time_of(rollout.started_at) or snapshot.now
    return snapshot.now


def _deadline_left(snapshot: Snapshot, pending: str | None) -> float | None:
    if pending is None or snapshot.resource.spec.paused:
        return None
    deadline = duration.seconds(snapshot.resource.spec.rollout.progress_deadline)
    left = deadline - (snapshot.now - started_at(snapshot, pending)).total_seconds()
    return left if left > 0 else None


def _soonest(*seconds: float | None) -> float | None:
    return min((each for each in seconds if each is not None), default=None)


def _serving(snapshot: Snapshot, stable: str | None, pending: str | None) -> tuple[RevisionPlan, ...]:
    """Stable and target."""
    plans = []
    if stable is not None:
        plans.append(
            RevisionPlan(
                stable, Role.STABLE, scaling.scale_of(snapshot, stable, None), new=stable not in snapshot.revisions
            )
        )
    if pending is not None:
        scale = scaling.scale_of(snapshot, pending, stable)
        plans.append(RevisionPlan(pending, Role.TARGET, scale, new=pending not in snapshot.revisions))
    return tuple(plans)


def _leaving(snapshot: Snapshot, stable: str | None, pending: str | None) -> tuple[RevisionPlan, ...]:
    """The revisions that the traffic is still leaving, or has just left; the one that served last comes first."""
    recorded = snapshot.resource.status.revisions
    served = [entry.revision for entry in recorded if entry.role in (Role.STABLE, Role.RETIRING)]
    known = [each for each in served if each in snapshot.revisions]
    for revision in _by_number(snapshot):
        if revision.hash not in known and _has_traffic(snapshot, revision.hash) and snapshot.ready_pods(revision.hash):
            known.append(revision.hash)
    return tuple(
        RevisionPlan(each, Role.RETIRING, scaling.scale_of(snapshot, each, None))
        for each in known
        if each not in (stable, pending) and snapshot.pods.get(each)
    )


def _has_traffic(snapshot: Snapshot, revision: str) -> bool:
    in_route = snapshot.route is not None and snapshot.route.weights.get(revision, 0) > 0
    return in_route or (snapshot.service is not None and snapshot.service.revision in (revision, None))


def _by_number(snapshot: Snapshot) -> list[Revision]:
    return sorted(snapshot.revisions.values(), key=lambda revision: -revision.number)


def _parked(snapshot: Snapshot, live: tuple[str, ...]) -> tuple[RevisionPlan, ...]:
    return tuple(
        RevisionPlan(revision.hash, Role.PARKED, Fixed(0))
        for revision in _by_number(snapshot)
        if revision.hash not in live
    )


def _forgotten(
    snapshot: Snapshot, parked: tuple[RevisionPlan, ...], live: tuple[RevisionPlan, ...], released: bool
) -> tuple[str, ...]:
    """Parked revisions beyond the limit, once drained, and Deployments whose ControllerRevision is gone.

    The latter cannot be rendered any more, so nothing scales them down: they go whole, once no traffic can be on them.
    """
    limit = snapshot.resource.spec.rollout.history_limit
    beyond = {entry.hash for entry in parked[limit:]}
    orphans = set(snapshot.deployments) - set(snapshot.revisions) - {entry.hash for entry in live}
    drained = {each for each in beyond | orphans if not snapshot.ready_pods(each)}
    return tuple(sorted(drained | orphans if released else drained))


def _service_revision(snapshot: Snapshot, stable: str | None, pending: str | None) -> str | None:
    """Which revision the stable Service selects; None widens it over the change, so that there is never a moment without endpoints."""
    wanted = stable or pending
    if snapshot.service is None or snapshot.service.revision == wanted or wanted is None:
        return wanted
    now = snapshot.service.revision
    ready = snapshot.ready_pods(wanted)
    if now is None:
        listed = snapshot.endpoints.get(snapshot.resource.metadata.name, frozenset())
        starting = pending is not None and snapshot.live_pods(pending)  # a wide selector would send them requests
        return wanted if ready and (ready <= listed or starting) else None
    if not ready:
        return now if snapshot.ready_pods(now) else wanted
    unrouted = any(snapshot.live_pods(revision) for revision in snapshot.pods if revision not in (now, wanted))
    return wanted if unrouted or pending is not None else None


def _route(snapshot: Snapshot, stable: str | None) -> RoutePlan | None:
    """The route, once there is something to route to; a weight only ever moves to a backend with ready endpoints."""
    if not snapshot.gateways or not snapshot.gateway_api or snapshot.rival is not None or stable is None:
        return None
    metadata, traffic = snapshot.resource.metadata, snapshot.resource.spec.traffic
    current = dict(snapshot.route.weights) if snapshot.route is not None else {}
    weights = {stable: 100}
    if current != weights and not snapshot.endpoints.get(names.child_name(metadata.name, stable)):
        weights = current
    if sum(weights.values()) != 100:
        return None
    defaults = snapshot.settings.gateway
    return RoutePlan(
        parent_refs=traffic.gateway.parent_refs or defaults.parent_refs,
        hostnames=traffic.gateway.hostnames or defaults.hostnames,
        path_prefix=path_prefix(snapshot),
        timeout_seconds=None if lacks_timeout(snapshot) else duration.seconds(traffic.timeout),
        weights=weights,
    )


def lacks_timeout(snapshot: Snapshot) -> bool:
    """Whether a gateway does not support HTTPRoute's request timeout, an extended feature of the Gateway API."""
    return any(gateway.lacks("HTTPRouteRequestTimeout") for gateway in snapshot.gateways)


def path_prefix(snapshot: Snapshot) -> str:
    """The path in front of the model's own: the user's, or /NAMESPACE/NAME."""
    metadata = snapshot.resource.metadata
    return snapshot.resource.spec.traffic.gateway.path_prefix or f"/{metadata.namespace}/{metadata.name}"
