"""Where requests go: the route's traffic split, and what the Service selects.

The operator raises a weight only for a backend that is ready to carry it. A share whose backend has no ready endpoint
goes to the stable revision.
"""

from __future__ import annotations

from sluicegate.api import duration
from sluicegate.api.names import RevisionHash
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
        assessment.of(each).listed
        for each in assessment.snapshot.pods
        if each not in (roles.stable, roles.candidate_hash)
    )


def candidate_weight(assessment: Assessment, roles: RevisionRoles) -> int:
    """Return the percent of the requests that the candidate can receive now.

    It is the weight that the candidate should have, once it has the pods for that weight. Until then, it is the weight
    that the candidate has. It is 0 while no pod of the candidate is able to serve.
    """
    candidate = roles.candidate
    if candidate is None or not assessment.of(candidate.revision).able:
        return 0
    wanted, has = candidate.share.weight, assessment.split.weight(candidate.revision)
    if wanted <= has or assessment.of(candidate.revision).able >= scaling.candidate_needed(
        assessment, candidate, roles.stable
    ):
        return wanted
    return has


def split_of(assessment: Assessment, roles: RevisionRoles) -> Split | None:
    """Return the traffic split to apply next, or None while there is no backend."""
    stable, now = roles.stable, assessment.split
    if stable is None:
        return None
    target = roles.target
    if target is not None and not roles.progressive and target in now.revisions and assessment.of(target).able:
        wanted = _frozen(now, stable, target)
    else:
        wanted = _with_candidate(assessment, stable, roles)
    whole = sum(now.weights.values()) == 100
    if wanted.weight(stable) > now.weight(stable):
        if not assessment.snapshot.endpoints.get(assessment.snapshot.child(stable)):
            return now if whole else None
        able = [each for each in now.weights if assessment.of(each).able]
        if whole and able and not assessment.of(stable).able:
            return now  # The EndpointSlices lag behind the pods, and another revision serves.
        serving = whole and len(able) == len(now.weights)
        if serving and not _can_carry(assessment, roles, wanted.weight(stable)):
            return now
    return wanted


def _frozen(now: Split, stable: RevisionHash, target: RevisionHash) -> Split:
    """Return the traffic split that keeps the share of `target`.

    The target is a canary that is being promoted, or a revision after its last step. It keeps its share until it has
    the pods for all requests.
    """
    share = now.weight(target)
    ours = now.matched == target
    return Split(
        weights=_weights({stable: 100 - share, target: share}),
        matched=target if ours else None,
        matches=now.matches if ours else (),
        mirror=now.mirror if now.mirror is not None and now.mirror.revision == target else None,
    )


def _with_candidate(assessment: Assessment, stable: RevisionHash, roles: RevisionRoles) -> Split:
    candidate, weight = roles.candidate, candidate_weight(assessment, roles)
    if candidate is None or not assessment.of(candidate.revision).able:
        return Split(weights={stable: 100})
    known = candidate.revision in assessment.split.revisions
    able = known or assessment.of(candidate.revision).able >= scaling.candidate_needed(assessment, candidate, stable)
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

    Only an autoscaled revision can lack pods here. It does not get them while its pods make room for the target
    (`whenFull: Replace`), or where one of its pods has a problem.
    """
    spec, stable = assessment.spec.scaling, roles.stable
    if in_place.replacing(assessment, roles.target, stable):
        return True
    if not spec.autoscaled or assessment.of(stable).able >= scaling.carrying(assessment, spec, share):
        return True
    return any(pod.problem is not None for pod in assessment.of(stable).live)


def route_of(assessment: Assessment, roles: RevisionRoles) -> RoutePlan | None:
    """Return the route, or None while there is no backend to route to.

    Return None as well without a gateway, without the Gateway API, and while an older resource claims the same host and
    path.
    """
    if not assessment.routed or not assessment.snapshot.gateway_api or assessment.snapshot.rival is not None:
        return None
    split = split_of(assessment, roles)
    if split is None:
        return None
    traffic, defaults = assessment.spec.traffic, assessment.snapshot.settings.gateway
    return RoutePlan(
        parent_refs=traffic.gateway.parent_refs or defaults.parent_refs,
        hostnames=traffic.gateway.hostnames or defaults.hostnames,
        path_prefix=path_prefix(assessment),
        timeout_seconds=None if lacks_timeout(assessment) else duration.seconds(traffic.timeout),
        split=split,
    )


def lacks_timeout(assessment: Assessment) -> bool:
    """Tell whether a gateway does not support request timeouts of an HTTPRoute.

    They are an extended feature of the Gateway API.
    """
    return any(gateway.lacks("HTTPRouteRequestTimeout") for gateway in assessment.snapshot.gateways)


def path_prefix(assessment: Assessment) -> str:
    """Return the path in front of the model's own: the user's, or /NAMESPACE/NAME."""
    metadata = assessment.snapshot.resource.metadata
    return assessment.spec.traffic.gateway.path_prefix or f"/{metadata.namespace}/{metadata.name}"


def service_revision(assessment: Assessment, roles: RevisionRoles) -> RevisionHash | None:
    """Return the revision that the stable Service selects, or None for all revisions.

    The Service selects all revisions during a change of the stable revision, so that it always has endpoints. Without a
    gateway, it also selects all revisions for as long as the canary has a share.
    """
    wanted = roles.stable or roles.target
    if not assessment.routed and roles.stable is not None:
        if _shares_service(assessment, roles):
            return None
        if candidate_weight(assessment, roles) == 100:
            wanted = roles.candidate_hash
    if assessment.snapshot.service is None or assessment.snapshot.service.revision == wanted or wanted is None:
        return wanted
    now = assessment.snapshot.service.revision
    ready = assessment.of(wanted).ready
    if now is None:
        listed = assessment.snapshot.endpoints.get(assessment.snapshot.resource.metadata.name, frozenset())
        candidate = (roles.target, roles.canary, roles.next_canary)
        # A selector for all revisions would send requests to pods that are starting.
        starting = any(assessment.of(each).live for each in candidate)
        return wanted if ready and (ready <= listed or starting) else None
    if not ready:
        return now if assessment.of(now).ready else wanted
    unrouted = any(
        assessment.of(revision).live for revision in assessment.snapshot.pods if revision not in (now, wanted)
    )
    return wanted if unrouted or roles.target is not None else None


def _shares_service(assessment: Assessment, roles: RevisionRoles) -> bool:
    """Tell whether the stable revision and the candidate may share the Service.

    They may only while no other revision has pods that the Service would select.
    """
    if not 0 < candidate_weight(assessment, roles) < 100 or not assessment.of(roles.stable).ready:
        return False
    live = {revision for revision in assessment.snapshot.pods if assessment.of(revision).live}
    return live <= {roles.stable, roles.candidate_hash}
