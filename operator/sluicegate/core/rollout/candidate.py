"""The revision that shares the requests with stable, and its share of them."""

from __future__ import annotations

from dataclasses import replace

from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.core.plan.share import Candidate
from sluicegate.core.plan.types import RevisionRoles
from sluicegate.core.rollout import canary, steps
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Problem, Share


def candidate_at_step(assessment: Assessment, next_stable: RevisionHash) -> Candidate:
    """Return a candidate with the share that its current step gives it.

    The share is empty while the signature is not compatible, or while a gateway cannot do what the step asks for.
    """
    share = steps.share_of(assessment, next_stable)
    if assessment.of(next_stable).incompatible or unable(assessment, next_stable) is not None:
        share = Share()
    return Candidate(next_stable, share, assessment.spec.scaling, progressive=True)


def prepared_candidate(assessment: Assessment, roles: RevisionRoles) -> Candidate | None:
    """Return the candidate with the share that its pods must be able to carry.

    Before the first step of a rollout, this is already the share of that step.
    """
    candidate = roles.candidate
    if candidate is None or not candidate.progressive:
        return candidate
    return replace(candidate, share=steps.coming(assessment, candidate.revision))


def unable(assessment: Assessment, next_stable: RevisionHash) -> Problem | None:
    """Return what the gateways cannot do of the current step, or None."""
    step_share = steps.coming(assessment, next_stable)
    if assessment.paused:
        return None
    if not assessment.routed and (step_share.matches or step_share.mirror):
        field = "match" if step_share.matches else "mirror"
        return Problem(
            Reason.GATEWAY_REQUIRED,
            f"spec.rollout.steps: {field} requires a gateway, and none is configured. "
            f"Set spec.traffic.gateway.parentRefs, or remove {field} from the steps.",
        )
    return next(canary.lacking_mirror(assessment, step_share.mirror, "spec.rollout.steps"), None)
