"""`whenFull: Replace`: the candidate replaces stable pod by pod.

This is for clusters where no node has room for a second revision. On a GPU cluster without a spare device, other tools
leave a choice between a rollout that never ends and `Recreate`, which removes all pods at once. Here the operator
removes the next pod of stable only when the candidate's existing pods are ready. It moves the traffic once the
candidate has as many ready pods as stable. With two or more pods the model serves throughout, with fewer pods. The
operator removes no pod where that would not help: the new pods must ask of a node exactly what the old ones have, and
a new pod must have taken the place of the last one removed.
"""

from __future__ import annotations

from sluicegate.api.names import RevisionHash
from sluicegate.core.plan import scaling
from sluicegate.core.plan.types import Fixed, RevisionRoles
from sluicegate.core.rollout import steps
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import PodFacts


def waits_for_room(assessment: Assessment, revision: RevisionHash | None) -> bool:
    """Tell whether a pod of `revision` waits for room that other pods occupy."""
    return any(_lacks_room(pod) for pod in assessment.of(revision).live)


def replacing(assessment: Assessment, next_stable: RevisionHash | None, stable: RevisionHash | None) -> bool:
    """Tell whether the candidate replaces stable's pods, or has begun to."""
    deployment = assessment.of(stable).deployment
    if assessment.spec.rollout.when_full != "Replace" or next_stable is None or deployment is None:
        return False
    # An autoscaled stable may have few pods without a replacement. During steps it must also be able to grow,
    # to take the requests back.
    tells = not (assessment.spec.scaling.autoscaled and steps.progressive(assessment, stable, next_stable))
    started = assessment.of(
        next_stable
    ).deployment  # without pods of the next stable revision, stable has few because of `replicas: 0`
    tells = tells and started is not None and started.replicas > 0
    begun = tells and deployment.replicas < scaling.needed(assessment, next_stable, stable)
    return begun or (waits_for_room(assessment, next_stable) and would_help(assessment, next_stable, stable))


def would_help(assessment: Assessment, next_stable: RevisionHash | None, stable: RevisionHash | None) -> bool:
    """Tell whether a waiting pod of the candidate fits in place of a pod of stable."""
    waiting = {pod.room for pod in assessment.of(next_stable).live if _lacks_room(pod)}
    return any(pod.room in waiting for pod in assessment.of(stable).live if not _lacks_room(pod))


def remaining(assessment: Assessment, roles: RevisionRoles) -> Fixed | None:
    """Return the scale of stable during a replacement, or None without one."""
    next_stable, stable = roles.next_stable, roles.stable
    if next_stable is None or stable is None or not replacing(assessment, next_stable, stable):
        return None
    deployment = assessment.snapshot.deployments[stable]
    came = [pod for pod in assessment.of(next_stable).live if not _lacks_room(pod)]
    leaving = any(pod.deleting for pod in assessment.of(stable).pods)
    # The nodes may be cordoned, or other pods may have taken the place. Then another pod of stable would be lost too.
    freed = scaling.needed(assessment, next_stable, stable) - deployment.replicas
    settled = (
        deployment.current == deployment.replicas
        and not leaving
        and len(came) >= freed
        and all(pod.ready for pod in came)
    )
    # Without steps, the candidate takes over as soon as its pods are listed. In steps, it has only the step's pods.
    enough = not roles.progressive and len(assessment.of(next_stable).ready) >= _fewer(assessment, next_stable, stable)
    lacks_pods = not enough and not assessment.of(next_stable).incompatible
    makes_way = settled and lacks_pods and deployment.replicas > 0 and would_help(assessment, next_stable, stable)
    return Fixed(deployment.replicas - makes_way)


def needed(assessment: Assessment, next_stable: RevisionHash, stable: RevisionHash | None) -> int:
    """Return the number of ready pods that `next_stable` needs before it may take over.

    During a replacement, it needs no more than stable has ready, and at least one.
    """
    if replacing(assessment, next_stable, stable):
        return _fewer(assessment, next_stable, stable)
    return scaling.needed(assessment, next_stable, stable)


def _fewer(assessment: Assessment, next_stable: RevisionHash, stable: RevisionHash | None) -> int:
    """Return what `needed` returns during a replacement."""
    return min(scaling.needed(assessment, next_stable, stable), max(1, len(assessment.of(stable).ready)))


def _lacks_room(pod: PodFacts) -> bool:
    return pod.problem is not None and pod.problem.lacks_room
