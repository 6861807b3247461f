"""status.url is an address that a listener serves."""

from __future__ import annotations

from typing import Any

import pytest
from sluicegate.core.snapshot import parse_gateway
from sluicegate.core.snapshot.facts import GatewayFacts, Listener
from sluicegate.core.snapshot.parse import Raw

from tests.support.fake_cluster import World


def listener(name: str = "http", port: int = 80, protocol: str = "HTTP", **fields: Any) -> dict[str, Any]:
    return {"name": name, "port": port, "protocol": protocol, "allowedRoutes": {"namespaces": {"from": "All"}}} | fields


def facts(*listeners: Raw, **status: Any) -> GatewayFacts:
    metadata = {"name": "gate", "namespace": "shop"}
    return parse_gateway.gateway({"metadata": metadata, "spec": {"listeners": list(listeners)}, "status": status})


HTTPS = listener("https", 443, "HTTPS")
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str | None]] = {
    "address": ([listener()], {}, "http://10.0.0.1"),
    "port": ([listener(port=8080)], {}, "http://10.0.0.1:8080"),
    "host of the listener": ([listener(hostname="a.example.com")], {}, "http://a.example.com"),
    "wildcard of the listener": ([listener(hostname="*.example.com")], {}, "http://churn.example.com"),
    "host of the route": ([listener()], {"hostnames": ["b.example.com"]}, "http://b.example.com"),
    "wildcard of the route": ([listener()], {"hostnames": ["*.example.com"]}, "http://churn.example.com"),
    "a whole host before a wildcard": (
        [listener()],
        {"hostnames": ["*.example.com", "b.example.org"]},
        "http://b.example.org",
    ),
    "host of the route below the wildcard": (
        [listener(hostname="*.example.com")],
        {"hostnames": ["b.example.org", "b.example.com"]},
        "http://b.example.com",
    ),
    "host of the listener below the wildcard": (
        [listener(hostname="b.example.com")],
        {"hostnames": ["*.example.com"]},
        "http://b.example.com",
    ),
    "no common host": ([listener(hostname="a.example.com")], {"hostnames": ["b.example.com"]}, None),
    "wildcard does not cover its own domain": (
        [listener(hostname="*.example.com")],
        {"hostnames": ["example.com"]},
        None,
    ),
    "HTTPS first": ([listener(), HTTPS], {}, "https://10.0.0.1"),
    "the listener with the host": (
        [listener(), HTTPS | {"hostname": "a.example.com"}],
        {"hostnames": ["b.example.com"]},
        "http://b.example.com",
    ),
    "port of HTTPS": ([HTTPS | {"port": 8443}], {}, "https://10.0.0.1:8443"),
    "listener of the parentRef": (
        [listener(), HTTPS],
        {"parentRefs": [{"name": "gate", "sectionName": "http"}]},
        "http://10.0.0.1",
    ),
    "port of the parentRef": (
        [listener(), listener("other", 81)],
        {"parentRefs": [{"name": "gate", "port": 81}]},
        "http://10.0.0.1:81",
    ),
    "listener of another protocol": ([listener(), listener("tls", 443, "TLS")], {}, "http://10.0.0.1"),
    "listener for other kinds": (
        [listener(), HTTPS | {"allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}}],
        {},
        "http://10.0.0.1",
    ),
    "listener for no namespace": (
        [listener(), HTTPS | {"allowedRoutes": {"namespaces": {"from": "None"}}}],
        {},
        "http://10.0.0.1",
    ),
    "listener by default of the same namespace": ([HTTPS | {"allowedRoutes": {}}], {}, "https://10.0.0.1"),
}


@pytest.mark.parametrize("case", CASES)
def test_url_is_one_that_a_listener_serves(case: str) -> None:
    listeners, gateway, origin = CASES[case]
    world = World(traffic={"gateway": {"parentRefs": [{"name": "gate"}], **gateway}})
    world.listeners = facts(*listeners).listeners
    world.rest()
    assert world.status.url == (f"{origin}/shop/churn" if origin else None)


def test_listener_that_does_not_work_comes_last() -> None:
    broken = {"name": "https", "conditions": [{"type": "Programmed", "status": "False"}]}
    world = World().gateway()
    world.listeners = facts(listener(), HTTPS, listeners=[broken]).listeners
    assert world.rest().status.url == "http://10.0.0.1/shop/churn"


def test_url_is_of_the_gateway_that_accepted() -> None:
    world = World(traffic={"gateway": {"parentRefs": [{"name": "typo"}, {"name": "gate", "port": 81}]}})
    world.listeners = (Listener("http", "HTTP", 80), Listener("other", "HTTP", 81))
    world.missing = {"typo"}
    assert world.rest().status.url == "http://10.0.0.1:81/shop/churn"


def test_root_path_has_no_slash_at_its_end() -> None:
    world = World(traffic={"gateway": {"parentRefs": [{"name": "gate"}], "pathPrefix": "/"}})
    assert world.rest().status.url == "http://10.0.0.1"


def test_no_url_before_a_gateway_accepts() -> None:
    world = World().gateway()
    world.refusal = "no listener lets the namespace in"
    assert world.rest().status.url is None


def test_url_stays_while_a_gateway_applies_new_weights() -> None:
    world = World().gateway().rest()
    world.objects["HTTPRoute", "churn"]["metadata"]["generation"] += 1
    assert world.reconcile().status.url == "http://10.0.0.1/shop/churn"
