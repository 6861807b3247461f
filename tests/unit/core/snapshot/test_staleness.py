"""Staleness of the model (`staleAgainst: Model`), and metrics from status."""

from datetime import timedelta

import pytest
from sluicegate.core.models.resolution import Newest
from sluicegate.core.snapshot import staleness

from tests.support.fake_cluster import START, World

OLD = "2019-06-01T00:00:00Z"


def model(version: int = 1, **fields: str) -> dict[str, str]:
    return {"uri": f"models:/churn/{version}", "staleAgainst": "Model", **fields}


def at(world: World) -> str:
    return world.now.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_higher_version_that_nobody_asks_for_makes_it_stale_until_it_serves() -> None:
    world = World(model=model(maxStaleness="1h")).gateway().rest()
    assert (world.condition("Stale").status, world.status.newer) == ("False", None)
    assert world.condition("Stale").message == "The registry has no version higher than the stable one."
    world.newest = Newest("1", OLD)
    assert world.rest().status.newer is None
    world.newest = Newest("3", at(world))
    world.reconcile()
    assert (world.condition("Stale").status, world.condition("Stale").reason) == ("False", "Waiting")
    assert world.plan.recheck_after == 3600
    world.later(3600).reconcile()
    condition = world.condition("Stale")
    assert (condition.status, condition.reason) == ("True", "NewerVersion")
    assert condition.message.startswith("churn/1 is stable, and churn has had a higher version since 20")
    assert world.condition("Ready").status == "True"
    world.later(7200).reconcile()
    assert world.writes == []
    world.edit(model=model(3, maxStaleness="1h")).rest()
    assert (world.condition("Stale").status, world.status.newer) == ("False", None)


def test_versions_that_follow_each_other_do_not_put_it_off() -> None:
    world = World(model=model(maxStaleness="1h")).gateway().rest()
    for version in range(2, 8):
        world.newest = Newest(str(version), at(world))
        world.later(1800).reconcile()
    assert world.condition("Stale").status == "True"
    assert world.status.newer is not None
    assert world.status.newer.version == "7"


def test_what_was_registered_before_it_was_seen_counts_from_then_and_a_clock_that_is_ahead_from_now() -> None:
    world = World(model=model()).gateway().rest()
    world.newest = Newest("3", OLD)
    world.reconcile()
    assert world.status.newer is not None
    assert world.status.newer.since == OLD
    world = World(model=model()).gateway().rest()
    world.newest = Newest("3", "2999-01-01T00:00:00Z")
    world.reconcile()
    assert world.status.newer is not None
    assert world.status.newer.since == at(world)


def test_what_is_known_stays_while_the_registry_does_not_tell() -> None:
    world = World(model=model()).gateway().rest()
    world.newest = Newest("3", None)
    world.rest()
    before = world.status.newer
    world.newest = None
    world.later(600).rest()
    assert world.status.newer == before is not None
    world.edit(model={"uri": "models:/churn/1"}).rest()
    assert world.status.newer is None


def test_a_higher_version_that_serves_starts_the_time_again() -> None:
    world = World(model=model()).gateway().rest()
    world.newest = Newest("3", OLD)
    world.reconcile()
    world.newest = Newest("4", "2019-07-01T00:00:00Z")
    world.reconcile()
    assert world.status.newer is not None
    assert world.status.newer.since == OLD
    world.edit(model=model(3)).rest()
    assert world.status.newer is not None
    assert (world.status.newer.version, world.status.newer.since) == ("4", "2019-07-01T00:00:00Z")


def test_ages_are_those_of_what_serves() -> None:
    world = World().gateway().rest()
    assert (
        staleness.age(world.status, START)
        == (START - START.replace(year=2019, month=1, day=1, hour=0, minute=0)).total_seconds()
    )
    assert staleness.behind(world.status, None, world.now) == 0
    world.points_to = "2"
    world.reconcile().make_pods()
    began = world.now
    assert staleness.behind(world.status, None, began + timedelta(seconds=90)) == pytest.approx(90, abs=1)
    assert (
        staleness.age(world.status, began)
        == (began - START.replace(year=2019, month=1, day=1, hour=0, minute=0)).total_seconds()
    )
    world.rest()
    assert staleness.behind(world.status, None, world.now) == 0
    assert (
        staleness.age(world.status, began)
        == (began - START.replace(year=2019, month=1, day=2, hour=0, minute=0)).total_seconds()
    )


def test_of_the_model_the_time_behind_is_that_of_the_newer_version() -> None:
    world = World(model=model()).gateway().rest()
    assert staleness.behind(world.status, "Model", world.now) == 0
    world.newest = Newest("3", at(world))
    world.reconcile()
    assert staleness.behind(world.status, "Model", world.now + timedelta(hours=1)) == 3600


def test_what_serves_nothing_or_no_version_has_no_age() -> None:
    world = World().gateway()
    assert (staleness.age(world.status, START), staleness.behind(world.status, None, START)) == (None, None)
