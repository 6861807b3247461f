"""How many pods each revision should have, and who owns that number."""

from __future__ import annotations

from sluicegate.api.spec import ScalingSpec
from sluicegate.core.facts import Snapshot
from sluicegate.core.plan import Autoscaled, Fixed, Scale

AUTOSCALER_PATIENCE = 60.0
"""Seconds that an HPA may be without metrics: a new pod has none until metrics-server has seen it twice."""


def needed(snapshot: Snapshot, revision: str, predecessor: str | None) -> int:
    """Ready pods that `revision` needs before it may take over from `predecessor`.

    A revision that takes over from a larger one is first scaled to carry what that one carries, because promotion at
    minReplicas under peak load is an outage (flagger#1209). The very first revision may serve with one pod: there is
    nothing better to wait for.
    """
    scaling = snapshot.resource.spec.scaling
    if predecessor is None:
        return min(1, _fixed(scaling)) if not scaling.autoscaled else 1
    if not scaling.autoscaled:
        return _fixed(scaling)
    return _lower_bound(snapshot, revision, predecessor)


def scale_of(snapshot: Snapshot, revision: str, predecessor: str | None) -> Scale:
    """The scale of a revision that serves, is about to, or has just served."""
    scaling = snapshot.resource.spec.scaling
    if not scaling.autoscaled:
        return Fixed(_fixed(scaling))
    assert scaling.max is not None
    lower = _lower_bound(snapshot, revision, predecessor)
    return Autoscaled(
        min=lower,
        max=scaling.max,
        keep_replicas=_kept(snapshot, revision, lower),
        metrics=scaling.metrics,
        behavior=scaling.behavior,
    )


def patience_left(snapshot: Snapshot, revision: str | None) -> float | None:
    """Seconds until an HPA without metrics is a problem; None when it is one already, or all is well."""
    facts = snapshot.autoscalers.get(revision or "")
    if facts is None or facts.inactive is None or not snapshot.resource.spec.scaling.autoscaled:
        return None
    since = facts.inactive_since or snapshot.now
    left = AUTOSCALER_PATIENCE - (snapshot.now - since).total_seconds()
    return left if left > 0 else None


def _fixed(scaling: ScalingSpec) -> int:
    return 1 if scaling.replicas is None else scaling.replicas


def _lower_bound(snapshot: Snapshot, revision: str, predecessor: str | None) -> int:
    scaling = snapshot.resource.spec.scaling
    lower, upper = scaling.min or 1, scaling.max or 1
    if predecessor is None or predecessor == revision:
        return lower
    return max(lower, min(upper, len(snapshot.ready_pods(predecessor))))


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
