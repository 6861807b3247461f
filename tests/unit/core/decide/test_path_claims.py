"""Who a host and a path belong to."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from sluicegate.api.resource import Key, decode
from sluicegate.api.traffic import ParentRef
from sluicegate.config.settings import GatewaySettings, Settings
from sluicegate.core.decide.path_claims import Claimant, Contest, ancestors, claimant, first_is_other, rival
from sluicegate.core.snapshot.facts import GatewayFacts, Listener, RouteFacts, RouteParent, Split

SETTINGS = Settings(gateway=GatewaySettings(parent_refs=(ParentRef(name="public", namespace="infra"),)))
OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
LISTENERS: tuple[Listener, ...] = (Listener("http", "HTTP", 80, namespaces="All"),)


def made(
    key: str,
    created: str = OLD,
    routed: tuple[str, ...] = (),
    refused: bool = False,
    listeners: tuple[Listener, ...] = LISTENERS,
    settings: Settings = SETTINGS,
    **gateway: Any,
) -> Claimant:
    """Return a resource, with the fields of spec.traffic.gateway and the path prefixes of its HTTPRoute."""
    namespace, name = key.split("/")
    metadata = {"namespace": namespace, "name": name, "creationTimestamp": created}
    spec = {"model": {"uri": "models:/m/1"}, "traffic": {"gateway": gateway}}
    refs = [ParentRef(**ref) for ref in gateway.get("parentRefs", [{"namespace": "infra", "name": "public"}])]
    route = RouteFacts(
        Split(),
        accepted=not refused,
        parents=tuple(RouteParent(ref, not refused, not refused) for ref in refs),
        hostnames=tuple(gateway.get("hostnames", ())),
        path_prefixes=routed,
    )

    def gateway_of(namespace: str, name: str) -> GatewayFacts:
        return GatewayFacts(namespace, name, exists=True, listeners=listeners)

    resource = decode({"metadata": metadata, "spec": spec})
    return claimant((namespace, name), resource, route if routed else None, gateway_of, settings)


def loses(mine: Claimant, *others: Claimant) -> bool:
    return rival(mine, mine.wanted, others) is not None


@pytest.mark.parametrize(
    ("mine_routed", "other_routed", "other_older", "other"),
    [
        (False, False, False, False),
        (False, False, True, True),
        (False, True, False, True),
        (False, True, True, True),
        (True, False, False, False),
        (True, False, True, False),
        (True, True, False, False),
        (True, True, True, True),
    ],
)
def test_what_is_routed_keeps_its_path_and_then_the_older_is_first(
    mine_routed: bool, other_routed: bool, other_older: bool, other: bool
) -> None:
    assert first_is_other(Contest(mine_routed, other_routed, other_older)) is other


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ({"pathPrefix": "/pay"}, {"pathPrefix": "/pay"}, True),
        ({"pathPrefix": "/pay"}, {"pathPrefix": "/payments"}, False),
        ({"pathPrefix": "/pay"}, {"pathPrefix": "/pay/v2"}, True),
        ({"pathPrefix": "/"}, {"pathPrefix": "/pay"}, True),
        ({}, {"pathPrefix": "/team-a/model"}, True),
        ({}, {"pathPrefix": "/team-a/model/invocations"}, True),
        ({}, {"pathPrefix": "/team-a"}, True),
        ({}, {"pathPrefix": "/team%2Da/model"}, True),
        ({}, {}, False),
        ({"hostnames": ["a.example.com"]}, {"hostnames": ["b.example.com"], "pathPrefix": "/team-a/model"}, False),
        ({"hostnames": ["a.example.com"]}, {"hostnames": ["*.example.com"], "pathPrefix": "/team-a/model"}, True),
        ({"hostnames": ["a.example.com"]}, {"pathPrefix": "/team-a/model"}, True),
        ({}, {"pathPrefix": "/team-a/model", "parentRefs": [{"name": "public"}]}, False),
        ({}, {"pathPrefix": "/team-a/model", "parentRefs": [{"name": "public", "namespace": "infra"}]}, True),
    ],
)
def test_the_older_of_two_that_overlap_has_the_path(
    first: dict[str, Any], second: dict[str, Any], overlap: bool
) -> None:
    older, younger = made("team-a/model", **first), made("team-b/evil", NEW, **second)
    assert loses(younger, older) is overlap
    assert not loses(older, younger)


def test_of_two_of_one_age_the_lower_name_has_the_path() -> None:
    first, second = made("team-a/x", pathPrefix="/pay"), made("team-b/a", pathPrefix="/pay")
    assert loses(second, first)
    assert not loses(first, second)


def test_an_older_resource_that_moves_to_a_routed_path_is_later() -> None:
    older = made("team-b/evil", OLD, ("/team-b/evil",), pathPrefix="/team-a/model")
    younger = made("team-a/model", NEW, ("/team-a/model",))
    assert loses(older, younger)
    assert not loses(younger, older)
    assert rival(older, older.held, [younger]) is None


def test_two_that_want_each_others_path_keep_their_own() -> None:
    first = made("shop/a", OLD, ("/a",), pathPrefix="/b")
    second = made("shop/b", NEW, ("/b",), pathPrefix="/a")
    assert loses(first, second)
    assert loses(second, first)


def test_a_path_that_a_route_is_leaving_is_not_free_yet() -> None:
    leaving = made("shop/old", OLD, ("/pay", "/moved"), pathPrefix="/moved")
    assert loses(made("shop/new", NEW, pathPrefix="/pay"), leaving)
    assert not loses(made("shop/new", NEW, ("/pay",), pathPrefix="/pay"), leaving)


def test_the_route_of_an_unknown_resource_holds_its_path() -> None:
    """At the start of the operator, the routes are known before the resources."""
    routed = replace(made("team-a/model", routed=("/team-a/model",)), wanted=(), created=None)
    assert loses(made("team-b/evil", pathPrefix="/team-a/model"), routed)
    assert not loses(made("team-b/evil", routed=("/team-a/model",), pathPrefix="/team-a/model"), routed)


def test_the_route_that_came_second_is_taken_away() -> None:
    first = made("team-a/model", OLD, ("/team-a/model",))
    second = made("team-b/evil", NEW, ("/team-a/model/invocations",), pathPrefix="/team-a/model/invocations")
    assert rival(second, second.held, [first]) is not None
    assert rival(first, first.held, [second]) is None


def test_a_route_that_is_refused_for_a_while_keeps_its_path() -> None:
    refused = made("team-a/model", OLD, ("/team-a/model",), refused=True)
    assert loses(made("team-b/evil", OLD, pathPrefix="/team-a/model"), refused)


def test_routes_of_listeners_with_other_host_names_do_not_overlap() -> None:
    listeners = tuple(
        Listener(name, "HTTP", 80, hostname=f"{name}.example.com", namespaces="All") for name in ("a", "b")
    )
    refs = {name: [{"namespace": "infra", "name": "public", "section_name": name}] for name in ("a", "b")}
    first = made("shop/a", listeners=listeners)
    section = Settings(gateway=GatewaySettings(parent_refs=tuple(ParentRef(**ref) for ref in refs["a"])))
    other = Settings(gateway=GatewaySettings(parent_refs=tuple(ParentRef(**ref) for ref in refs["b"])))
    first = made("shop/a", listeners=listeners, settings=section, pathPrefix="/")
    assert not loses(made("shop/b", NEW, listeners=listeners, settings=other, pathPrefix="/"), first)
    assert loses(made("shop/b", NEW, listeners=listeners, pathPrefix="/"), first)


def test_exactly_one_of_two_that_want_one_path_has_it() -> None:
    """Try every pair of specs and routes: two resources never both win an overlap of what they want."""
    prefixes = ("/", "/x", "/x/y", "/z")
    routes = [(), *((prefix,) for prefix in prefixes), ("/x/y", "/z"), ("/x", "/z")]
    for wanted, wanted_too in itertools.product(prefixes, prefixes):
        for route, route_too in itertools.product(routes, routes):
            first = made("shop/a", OLD, route, pathPrefix=wanted)
            second = made("team/b", NEW, route_too, pathPrefix=wanted_too)
            both = wanted == wanted_too or wanted in ancestors(wanted_too) or wanted_too in ancestors(wanted)
            if both:
                assert loses(first, second) or loses(second, first), (wanted, wanted_too, route, route_too)


@pytest.mark.parametrize(("neighbour", "conflict"), [("shop/b", False), ("team/b", True)])
def test_prefix_below_another_conflicts_only_across_namespaces(neighbour: str, conflict: bool) -> None:
    first = made("shop/a", OLD, ("/shop",), pathPrefix="/shop")
    assert loses(made(neighbour, NEW, pathPrefix="/shop/beta"), first) is conflict
    assert loses(made(neighbour, NEW, ("/shop/beta",), pathPrefix="/shop/beta"), first) is conflict
    assert loses(made(neighbour, NEW, pathPrefix="/shop"), first)


def test_ancestors() -> None:
    assert ancestors("/") == ()
    assert ancestors("/a") == ("/",)
    assert ancestors("/a/b/c") == ("/", "/a", "/a/b")


def test_a_path_that_is_not_allowed_claims_nothing() -> None:
    confined = Settings(gateway=GatewaySettings(parent_refs=SETTINGS.gateway.parent_refs, confine_to_namespace=True))
    key: Key = ("team-b", "evil")
    evil = made("/".join(key), OLD, settings=confined, pathPrefix="/team-a/model")
    assert not evil.wanted
    assert not loses(made("team-a/model", NEW, settings=confined), evil)
