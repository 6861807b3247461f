"""The facts about each revision that follow from a snapshot."""

from dataclasses import replace

from sluicegate.api.names import RevisionHash
from sluicegate.core.snapshot.assessment import Assessment, assess
from sluicegate.core.snapshot.facts import Mirror, RouteFacts, ServiceFacts, Share, Split

from tests.support.fake_cluster import NAME, World

GHOST = RevisionHash("bcdfghjklm")


def _assessment(world: World, **facts: object) -> Assessment:
    return assess(replace(world.snapshot(), **facts))


def test_facts_of_a_revision_are_derived_once() -> None:
    assessment = _assessment(World().rest())
    assert assessment.of(assessment.stable) is assessment.of(assessment.stable)
    assert assessment.of(assessment.stable).live is assessment.of(assessment.stable).live


def test_missing_revision_has_no_facts() -> None:
    assessment = _assessment(World().gateway().rest())
    for revision in (None, GHOST):
        facts = assessment.of(revision)
        assert (facts.record, facts.deployment, facts.autoscaler, facts.rollout, facts.failed) == (None,) * 5
        assert (facts.pods, facts.live, facts.ready, facts.endpoints, facts.able) == ((), (), set(), set(), 0)
        assert (facts.share, facts.incompatible) == (Share(), ())
        assert not (facts.given_up or facts.listed or facts.has_traffic)
        assert facts.released


def test_pod_is_able_once_the_own_service_lists_it() -> None:
    world = World(scaling={"replicas": 2}).rest()
    stable = world.hash_of(1)
    ready = world.snapshot().endpoints[f"{NAME}-{stable}"]
    assert _assessment(world).of(stable).able == 2
    one = {f"{NAME}-{stable}": frozenset(sorted(ready)[:1])}
    assert _assessment(world, endpoints=one).of(stable).able == 1
    assert not _assessment(world, endpoints=one).of(stable).listed


def test_share_is_weight_match_and_mirror() -> None:
    world = World().gateway().rest()
    stable = world.hash_of(1)
    split = Split({stable: 90, GHOST: 10}, mirror=Mirror(GHOST, 50))
    assessment = _assessment(world, route=RouteFacts(split, accepted=True))
    assert assessment.of(stable).share == Share(weight=90)
    assert assessment.of(GHOST).share == Share(weight=10, mirror=50)


def test_revision_is_released_by_route_service_and_endpoints() -> None:
    world = World().gateway().rest()
    stable = world.hash_of(1)
    assert not _assessment(world).of(stable).released
    route = RouteFacts(Split({GHOST: 100}), accepted=True)
    moved = {"route": route, "service": ServiceFacts(GHOST), "endpoints": {}}
    assert _assessment(world, **moved).of(stable).released
    for fact in (
        {"route": replace(route, accepted=False)},
        {"route": RouteFacts(Split({stable: 1, GHOST: 99}), accepted=True)},
        {"service": ServiceFacts(None)},
        {"service": ServiceFacts(stable)},
        {"endpoints": world.snapshot().endpoints},
    ):
        assert not _assessment(world, **{**moved, **fact}).of(stable).released, fact


def test_pin_counts_only_where_the_revision_exists() -> None:
    world = World().rest()
    world.annotations["sluicegate.dev/pin"] = GHOST
    assert (_assessment(world).overrides.pin, _assessment(world).pinned) == (GHOST, None)
    world.annotations["sluicegate.dev/pin"] = world.hash_of(1)
    assert _assessment(world).pinned == world.hash_of(1)
