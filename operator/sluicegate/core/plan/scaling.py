"""How many pods each revision should have, and who owns that number."""

from __future__ import annotations

import math

from sluicegate.api.spec import ScalingSpec
from sluicegate.core.plan.share import Candidate
from sluicegate.core.plan.types import Autoscaled, Fixed, Scale
from sluicegate.core.snapshot.facts import Snapshot

AUTOSCALER_PATIENCE = 60.0
"""Seconds that an HPA may be without metrics: a new pod has none until metrics-server has seen it twice."""


def needed(snapshot: Snapshot, revision: str, predecessor: str | None) -> int:
    """Ready pods that `revision` needs before it may take over from `predecessor`.

    A revision that takes over from a larger one is first scaled to carry what that one carries, because promotion at
    minReplicas under peak load is an outage (flagger#1209). The very first revision may serve with one pod: there is
    nothing better to wait for.
    """
    spec = snapshot.resource.spec.scaling
    if predecessor is None or predecessor == revision:
        return min(1, _fixed(spec)) if not spec.autoscaled else 1
    return carrying(snapshot, spec, 100) if spec.autoscaled else _fixed(spec)


def candidate_needed(snapshot: Snapshot, candidate: Candidate, stable: str | None) -> int:
    """Ready pods that a revision beside `stable` needs before its share may grow."""
    if not snapshot.routed:
        shared = snapshot.service is not None and snapshot.service.revision is None
        return 1 if shared else max(1, by_ratio(snapshot, candidate, stable))
    if candidate.scaling.autoscaled:
        return carrying(snapshot, candidate.scaling, candidate.share.load)
    return max(1, _part(candidate))


def _part(candidate: Candidate) -> int:
    """Pods of a fixed number that a share needs: of a canary all that are declared, of a target in steps its part, at least one."""
    whole = _fixed(candidate.scaling)
    return max(min(1, whole), math.ceil(whole * candidate.share.load / 100)) if candidate.progressive else whole


def carrying(snapshot: Snapshot, spec: ScalingSpec, share: int) -> int:
    """Pods of an autoscaled revision that carry `share` percent of the present load, within its bounds."""
    lower, upper = spec.min or 1, spec.max or 1
    return max(lower, min(upper, math.ceil(_load_in_pods(snapshot) * share / 100)))


def _load_in_pods(snapshot: Snapshot) -> int:
    """How many pods the whole load keeps busy at most, judged by those that serve it now.

    Every revision with a share gives a bound (its pods by its share); the least is the truest, since each may have too many.
    """
    if not snapshot.split.weights:
        serving = snapshot.service.revision if snapshot.service is not None else None
        return len(snapshot.ready_pods(serving))
    bounds = [
        math.ceil(len(snapshot.ready_pods(revision)) * 100 / weight)
        for revision, weight in snapshot.split.weights.items()
    ]
    return min((each for each in bounds if each), default=0)


def scale_of(snapshot: Snapshot, revision: str, spec: ScalingSpec, growing_to: int | None = None) -> Scale:
    """The scale of a revision that serves or is about to.

    Args:
        snapshot: What is known.
        revision: Its hash.
        spec: The base's scaling or the canary's.
        growing_to: The percent of the requests that it is to have, where that is more than it has.
    """
    if not spec.autoscaled:
        return Fixed(_fixed(spec))
    assert spec.max is not None
    lower = (spec.min or 1) if growing_to is None else carrying(snapshot, spec, growing_to)
    return Autoscaled(
        min=lower,
        max=spec.max,
        keep_replicas=_kept(snapshot, revision, lower),
        metrics=spec.metrics,
        behavior=spec.behavior,
    )


def candidate_scale(snapshot: Snapshot, candidate: Candidate, stable: str | None) -> Scale:
    """The scale of a revision beside `stable`; without a gateway the number that gives it its share of the Service."""
    if not snapshot.routed:
        return Fixed(by_ratio(snapshot, candidate, stable))
    if candidate.progressive and not candidate.scaling.autoscaled:
        return Fixed(_part(candidate))
    weight = candidate.share.load if candidate.progressive else candidate.share.weight
    growing = weight if weight > snapshot.split.weight(candidate.revision) else None
    return scale_of(snapshot, candidate.revision, candidate.scaling, growing)


def by_ratio(snapshot: Snapshot, candidate: Candidate, stable: str | None) -> int:
    """Pods of a revision that shares the Service with stable: the number whose share is nearest to its weight, at least one.

    Without a stable revision to measure by, and at weight 0, it is one: a dark launch really runs.
    """
    weight = candidate.share.weight
    there = snapshot.deployments.get(stable or "")
    pods = _fixed(snapshot.resource.spec.scaling)
    if snapshot.resource.spec.scaling.autoscaled:
        pods = there.replicas if there is not None else 1
    if pods == 0:
        return 0
    return max(1, round(pods * weight / (100 - weight))) if weight < 100 else pods


def patience_left(snapshot: Snapshot, revision: str | None) -> float | None:
    """Seconds until an HPA without metrics is a problem; None when it is one already, or all is well."""
    facts = snapshot.autoscalers.get(revision or "")
    if facts is None or facts.inactive is None or not snapshot.resource.spec.scaling.autoscaled:
        return None
    since = facts.inactive_since or snapshot.now
    left = AUTOSCALER_PATIENCE - (snapshot.now - since).total_seconds()
    return left if left > 0 else None


def _fixed(spec: ScalingSpec) -> int:
    return 1 if spec.replicas is None else spec.replicas


def _kept(snapshot: Snapshot, revision: str, lower: int) -> int | None:
    """spec.replicas to apply under an HPA, or None where the HPA's own number must not be touched.

    We set the number at birth and at waking from zero (an HPA never scales from zero), and go on applying the number
    that is there for as long as nobody else owns it. Once the HPA has written, it is never ours again.
    """
    there = snapshot.deployments.get(revision)
    if there is None or there.replicas == 0:
        return lower
    if not there.replicas_ours:
        return None
    return there.replicas if revision in snapshot.autoscalers else max(there.replicas, lower)
