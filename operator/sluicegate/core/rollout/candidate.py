"""Which revision shares the requests with the stable one, and what it should have of them."""

from __future__ import annotations

from dataclasses import replace

from sluicegate.core.plan.share import Candidate, Share
from sluicegate.core.plan.types import RevisionRoles
from sluicegate.core.rollout import canary, compatibility, machine
from sluicegate.core.snapshot.facts import Problem, Snapshot


def candidate_at_step(snapshot: Snapshot, target: str) -> Candidate:
    """A target in steps, with what its step gives it; nothing while callers may not fit or a gateway cannot do it."""
    share = machine.share_of(snapshot, target)
    if compatibility.changes(snapshot, target) or unable(snapshot, target) is not None:
        share = Share()
    return Candidate(target, share, snapshot.resource.spec.scaling, progressive=True)


def prepared_candidate(snapshot: Snapshot, roles: RevisionRoles) -> Candidate | None:
    """The revision beside stable with the share that its pods are to be able to carry: before the first step already that step's."""
    found = roles.candidate
    if found is None or not found.progressive:
        return found
    return replace(found, share=machine.coming(snapshot, found.revision))


def unable(snapshot: Snapshot, target: str) -> Problem | None:
    """What about the present step cannot be done by the gateways that there are."""
    wanted = machine.coming(snapshot, target)
    if snapshot.resource.spec.paused:
        return None
    if not snapshot.routed and (wanted.matches or wanted.mirror):
        field = "match" if wanted.matches else "mirror"
        return Problem(
            "GatewayRequired",
            f"spec.rollout.steps: {field} is done by a gateway, and none is named: name one in spec.traffic.gateway.parentRefs, or "
            f"remove {field} from the steps.",
        )
    return next(canary.lacking_mirror(snapshot, wanted.mirror, "spec.rollout.steps"), None)
