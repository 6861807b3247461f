"""Where requests go: the route's traffic split, and what the Service selects.

The operator raises a weight only for a backend that is ready to carry it. A share whose backend has no ready endpoint
goes to the stable revision.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
from sluicegate.core.decide import path_claims
from sluicegate.core.decide.path_claims import allows_path
from sluicegate.core.decide.route_shift import plan_route
from sluicegate.core.plan import scaling
from sluicegate.core.plan.types import RevisionRoles, RoutePlan
from sluicegate.core.rollout import in_place
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Mirror, Split


def shifted(assessment: Assessment, roles: RevisionRoles) -> bool:
    """Tell whether only the stable revision and the candidate receive requests.

    This is judged by the observed route, Service and EndpointSlices.
    """
    if roles.stable is None or assessment.snapshot.service is None:
        return False
    if assessment.routed and assessment.snapshot.gateway_api:
        route = assessment.snapshot.route
        if route is None or not route.accepted or not route.split.weights:
            return False
        if not route.split.revisions <= {roles.stable, roles.candidate_hash}:
            return False
    if assessment.snapshot.service.revision != service_revision(assessment, roles):
        return False
    return not any(
        assessment.of(revision).listed
        for revision in assessment.snapshot.pods
        if revision not in (roles.stable, roles.candidate_hash)
    )


def candidate_weight(assessment: Assessment, roles: RevisionRoles) -> int:
    """Return the percent of the requests that the candidate can receive now.

    It is the weight that the candidate should have, once it has the pods for that weight. Until then, it is the weight
    that the candidate has. It is 0 while no pod of the candidate is able to serve.
    """
    candidate = roles.candidate
    if candidate is None or not assessment.of(candidate.revision).able:
        return 0
    desired_weight, has = candidate.share.weight, assessment.split.weight(candidate.revision)
    if desired_weight <= has or assessment.of(candidate.revision).able >= scaling.candidate_needed(
        assessment, candidate, roles.stable
    ):
        return desired_weight
    return has


def split_of(assessment: Assessment, roles: RevisionRoles) -> Split | None:
    """Return the traffic split to apply next, or None while there is no backend."""
    stable, now = roles.stable, assessment.split
    if stable is None:
        return None
    next_stable = roles.next_stable
    if (
        next_stable is not None
        and not roles.progressive
        and next_stable in now.revisions
        and assessment.of(next_stable).able
    ):
        split = _frozen(now, stable, next_stable)
    else:
        split = _with_candidate(assessment, stable, roles)
    if split.weight(stable) <= now.weight(stable):
        return split
    match next_split(_stable_gain(assessment, roles, stable, split)):
        case NextSplit.APPLY:
            return split
        case NextSplit.KEEP:
            return now
        case NextSplit.WAIT:
            return None


class NextSplit(Enum):
    """What to do with a traffic split that gives stable more requests."""

    APPLY = auto()
    KEEP = auto()
    """Keep the present split for now."""
    WAIT = auto()
    """There is no backend yet, so there is no split."""


class Serving(Enum):
    """How many of the backends in the present split are able to serve."""

    NONE = auto()
    SOME = auto()
    ALL = auto()


@dataclass(frozen=True, slots=True)
class StableGain:
    """The facts that decide whether stable may receive more requests."""

    has_endpoints: bool
    """Whether the Service of stable has endpoints."""
    able: bool
    """Whether a pod of stable is able to serve."""
    can_carry: bool
    """Whether stable has the pods for the requests, or will never get them."""
    whole: bool
    """Whether the route has a split that distributes all requests."""
    serving: Serving


def next_split(gain: StableGain) -> NextSplit:
    """Return what to do with a split that gives stable more requests, as a truth table.

    The EndpointSlices lag behind the pods. So while stable is not able and another backend serves, the split stays.
    """
    match gain:
        case StableGain(has_endpoints=False, whole=True):
            return NextSplit.KEEP
        case StableGain(has_endpoints=False):
            return NextSplit.WAIT
        case StableGain(whole=True, able=False, serving=Serving.SOME | Serving.ALL):
            return NextSplit.KEEP
        case StableGain(whole=True, can_carry=False, serving=Serving.ALL):
            return NextSplit.KEEP
        case _:
            return NextSplit.APPLY


def _stable_gain(assessment: Assessment, roles: RevisionRoles, stable: RevisionHash, next_traffic: Split) -> StableGain:
    weights = assessment.split.weights
    able = sum(1 for revision in weights if assessment.of(revision).able)
    return StableGain(
        has_endpoints=bool(assessment.of(stable).endpoints),
        able=bool(assessment.of(stable).able),
        can_carry=_can_carry(assessment, roles, next_traffic.weight(stable)),
        whole=sum(weights.values()) == 100,
        serving=Serving.NONE if able == 0 else Serving.ALL if able == len(weights) else Serving.SOME,
    )


def _frozen(now: Split, stable: RevisionHash, next_stable: RevisionHash) -> Split:
    """Return the traffic split that keeps the share of `next_stable`.

    The next stable revision is a canary that is being promoted, or a revision after its last step. It keeps its share
    until it has the pods for all requests.
    """
    share = now.weight(next_stable)
    ours = now.matched == next_stable
    return Split(
        weights=_weights({stable: 100 - share, next_stable: share}),
        matched=next_stable if ours else None,
        matches=now.matches if ours else (),
        mirror=now.mirror if now.mirror is not None and now.mirror.revision == next_stable else None,
    )


def _with_candidate(assessment: Assessment, stable: RevisionHash, roles: RevisionRoles) -> Split:
    candidate, weight = roles.candidate, candidate_weight(assessment, roles)
    if candidate is None or not assessment.of(candidate.revision).able:
        return Split(weights={stable: 100})
    has_traffic = candidate.revision in assessment.split.revisions
    able = has_traffic or assessment.of(candidate.revision).able >= scaling.candidate_needed(
        assessment, candidate, stable
    )
    matches = candidate.share.matches if able else ()
    copies = candidate.share.mirror if able else 0
    return Split(
        weights=_weights({stable: 100 - weight, candidate.revision: weight}),
        matched=candidate.revision if matches else None,
        matches=matches,
        mirror=Mirror(candidate.revision, copies) if copies else None,
    )


def _weights(shares: dict[RevisionHash, int]) -> dict[RevisionHash, int]:
    return {revision: weight for revision, weight in shares.items() if weight}


def _can_carry(assessment: Assessment, roles: RevisionRoles, share: int) -> bool:
    """Tell whether stable has the pods for a larger share, or will never get them.

    Only an autoscaled revision can lack pods here. It does not get them while its pods make room for the next stable
    revision (`whenFull: Replace`), or where one of its pods has a problem.
    """
    spec, stable = assessment.spec.scaling, roles.stable
    if in_place.replacing(assessment, roles.next_stable, stable):
        return True
    if not spec.autoscaled or assessment.of(stable).able >= scaling.carrying(assessment, spec, share):
        return True
    return any(pod.problem is not None for pod in assessment.of(stable).live)


def route_of(assessment: Assessment, roles: RevisionRoles) -> RoutePlan | None:
    """Return the route, or None while there is no backend to route to.

    Return None as well without a gateway, without the Gateway API, and while the path is not allowed or belongs to
    another resource.
    """
    snapshot = assessment.snapshot
    if not assessment.routed or not snapshot.gateway_api or snapshot.rival is not None or snapshot.route_taken:
        return None
    if not allows_path(snapshot.resource, snapshot.settings):
        return None
    split = split_of(assessment, roles)
    if split is None:
        return None
    timeout = None if lacks_timeout(assessment) else duration.seconds(assessment.spec.traffic.timeout)
    return plan_route(assessment, path_prefix(assessment), timeout, split)


def lacks_timeout(assessment: Assessment) -> bool:
    """Tell whether a gateway does not support request timeouts of an HTTPRoute.

    They are an extended feature of the Gateway API.
    """
    gateways = (*assessment.snapshot.gateways, *assessment.snapshot.former_gateways)
    return any(gateway.lacks("HTTPRouteRequestTimeout") for gateway in gateways)


def path_prefix(assessment: Assessment) -> str:
    """Return the path in front of the model's own: the user's, or /NAMESPACE/NAME."""
    return path_claims.path_prefix(assessment.snapshot.resource)


def drops_route(assessment: Assessment) -> bool:
    """Tell whether the HTTPRoute is to be deleted.

    A resource whose new path belongs to another one keeps the HTTPRoute with its old path. It loses the HTTPRoute if
    that has a path of another resource, or if the settings do not allow its path.
    """
    snapshot = assessment.snapshot
    return not assessment.routed or snapshot.route_taken or not allows_path(snapshot.resource, snapshot.settings)


def service_revision(assessment: Assessment, roles: RevisionRoles) -> RevisionHash | None:
    """Return the revision that the stable Service selects, or None for all revisions.

    The Service selects all revisions during a change of the stable revision, so that it always has endpoints. Without a
    gateway, it also selects all revisions for as long as the canary has a share.
    """
    revision = roles.stable or roles.next_stable
    if not assessment.routed and roles.stable is not None:
        if _shares_service(assessment, roles):
            return None
        if candidate_weight(assessment, roles) == 100:
            revision = roles.candidate_hash
    service = assessment.snapshot.service
    if service is None or revision is None:
        return revision
    match next_selector(_selection(assessment, roles, revision, service.revision)):
        case Selector.WANTED:
            return revision
        case Selector.OTHER:
            return service.revision
        case Selector.ALL:
            return None


class Selector(Enum):
    """The pods that the stable Service selects."""

    WANTED = auto()
    """Those of the revision that is to receive the requests."""
    OTHER = auto()
    """Those of one other revision."""
    ALL = auto()
    """Those of all revisions."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The facts that decide what the stable Service selects next."""

    now: Selector
    ready: bool
    """Whether the wanted revision has ready pods."""
    listed: bool
    """Whether the Service lists all ready pods of the wanted revision."""
    other_ready: bool
    """Whether the revision that the Service selects now has ready pods."""
    candidate_pods: bool
    """Whether a candidate has pods. While they start, they must not be selected."""
    other_pods: bool
    """Whether the selector for all revisions would also select pods of a third revision or of a next stable
    revision."""


