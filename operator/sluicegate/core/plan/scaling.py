"""How many pods each revision should have, and who owns that number."""

from __future__ import annotations

import math

from sluicegate.api.names import RevisionHash
from sluicegate.api.scaling import ScalingSpec
from sluicegate.core.plan.share import Candidate
from sluicegate.core.plan.types import Autoscaled, Fixed, Scale
from sluicegate.core.snapshot.assessment import Assessment

AUTOSCALER_PATIENCE = 60.0
"""How long an HPA may be without metrics, in seconds. A new pod has no metrics until metrics-server has scraped it
twice."""


def needed(assessment: Assessment, revision: RevisionHash, predecessor: RevisionHash | None) -> int:
    """Return how many ready pods `revision` needs to replace `predecessor`.

    A revision that replaces a larger one is first scaled to carry the load of that one, because a promotion at
    minReplicas under peak load is an outage (flagger#1209). The very first revision may serve with one pod, because
    there is no other revision that could serve in the meantime.
    """
    spec = assessment.spec.scaling
    if predecessor is None or predecessor == revision:
        return min(1, _fixed(spec)) if not spec.autoscaled else 1
    return carrying(assessment, spec, 100) if spec.autoscaled else _fixed(spec)


def candidate_needed(assessment: Assessment, candidate: Candidate, stable: RevisionHash | None) -> int:
    """Return how many ready pods `candidate` needs before its share may grow."""
    if not assessment.routed:
        shared = assessment.snapshot.service is not None and assessment.snapshot.service.revision is None
        return 1 if shared else max(1, by_ratio(assessment, candidate, stable))
    if candidate.scaling.autoscaled:
        return carrying(assessment, candidate.scaling, candidate.share.load)
    return max(1, _part(candidate))


def _part(candidate: Candidate) -> int:
    """Return how many pods of a fixed number the candidate's share needs.

    A declared canary gets all the pods that its spec declares. A revision that is rolled out by steps gets the fraction
    that matches its share, and at least one pod unless the number is 0.
    """
    whole = _fixed(candidate.scaling)
    return max(min(1, whole), math.ceil(whole * candidate.share.load / 100)) if candidate.progressive else whole


def carrying(assessment: Assessment, spec: ScalingSpec, share: int) -> int:
    """Return how many pods an autoscaled revision needs for a share of the load.

    `share` is a percent of the present load. The result lies within the bounds of `spec`.
    """
    lower, upper = spec.min or 1, spec.max or 1
    return max(lower, min(upper, math.ceil(_load_in_pods(assessment) * share / 100)))


def _load_in_pods(assessment: Assessment) -> int:
    """Return how many pods the whole load keeps busy at most.

    The result is derived from the pods that serve now. Every revision with a share gives an upper bound, its pods
    divided by its share. The lowest bound is the most accurate one, because each revision may have more pods than it
    needs.
    """
    if not assessment.split.weights:
        serving = assessment.snapshot.service.revision if assessment.snapshot.service is not None else None
        return len(assessment.of(serving).ready)
    bounds = [
        math.ceil(len(assessment.of(revision).ready) * 100 / weight)
        for revision, weight in assessment.split.weights.items()
    ]
    return min((bound for bound in bounds if bound), default=0)


def scale_of(assessment: Assessment, revision: RevisionHash, spec: ScalingSpec, growing_to: int | None = None) -> Scale:
    """Return the scale of a revision that serves or is about to.

    Args:
        assessment: All facts on the resource.
        revision: The hash of the revision.
        spec: The scaling of the base or of the canary.
        growing_to: The percent of the requests that the revision is to receive, where that is more than it receives
            now.
    """
    if not spec.autoscaled:
        return Fixed(_fixed(spec))
    assert spec.max is not None
    lower = (spec.min or 1) if growing_to is None else carrying(assessment, spec, growing_to)
    return Autoscaled(
        min=lower,
        max=spec.max,
        keep_replicas=_kept(assessment, revision, lower),
        metrics=spec.metrics,
        behavior=spec.behavior,
    )


def candidate_scale(assessment: Assessment, candidate: Candidate, stable: RevisionHash | None) -> Scale:
    """Return the scale of a candidate.

    Without a gateway, it is the number of pods that gives the candidate its share of the Service.
    """
    if not assessment.routed:
        return Fixed(by_ratio(assessment, candidate, stable))
    if candidate.progressive and not candidate.scaling.autoscaled:
        return Fixed(_part(candidate))
    weight = candidate.share.load if candidate.progressive else candidate.share.weight
    growing = weight if weight > assessment.split.weight(candidate.revision) else None
    return scale_of(assessment, candidate.revision, candidate.scaling, growing)


def by_ratio(assessment: Assessment, candidate: Candidate, stable: RevisionHash | None) -> int:
    """Return how many pods give a candidate its weight where it shares the Service.

    The result is the number whose share of all pods is nearest to the weight, and at least one. At weight 0 it is one,
    because a dark launch runs a pod. Where the stable revision should have no pods, it is 0. An autoscaled stable
    revision without a Deployment counts as one pod.
    """
    weight = candidate.share.weight
    deployment = assessment.of(stable).deployment
    pods = _fixed(assessment.spec.scaling)
    if assessment.spec.scaling.autoscaled:
        pods = deployment.replicas if deployment is not None else 1
    if pods == 0:
        return 0
    return max(1, round(pods * weight / (100 - weight))) if weight < 100 else pods


def patience_left(assessment: Assessment, revision: RevisionHash | None) -> float | None:
    """Return the seconds until an HPA without metrics becomes a problem.

    Return None when it is a problem already, or when the HPA has metrics.
    """
    facts = assessment.of(revision).autoscaler
    if facts is None or facts.inactive is None or not assessment.spec.scaling.autoscaled:
        return None
    since = facts.inactive_since or assessment.now
    left = AUTOSCALER_PATIENCE - (assessment.now - since).total_seconds()
    return left if left > 0 else None


def _fixed(spec: ScalingSpec) -> int:
    return 1 if spec.replicas is None else spec.replicas


def _kept(assessment: Assessment, revision: RevisionHash, lower: int) -> int | None:
    """Return the spec.replicas to apply under an HPA, or None to leave it to the HPA.

    The operator sets the number when it creates the Deployment and when it scales it up from zero, because an HPA never
    scales from zero. It goes on applying the present number for as long as no other manager owns the field. Once the
    HPA has written the field, the operator never owns it again.
    """
    deployment = assessment.of(revision).deployment
    if deployment is None or deployment.replicas == 0:
        return lower
    if not deployment.replicas_ours:
        return None
    return deployment.replicas if revision in assessment.snapshot.autoscalers else max(deployment.replicas, lower)
