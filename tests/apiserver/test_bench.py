"""The control-plane benchmark with a few resources.

The tests check that it works, and that its counts are correct. The benchmark creates control planes of its own, with an
audit log and fake pods. The tests assert counts only, never times.
"""

import os

import pytest

from bench.controlplane import audit, passes, report

RESOURCES = 5
PLAN = passes.Plan(RESOURCES, f"bench-{os.getpid()}", rest=8.0)


def per_resource(phases: list[passes.Phase], what: str) -> float:
    return sum(getattr(phase.tally, what)() for phase in phases) / RESOURCES


@pytest.mark.timeout(900)
async def test_writes_per_resource_and_none_at_rest() -> None:
    bare = await passes.bare_pass(passes.Plan(RESOURCES, PLAN.cluster))
    ours = await passes.operator_pass(PLAN)
    phases = {phase.name: phase for phase in ours.phases}
    assert list(phases) == list(report.PHASES)

    created = bare.phases[0].tally
    assert (created.child_writes(), created.status_writes()) == (RESOURCES * bare.children, RESOURCES)

    new = [phases["created"], phases["ready"]]
    assert per_resource(new, "child_writes") == ours.children == bare.children
    assert per_resource(new, "status_writes") <= report.STATUS_WRITES
    assert per_resource(new, "gets") == 0
    assert per_resource([phases["replicas changed"]], "child_writes") == 1
    assert per_resource([phases["replicas changed"]], "status_writes") <= report.STATUS_WRITES
    assert [phase.tally.dry for phase in ours.phases] == [0] * len(ours.phases)
    for name in ("at rest", "restarted"):
        assert phases[name].tally.writes() == 0, phases[name].tally.requests
    assert phases["restarted"].tally.requests["list", "modeldeployments"] <= 3, (
        "a list is one request, not one a resource"
    )
    assert phases["restarted"].tally.requests["get", audit.STATUS] == 0

    size = report.Size(RESOURCES, [bare], [ours])
    assert "missed by" in report.table([size], {"before": "0", "after": "0"}) or all(
        not result.missed_by for result in report.target_results(size)
    )
    assert report.as_json([size], {})["sizes"][0]["resources"] == RESOURCES
