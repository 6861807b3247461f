"""Candidates with an incompatible signature.

Such a version gets no request until a user allows it.
"""

from typing import Any

import pytest
from sluicegate.api import names
from sluicegate.api.status import Role

from tests.support.fake_cluster import World
from tests.unit.core.models.test_signature import X, signature

AGE = {"type": "long", "name": "age", "required": True}
OLD, FITS, BREAKS = signature(X), signature(X, {**AGE, "required": False}), signature(X, AGE)
URI = "models:/churn/{}"


def served(**spec: Any) -> World:
    world = World(scaling={"replicas": 2}, **spec)
    world.signatures = {world.hash_of(1): OLD, world.hash_of(2): BREAKS, world.hash_of(3): FITS}
    return world.gateway().rest()


def ready(world: World) -> str:
    condition = world.condition("Ready")
    return f"{condition.status} {condition.reason}"


def test_an_incompatible_version_runs_without_a_request_and_says_what_changed() -> None:
    world = served()
    old, new = world.hash_of(1), world.hash_of(2)
    world.serve(2).rest()
    assert (world.role(old), world.role(new)) == (Role.STABLE, Role.CANDIDATE)
    assert world.weights() == {old: 100}
    assert ready(world) == "False SignatureChanged"
    said = world.condition("Ready").message
    assert "input age (long) is required and did not exist" in said
    assert "spec.model.allowSignatureChange: true" in said
    assert said.endswith("The previous revision keeps serving.")
    assert world.condition("Stalled").status == "True"
    world.later(100_000).rest()
    assert ready(world) == "False SignatureChanged", "a deadline is no other reason"


def test_allowing_it_lets_the_same_pods_take_over() -> None:
    world = served()
    new = world.hash_of(2)
    world.serve(2).rest()
    pods = {pod.name for pod in world.pods.values() if pod.revision == new}
    world.edit(model={"uri": URI.format(2), "allowSignatureChange": True}).rest()
    assert (world.role(new), world.weights()) == (Role.STABLE, {new: 100})
    assert pods == {pod.name for pod in world.pods.values() if pod.revision == new}
    world.edit(model={"uri": URI.format(2)}).rest()
    assert ready(world) == "True Serving", "what serves is not held"


def test_a_version_that_fits_takes_over_and_so_does_one_that_says_nothing() -> None:
    world = served()
    assert ready(world.serve(3).rest()) == "True Serving"
    assert world.role(world.hash_of(3)) == Role.STABLE
    assert ready(world.serve(4).rest()) == "True Serving"


def test_going_back_ends_it() -> None:
    world = served()
    world.serve(2).rest().serve(1).rest()
    assert ready(world) == "True Serving"


def test_a_pinned_revision_is_what_somebody_wants() -> None:
    world = served()
    new = world.hash_of(2)
    world.serve(2).rest()
    world.annotations[names.ANNOTATION_PIN] = new
    assert world.rest().role(new) == Role.STABLE


@pytest.mark.parametrize("more", [{}, {"match": [{"header": {"name": "x-cohort", "value": "beta"}}]}])
def test_an_incompatible_canary_gets_no_share_until_it_is_allowed(more: dict[str, Any]) -> None:
    world = served()
    old, new = world.hash_of(1), world.hash_of(2)
    world.canary(2, 10, **more).rest()
    assert world.weights() == {old: 100}
    assert world.split().matched is None
    assert ready(world) == "False SignatureChanged"
    assert "spec.canary.model.allowSignatureChange" in world.condition("Ready").message
    world.canary(2, 10, model={"uri": URI.format(2), "allowSignatureChange": True}, **more).rest()
    assert world.weights() == {old: 90, new: 10}
    assert ready(world) == "True Serving"


def test_an_incompatible_canary_does_not_take_the_place_of_one_that_serves() -> None:
    world = served()
    old, new = world.hash_of(1), world.hash_of(3)
    world.canary(3, 10).rest().canary(2, 10).rest()
    assert world.weights() == {old: 90, new: 10}
    assert world.role(world.hash_of(2)) == Role.NEXT_CANARY
    assert ready(world) == "False SignatureChanged"


def test_it_is_told_in_a_few_words_however_many_columns_there_are() -> None:
    world = served()
    many = [{"type": "long", "name": f"column{number}"} for number in range(300)]
    world.signatures[world.hash_of(2)] = signature(X, *many)
    world.serve(2).rest()
    assert "; and 295 more. Set spec.model" in world.condition("Ready").message


def test_without_a_gateway_the_service_does_not_widen_to_it() -> None:
    world = World(scaling={"replicas": 2})
    old, new = world.hash_of(1), world.hash_of(2)
    world.signatures = {old: OLD, new: BREAKS}
    world.rest().serve(2).rest()
    assert world.service_selects() == old
    world.serve(1).canary(2, 50).rest()
    assert world.service_selects() == old
