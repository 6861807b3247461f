"""The recipes of docs/guide/rollouts.md, run to their end.

In the simulated cluster, each step comes in its order and at its time, with its share. The tests roll back too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sluicegate.api import duration, names
from sluicegate.api.rollout import Step
from sluicegate.api.status import Role
from sluicegate.core.plan import share
from sluicegate.core.snapshot.analysis_result import Measurement, Outcome, Reading

from tests.support.fake_cluster import World

EXAMPLES = Path(__file__).parents[4] / "examples"
FEATURES = frozenset(
    f"HTTPRoute{each}" for each in ("PathRewrite", "RequestTimeout", "RequestMirror", "RequestPercentageMirror")
)
RECIPES: dict[str, dict[str, Any]] = {}
for example in sorted(EXAMPLES.glob("*.yaml")):
    for document in yaml.safe_load_all(example.read_text()):
        if document["spec"].get("rollout", {}).get("steps"):
            RECIPES[example.stem] = document["spec"]


def begun(name: str) -> World:
    """Return a world in which version 1 serves and version 2 is desired.

    The gateway supports all features.
    """
    spec = {key: value for key, value in RECIPES[name].items() if key != "model"}
    world = World(**spec)
    world.features = FEATURES
    return world.gateway().rest().serve(2)


def state(world: World) -> Any:
    assert world.status.rollout is not None
    return world.status.rollout


def rest(step: Step) -> float:
    """Return how many seconds a step lasts."""
    paused = step.pause.duration if step.pause is not None else None
    return duration.seconds(step.hold or "0s") + duration.seconds(paused or "0s")


def judged(world: World, outcome: Outcome) -> World:
    """Set the outcome of the analysis at the current step."""
    measurement = Measurement("errors", outcome, 0.2, 0.0, 0.01, 500, "20 % of 500 requests failed.")
    decisive = None if outcome is Outcome.PASSED else measurement
    world.reading = Reading(world.hash_of(2), state(world).accepted_at or "", outcome, decisive)
    return world


def test_there_are_recipes_and_the_page_names_each() -> None:
    page = (EXAMPLES.parent / "docs/guide/rollouts.md").read_text()
    assert len(RECIPES) >= 7
    assert [name for name in RECIPES if f"../../examples/{name}.yaml" not in page] == []


@pytest.mark.parametrize("name", RECIPES)
def test_a_good_version_goes_through_every_step(name: str) -> None:
    world = begun(name)
    new, old = world.hash_of(2), world.hash_of(1)
    steps = world.resource.spec.rollout.steps or ()
    world.reconcile().make_pods().reconcile()
    assert (state(world).phase, state(world).reason) == ("Waiting", "WaitingForPods")
    for index, step in enumerate(steps):
        world.settle()
        wanted = share.after(steps[: index + 1])
        split = world.programmed
        copies = split.mirror.percent if split.mirror is not None else 0
        assert state(world).step_index == index
        assert (split.weight(new), split.weight(old)) == (wanted.weight, 100 - wanted.weight)
        assert (split.matches, copies) == (wanted.matches, wanted.mirror)
        assert world.role(old) == Role.STABLE
        if step.pause is not None and step.pause.duration is None:
            assert state(world).phase == "Paused"
            world.later(1_000_000).settle()
            assert state(world).step_index == index, "only a user continues"
            world.annotations[names.ANNOTATION_PROMOTE] = f"{new}/{index + 1}"
            continue
        assert state(world).phase == "Holding"
        judged(world, Outcome.PASSED).later(rest(step) - 5).settle()
        assert state(world).step_index == index, "never early"
        world.later(10)
    world.settle()
    assert world.role(new) == Role.STABLE
    assert world.programmed.weights == {new: 100}
    world.rest()
    assert world.condition("Ready").status == "True"


@pytest.mark.parametrize("name", [each for each, spec in RECIPES.items() if "analysis" in spec["rollout"]])
def test_a_bad_version_is_taken_back_with_what_was_measured(name: str) -> None:
    world = begun(name).settle()
    judged(world, Outcome.FAILED).settle()
    assert state(world).phase == "RolledBack"
    assert "20 % of 500 requests failed" in world.condition("Ready").message
    assert world.programmed.weights == {world.hash_of(1): 100}
    assert (world.programmed.matches, world.programmed.mirror) == ((), None)
    assert (world.condition("Available").status, world.condition("Stalled").status) == ("True", "True")
    before = world.status
    world.later(1_000_000).rest()
    assert world.status.rollout == before.rollout, "it does not come back by itself"
