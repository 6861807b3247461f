"""The revision that shares the requests with stable, and its share of them."""

from __future__ import annotations

from dataclasses import replace

from sluicegate.api.reasons import Reason
from sluicegate.core.plan.share import Candidate, Share
from sluicegate.core.plan.types import RevisionRoles
from sluicegate.core.rollout import canary, compatibility, machine
from sluicegate.core.snapshot.facts import Problem, Snapshot


def candidate_at_step(snapshot: Snapshot, target: str) -> Candidate:
    """Return a candidate with the share that its current step gives it.

    The share is empty while the signature is not compatible, or while a gateway cannot do what the step asks for.
    """
    share = machine.share_of(snapshot, target)
    if compatibility.changes(snapshot, target) or unable(snapshot, target) is not None:
        share = Share()
    return Candidate(target, share, snapshot.resource.spec.scaling, progressive=True)


def prepared_candidate(snapshot: Snapshot, roles: RevisionRoles) -> Candidate | None:
    """Return the candidate with the share that its pods must be able to carry.

    Before the first step of a rollout, this is already the share of that step.
    """
    found = roles.candidate
    if found is None or not found.progressive:
        return found
    return replace(found, share=machine.coming(snapshot, found.revision))


def unable(snapshot: Snapshot, target: str) -> Problem | None:
    """Return what the gateways cannot do of the current step, or None."""
    wanted = machine.coming(snapshot, target)
    if snapshot.resource.spec.paused:
        return None
    if not snapshot.routed and (wanted.matches or wanted.mirror):
        field = "match" if wanted.matches else "mirror"
        return Problem(
            Reason.GATEWAY_REQUIRED,
            f"spec.rollout.steps: {field} requires a gateway, and none is configured. "
            f"Set spec.traffic.gateway.parentRefs, or remove {field} from the steps.",
        )
    return next(canary.lacking_mirror(snapshot, wanted.mirror, "spec.rollout.steps"), None)
