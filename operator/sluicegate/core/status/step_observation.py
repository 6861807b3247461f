"""What the operator observes of a rollout's current step, for `machine.advance`."""

from __future__ import annotations

from sluicegate.api.names import RevisionHash
from sluicegate.api.reasons import Reason
from sluicegate.core.plan import scaling
from sluicegate.core.plan.share import Candidate
from sluicegate.core.plan.types import Plan
from sluicegate.core.rollout import compatibility, machine
from sluicegate.core.rollout.candidate import prepared_candidate, unable
from sluicegate.core.snapshot.assessment import Assessment
from sluicegate.core.snapshot.facts import Problem
from sluicegate.core.status import diagnosis


def observe_step(assessment: Assessment, plan: Plan, next_stable: RevisionHash) -> machine.StepObservation:
    """Observe the step that status has.

    `next_stable`, the candidate of `plan`, must take over by steps.
    """
    roles = plan.roles
    coming, now = prepared_candidate(assessment, roles), roles.candidate
    assert coming is not None and now is not None
    state = assessment.of(next_stable).rollout
    blocked = (
        compatibility.problem(assessment, next_stable)
        or unable(assessment, next_stable)
        or _room(assessment, next_stable)
    )
    fault = diagnosis.at_fault(assessment, next_stable)
    return machine.StepObservation(
        able=assessment.of(next_stable).able >= scaling.candidate_needed(assessment, coming, roles.stable),
        in_force=state is not None and now.share == coming.share and _in_force(assessment, plan, now),
        fault=fault.message if fault is not None else None,
        blocked=(blocked.reason, blocked.message) if blocked is not None else None,
    )


def _in_force(assessment: Assessment, plan: Plan, candidate: Candidate) -> bool:
    """Tell whether requests are distributed as the step wants.

    While a gateway evaluates the route again, its earlier acceptance of this share counts.
    """
    revision, share = candidate.revision, candidate.share
    able = assessment.of(revision).able
    if not assessment.routed:
        return (
            bool(able)
            and able >= scaling.by_ratio(assessment, candidate, plan.stable)
            and _selected(assessment, candidate)
        )
    route, state = assessment.snapshot.route, assessment.of(revision).rollout
    if route is None or plan.route is None or not able or assessment.of(revision).share != share:
        return False
    whole = assessment.split.weight(revision) + assessment.split.weight(plan.stable) == 100
    return whole and (route.accepted or (state is not None and state.accepted_at is not None))


def _selected(assessment: Assessment, candidate: Candidate) -> bool:
    """Tell whether the Service selects the pods that the weight needs.

    These are the pods of one revision, or of both.
    """
    if assessment.snapshot.service is None:
        return False
    if candidate.share.weight == 100:
        return assessment.snapshot.service.revision == candidate.revision
    return candidate.share.weight == 0 or assessment.snapshot.service.revision is None


def _room(assessment: Assessment, next_stable: RevisionHash) -> Problem | None:
    """Return a problem if pods of the candidate wait for room on a node, or if the API server refuses them.

    The revision is not the cause, so the rollout waits.
    """
    problem = diagnosis.revision_problem(assessment, next_stable)
    if problem is not None and problem.reason == Reason.UNSCHEDULABLE:
        return Problem(Reason.WAITING_FOR_CAPACITY, problem.message)
    if problem is not None and problem.reason in (Reason.QUOTA_EXCEEDED, Reason.POD_REFUSED):
        return problem
    return None
