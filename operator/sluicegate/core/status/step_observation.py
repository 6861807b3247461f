"""What the operator observes of a rollout's current step, for `machine.advance`."""

from __future__ import annotations

from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.core.plan import scaling
from sluicegate.core.plan.share import Candidate, present
from sluicegate.core.plan.types import Plan
from sluicegate.core.rollout import compatibility, machine
from sluicegate.core.rollout.candidate import prepared_candidate, unable
from sluicegate.core.snapshot.facts import Problem, Snapshot
from sluicegate.core.status import diagnosis


def observe_step(snapshot: Snapshot, plan: Plan, target: RevisionHash) -> machine.StepObservation:
    """Observe the step that status has.

    `target`, the candidate of `plan`, must take over by steps.
    """
    roles = plan.roles
    coming, now = prepared_candidate(snapshot, roles), roles.candidate
    assert coming is not None and now is not None
    state = machine.state_of(snapshot, target)
    blocked = compatibility.problem(snapshot, target) or unable(snapshot, target) or _room(snapshot, target)
    fault = diagnosis.at_fault(snapshot, target)
    return machine.StepObservation(
        able=snapshot.able_pods(target) >= scaling.candidate_needed(snapshot, coming, roles.stable),
        in_force=state is not None and now.share == coming.share and _in_force(snapshot, plan, now),
        fault=fault.message if fault is not None else None,
        blocked=(blocked.reason, blocked.message) if blocked is not None else None,
    )


def _in_force(snapshot: Snapshot, plan: Plan, candidate: Candidate) -> bool:
    """Tell whether requests are distributed as the step wants.

    While a gateway evaluates the route again, its earlier acceptance of this share counts.
    """
    revision, wanted = candidate.revision, candidate.share
    able = snapshot.able_pods(revision)
    if not snapshot.routed:
        return (
            bool(able) and able >= scaling.by_ratio(snapshot, candidate, plan.stable) and _selected(snapshot, candidate)
        )
    route, state = snapshot.route, machine.state_of(snapshot, revision)
    if route is None or plan.route is None or not able or present(snapshot, revision) != wanted:
        return False
    whole = snapshot.split.weight(revision) + snapshot.split.weight(plan.stable) == 100
    return whole and (route.accepted or (state is not None and state.accepted_at is not None))


def _selected(snapshot: Snapshot, candidate: Candidate) -> bool:
    """Tell whether the Service selects the pods that the weight needs.

    These are the pods of one revision, or of both.
    """
    if snapshot.service is None:
        return False
    if candidate.share.weight == 100:
        return snapshot.service.revision == candidate.revision
    return candidate.share.weight == 0 or snapshot.service.revision is None


def _room(snapshot: Snapshot, target: RevisionHash) -> Problem | None:
    """Return a problem if pods of the candidate wait for room on a node.

    The revision is not the cause, so the rollout waits for capacity.
    """
    found = diagnosis.revision_problem(snapshot, target)
    if found is None or not found.lacks_room:
        return None
    return Problem(Reason.WAITING_FOR_CAPACITY, found.message)
