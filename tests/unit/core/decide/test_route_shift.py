"""A change of the route's parents, host names or path prefix keeps the old way until the new one is accepted."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sluicegate.core.snapshot import parse_gateway
from sluicegate.core.snapshot.facts import Listener

from tests.support.fake_cluster import NAME, World

HTTP = Listener("http", "HTTP", 80)


def serving(*listeners: Listener, **gateway: Any) -> World:
    """Return a world whose route has the Gateway `old`, and all listeners are `listeners`."""
    world = World(traffic={"gateway": {"parentRefs": [{"name": "old"}], **gateway}})
    world.listeners = listeners or (HTTP,)
    return world.rest()


def change(world: World, **gateway: Any) -> World:
    return world.edit(traffic={"gateway": {"parentRefs": [{"name": "old"}], **gateway}})


def refs(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


def parents(world: World) -> list[tuple[str, str | None]]:
    parent_refs = world.objects["HTTPRoute", NAME]["spec"]["parentRefs"]
    return [(ref["name"], ref.get("sectionName")) for ref in parent_refs]


def hostnames(world: World) -> list[str]:
    found: list[str] = world.objects["HTTPRoute", NAME]["spec"].get("hostnames", [])
    return found


def prefixes(world: World) -> tuple[str, ...]:
    return parse_gateway.route(world.objects["HTTPRoute", NAME]).path_prefixes


def test_missing_gateway_leaves_the_old_one() -> None:
    world = change(serving(), parentRefs=refs("typo"))
    world.missing = {"typo"}
    world.rest()
    assert parents(world) == [("typo", None), ("old", None)]
    assert world.status.url == "http://10.0.0.1/shop/churn"
    assert world.condition("Available").status == "True"
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "GatewayNotFound")
    assert "the route keeps Gateway shop/old." in ready.message
    world.missing = set()
    world.rest()
    assert parents(world) == [("typo", None)]
    assert world.condition("Ready").status == "True"


def test_old_gateway_stays_until_the_new_one_accepts() -> None:
    world = change(serving(), parentRefs=refs("new")).reconcile()
    assert parents(world) == [("new", None), ("old", None)]
    world.reconcile()
    assert parents(world) == [("new", None), ("old", None)], "no gateway has reported yet"
    assert world.condition("TrafficRouted").reason == "RoutePending"
    world.accept_route().reconcile()
    assert parents(world) == [("new", None)]


def test_second_wrong_gateway_replaces_the_first() -> None:
    world = serving()
    world.missing = {"typo", "other"}
    change(world, parentRefs=refs("typo")).rest()
    change(world, parentRefs=refs("other")).rest()
    assert parents(world) == [("other", None), ("old", None)]
    change(world, parentRefs=refs("old")).rest()
    assert parents(world) == [("old", None)]


def test_all_new_gateways_must_accept() -> None:
    world = change(serving(), parentRefs=refs("new", "typo"))
    world.missing = {"typo"}
    world.rest()
    assert parents(world) == [("new", None), ("typo", None), ("old", None)]


def test_first_route_has_what_the_spec_says() -> None:
    world = World().gateway()
    world.missing_gateway = True
    change(world, parentRefs=refs("typo")).settle()
    change(world, parentRefs=refs("gate")).settle()
    assert parents(world) == [("gate", None)], "no gateway has ever served the other one"
    assert world.status.url is None
    assert world.condition("Available").reason == "GatewayNotFound"


def test_listener_of_the_same_gateway() -> None:
    """An HTTPRoute may not name a Gateway both with and without a section."""
    world = serving(HTTP, Listener("https", "HTTPS", 443))
    change(world, parentRefs=[{"name": "old", "sectionName": "https"}]).reconcile()
    assert parents(world) == [("old", "https"), ("old", "http")]
    world.reconcile()
    assert parents(world) == [("old", "https"), ("old", "http")], "no gateway has reported yet"
    assert world.status.url == "http://10.0.0.1/shop/churn"
    world.accept_route().reconcile()
    assert parents(world) == [("old", "https")]
    assert world.status.url == "https://10.0.0.1/shop/churn"


def test_all_listeners_of_the_same_gateway() -> None:
    world = serving(parentRefs=[{"name": "old", "sectionName": "http"}])
    assert parents(change(world, parentRefs=refs("old")).reconcile()) == [("old", None)]


def test_old_host_name_stays_until_the_new_one_is_accepted() -> None:
    world = change(serving(hostnames=["a.example.com"]), hostnames=["b.example.com"]).reconcile()
    assert hostnames(world) == ["b.example.com", "a.example.com"]
    assert world.status.url == "http://a.example.com/shop/churn"
    world.accept_route().reconcile()
    assert hostnames(world) == ["b.example.com"]
    assert world.status.url == "http://b.example.com/shop/churn"


@pytest.mark.parametrize("before", [["a.example.com"], []])
def test_host_name_without_a_listener_is_named(before: list[str]) -> None:
    world = serving(Listener("http", "HTTP", 80, "*.example.com"), hostnames=before)
    change(world, hostnames=["a.example.org"]).rest()
    assert hostnames(world) == (["a.example.org", "a.example.com"] if before else [])
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "RouteRefused")
    assert "No listener of the Gateway has the host name a.example.org" in ready.message
    assert world.status.url == f"http://{before[0] if before else 'churn.example.com'}/shop/churn"
    assert world.condition("Available").status == "True"
    change(world, hostnames=["b.example.com"]).rest()
    assert hostnames(world) == ["b.example.com"]
    assert world.condition("Ready").status == "True"


def test_old_prefix_stays_until_the_new_one_is_accepted() -> None:
    world = change(serving(pathPrefix="/a"), pathPrefix="/b").reconcile()
    assert prefixes(world) == ("/b", "/a")
    assert world.status.url == "http://10.0.0.1/a"
    assert world.weights() == {world.hash_of(1): 100}
    world.accept_route().reconcile()
    assert prefixes(world) == ("/b",)
    assert world.status.url == "http://10.0.0.1/b"


def test_prefix_changes_beside_the_largest_match() -> None:
    match = [{"header": {"name": "x-cohort", "value": str(number)}} for number in range(7)]
    world = serving(pathPrefix="/a")
    world.edit(canary={"weight": 10, "model": {"uri": "models:/churn/2"}, "match": match}).rest()
    change(world, pathPrefix="/b").reconcile()
    split = world.split()
    assert prefixes(world) == ("/b", "/a")
    assert len(world.objects["HTTPRoute", NAME]["spec"]["rules"]) == 16
    assert (len(split.matches), split.weights) == (7, {world.hash_of(1): 90, world.hash_of(2): 10})
    change(world, pathPrefix="/c").reconcile()
    assert prefixes(world) == ("/c", "/a"), "the last one that was accepted stays"
    world.rest()
    assert prefixes(world) == ("/c",)


def test_parents_and_prefix_change_together() -> None:
    world = change(serving(pathPrefix="/a"), parentRefs=refs("typo"), pathPrefix="/b")
    world.missing = {"typo"}
    world.rest()
    assert (parents(world), prefixes(world)) == ([("typo", None), ("old", None)], ("/b", "/a"))
    assert world.status.url == "http://10.0.0.1/a"


def test_restarted_operator_continues() -> None:
    """The route in the cluster has all that the shift depends on."""
    world = change(serving(), parentRefs=refs("typo"))
    world.missing = {"typo"}
    world.settle()
    world.status = type(world.status)()
    world.settle()
    assert parents(world) == [("typo", None), ("old", None)]


HOSTS = ("a.example.com", "b.example.com", "c.example.org")
LISTENERS = (Listener("http", "HTTP", 80, "*.example.com"), Listener("https", "HTTPS", 443, "*.example.com"))
CHOICES: dict[str, list[Any]] = {
    "parentRefs": [
        refs("old"),
        refs("new"),
        refs("typo"),
        refs("new", "typo"),
        [{"name": "old", "sectionName": "https"}],
        [{"name": "old", "sectionName": "http"}, {"name": "new"}],
    ],
    "hostnames": [[], ["a.example.com"], ["b.example.com"], ["c.example.org"], ["b.example.com", "c.example.org"]],
    "pathPrefix": ["/a", "/b", "/c"],
}
Ways = set[tuple[str, str, str, str]]


def ways(world: World) -> Ways:
    """Return each (Gateway, listener, host name, path prefix) that the route has and that a Gateway can serve."""
    return {
        (gateway, listener.name, host, prefix)
        for gateway, section in parents(world)
        if gateway not in world.missing
        for listener in LISTENERS
        if section in (None, listener.name)
        for host in HOSTS
        if host.endswith(".example.com") and (not hostnames(world) or host in hostnames(world))
        for prefix in prefixes(world)
    }


@pytest.mark.parametrize("seed", range(40))
def test_no_change_takes_all_ways_at_once(seed: int) -> None:
    chance = random.Random(seed)
    world = serving(*LISTENERS, pathPrefix="/a")
    world.missing = {"typo"}
    served, gateway = ways(world), {"parentRefs": refs("old"), "pathPrefix": "/a"}
    for _ in range(40):
        match chance.randrange(3):
            case 0:
                field = chance.choice(list(CHOICES))
                gateway[field] = chance.choice(CHOICES[field])
                change(world, **gateway)
            case 1:
                world.accept_route()
                served = ways(world)
            case _:
                world.reconcile()
        assert served & ways(world), "no way that a Gateway serves is left"
    change(world, parentRefs=refs("new"), hostnames=["b.example.com"], pathPrefix="/c").rest()
    assert (parents(world), hostnames(world), prefixes(world)) == ([("new", None)], ["b.example.com"], ("/c",))
    assert world.status.url == "https://b.example.com/c"
