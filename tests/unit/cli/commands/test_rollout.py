"""The commands and the state machine together.

The operator acts on what a command writes.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sluicegate.api.resource import decode
from sluicegate.api.status import Role
from sluicegate.cli.cluster import Failed
from sluicegate.cli.commands import retry
from sluicegate.cli.output import rollout_view
from sluicegate.cli.output.live_metrics import LiveMetrics
from sluicegate.cli.output.rollout_layout import header, sections
from sluicegate.cli.output.text import plain
from sluicegate.cli.steering import actions
from sluicegate.cli.steering.actions import Action
from sluicegate.cli.steering.revisions import History, build_history
from sluicegate.core.snapshot.analysis_result import Outcome

from tests.support.fake_cluster import World
from tests.support.gitops_cases import stored
from tests.unit.core.rollout.test_machine import begun, judge, shares, state

STEPS: list[dict[str, Any]] = [{"weight": 10, "hold": "5m"}, {"pause": {}}, {"weight": 50, "hold": "5m"}]


def history_of(world: World) -> History:
    """Return what a command reads."""
    obj = stored(world)
    obj["metadata"]["annotations"] = dict(world.annotations)
    return build_history(decode(msgspec.to_builtins(obj)), world.of_kind("ControllerRevision"))


def perform(world: World, action: Action) -> World:
    """Write the annotations of a command, and let the operator act."""
    _write(world, action.annotations)
    return world.settle()


def _write(world: World, annotations: Any) -> None:
    world.annotations = {k: v for k, v in {**world.annotations, **annotations}.items() if v is not None}


def promoted(world: World, *, full: bool = False) -> World:
    return perform(world, actions.promote(history_of(world), full=full))


def shown(world: World) -> str:
    """Return the rollout as `get` prints it."""
    progress = rollout_view.progress(history_of(world).resource, LiveMetrics())
    assert progress is not None
    lines = [[*value] for _, value in header(progress, world.now)]
    return plain([*lines, *(line for section in sections(progress, world.now, None) for line in section)])


def test_promote_continues_through_all_steps() -> None:
    world = begun(STEPS).settle()
    assert "Holding at step 1 of 3 (10%, hold 5m)" in shown(world)
    assert "▶ 1    10%      hold 5m, 5m" in shown(world)
    promoted(world)
    assert (state(world).step_index, state(world).phase) == (1, "Paused")
    assert "sluicegate promote churn   continues with step 3" in shown(world)
    promoted(world)
    assert (state(world).step_index, shares(world)) == (2, (50, 50))
    assert "✓ 2    10%      pause until promoted" in shown(world)
    promoted(world)
    assert world.role(world.hash_of(2)) == Role.STABLE
    with pytest.raises(Failed, match="no rollout of churn is in progress"):
        actions.promote(history_of(world), full=False)


@pytest.mark.parametrize("turns", range(6))
def test_promote_full_works_from_any_phase(turns: int) -> None:
    world = begun(STEPS)
    moves: list[Callable[[World], World]] = [World.reconcile, World.make_pods, World.start, World.list_endpoints]
    world.reconcile()
    for move in moves[:turns]:
        move(world)
    world.reconcile()
    if turns == 5:
        world.settle()
    promoted(world, full=True)
    assert world.role(world.hash_of(2)) == Role.STABLE
    assert shares(world) == (0, 100)


def test_pause_and_resume() -> None:
    world = begun(STEPS).settle()
    perform(world, actions.pause(history_of(world))).later(3600).settle()
    assert (state(world).step_index, state(world).phase) == (0, "Paused")
    assert "sluicegate resume churn   continues the rollout" in shown(world)
    perform(world, actions.resume(history_of(world)))
    assert state(world).step_index == 1
    # Promoting a paused step continues the rollout too.
    again = begun(STEPS).settle()
    promoted(perform(again, actions.pause(history_of(again))))
    assert state(again).step_index == 1


def test_retry_after_abort_starts_at_the_first_step() -> None:
    world = begun(STEPS).settle()
    promoted(world)
    perform(world, actions.abort(history_of(world)))
    assert shares(world) == (100, 0)
    assert "nothing was changed" in actions.abort(history_of(world)).lines[0]
    with pytest.raises(Failed, match="was aborted: run `sluicegate retry churn -n shop`"):
        actions.promote(history_of(world), full=False)
    world.rest()
    _write(world, retry.marks(history_of(world), retry.to_retry(history_of(world))))
    assert world.annotations == {}, "nothing that would stop or hasten it is left"
    world.settle()
    assert (state(world).step_index, shares(world)) == (0, (90, 10))


def test_retry_after_a_failed_analysis() -> None:
    analysis = {"metrics": [{"name": "errors", "type": "ErrorRate", "limit": 0.01}]}
    world = begun(STEPS, analysis=analysis).settle()
    judge(world, Outcome.FAILED).settle()
    assert shares(world) == (100, 0)
    assert "✗ 1    10%" in shown(world)
    assert "0.2 is above 0.01" in shown(world)
    assert "sluicegate retry churn   tries again from the first step" in shown(world)
    with pytest.raises(Failed, match=r"0.2 is above 0.01.*`sluicegate retry churn -n shop` to try it again"):
        actions.promote(history_of(world), full=True)
    world.reading = None
    chosen = retry.to_retry(history_of(world))
    _write(world, retry.marks(history_of(world), chosen))
    world.settle()
    assert not any(
        actions.gave_up(history_of(world), revision)
        for revision in history_of(world).revisions
        if revision.hash == chosen.hash
    )
    _write(world, {actions.RETRY: None})
    world.settle()
    assert (state(world).step_index, shares(world)) == (0, (90, 10))