def next_selector(selection: Selection) -> Selector:
    """Return what the stable Service selects next, as a truth table.

    The Service goes from one revision to another by way of the selector for all, so that it always has endpoints.
    """
    match selection:
        case Selection(now=Selector.WANTED):
            return Selector.WANTED
        case Selection(now=Selector.ALL, ready=True, listed=True):
            return Selector.WANTED
        case Selection(now=Selector.ALL, ready=True, candidate_pods=True):
            return Selector.WANTED
        case Selection(now=Selector.ALL):
            return Selector.ALL
        case Selection(ready=False, other_ready=True):
            return Selector.OTHER
        case Selection(ready=False):
            return Selector.WANTED
        case Selection(other_pods=True):
            return Selector.WANTED
        case _:
            return Selector.ALL


def _selection(
    assessment: Assessment, roles: RevisionRoles, desired: RevisionHash, selected: RevisionHash | None
) -> Selection:
    snapshot, ready = assessment.snapshot, assessment.of(desired).ready
    listed = snapshot.endpoints.get(snapshot.resource.metadata.name, frozenset())
    candidates = (roles.next_stable, roles.canary, roles.next_canary)
    others = (revision for revision in snapshot.pods if revision not in (selected, desired))
    return Selection(
        now=Selector.ALL if selected is None else Selector.WANTED if selected == desired else Selector.OTHER,
        ready=bool(ready),
        listed=ready <= listed,
        other_ready=bool(assessment.of(selected).ready),
        candidate_pods=any(assessment.of(revision).live for revision in candidates),
        other_pods=roles.next_stable is not None or any(assessment.of(revision).live for revision in others),
    )


def _shares_service(assessment: Assessment, roles: RevisionRoles) -> bool:
    """Tell whether the stable revision shares the Service with the candidate, or with a canary that is being promoted.

    They may only while no other revision has pods that the Service would select.
    """
    partner = roles.candidate_hash if 0 < candidate_weight(assessment, roles) < 100 else _promoted(assessment, roles)
    if partner is None or not assessment.of(roles.stable).ready:
        return False
    live = {revision for revision in assessment.snapshot.pods if assessment.of(revision).live}
    return live <= {roles.stable, partner}


def _promoted(assessment: Assessment, roles: RevisionRoles) -> RevisionHash | None:
    """Return the next stable revision if it was the canary and still receives requests by the Service.

    As by a route (see `_frozen`), it goes on receiving them until it has the pods for all requests.
    """
    service, next_stable = assessment.snapshot.service, assessment.of(roles.next_stable)
    if roles.candidate is not None or service is None or service.revision is not None:
        return None
    return next_stable.hash if next_stable.listed and next_stable.able and not next_stable.incompatible else None
