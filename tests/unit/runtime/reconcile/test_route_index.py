"""What the index of routes finds, and which resources a change wakes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sluicegate.api.resource import Key
from sluicegate.api.traffic import ParentRef
from sluicegate.config.settings import GatewaySettings, Settings
from sluicegate.core.snapshot import parse_gateway
from sluicegate.core.snapshot.facts import GatewayFacts, Listener
from sluicegate.kube import kinds
from sluicegate.runtime.reconcile.queue import WorkQueue
from sluicegate.runtime.reconcile.route_index import RouteIndex
from sluicegate.runtime.reconcile.waker import Waker
from sluicegate.runtime.resources import Resources

SETTINGS = Settings(gateway=GatewaySettings(parent_refs=(ParentRef(name="public", namespace="infra"),)))


class Cluster:
    """ModelDeployments and HTTPRoutes, with the index and the waker of the operator."""

    def __init__(self) -> None:
        self.routes: dict[Key, Any] = {}
        self.woken: list[Key] = []
        self.listeners: tuple[Listener, ...] = ()
        routes = SimpleNamespace(get=lambda *key: self.routes.get(key))
        caches: Any = SimpleNamespace(
            children={kinds.HTTP_ROUTE: routes},
            named=lambda _, owner: self.routes.get((owner.namespace, owner.name)),
            gateway=lambda namespace, name: GatewayFacts(namespace, name, exists=True, listeners=self.listeners),
        )
        self.resources = Resources(lambda key: self.waker.resource_changed(key))
        self.index = RouteIndex(self.resources, caches, SETTINGS)
        queue: WorkQueue[Key] = WorkQueue(lambda: 0.0)
        queue.add = self.woken.append  # type: ignore[method-assign]
        self.waker = Waker(self.resources, queue, SETTINGS, self.index)
        self._version = 0

    def apply(self, key: str, created: int, prefix: str | None = None, gateway: str | None = None) -> None:
        namespace, name = key.split("/")
        self._version += 1
        metadata = {
            "namespace": namespace,
            "name": name,
            "uid": key,
            "creationTimestamp": f"2026-01-0{created}T00:00:00Z",
            "resourceVersion": str(self._version),
        }
        fields: dict[str, Any] = {"pathPrefix": prefix} if prefix is not None else {}
        if gateway is not None:
            fields["parentRefs"] = [{"name": gateway, "namespace": "infra"}]
        spec = {"model": {"uri": "models:/m/1"}, "traffic": {"gateway": fields}}
        self.resources.offer({"metadata": metadata, "spec": spec})

    def route(self, key: str, *prefixes: str, gateway: str = "public") -> None:
        """Create or change the HTTPRoute of a resource. Without a prefix, delete it."""
        namespace, name = key.split("/")
        spec = {
            "parentRefs": [{"name": gateway, "namespace": "infra"}],
            "rules": [{"matches": [{"path": {"value": prefix}}]} for prefix in prefixes],
        }
        facts = parse_gateway.route({"metadata": {"name": name, "namespace": namespace}, "spec": spec})
        self.routes[namespace, name] = SimpleNamespace(owner=(namespace, name), facts=facts)
        if not prefixes:
            del self.routes[namespace, name]
        self.waker.wake_route((namespace, name))

    def rival(self, key: str) -> str | None:
        namespace, name = key.split("/")
        resource = self.resources.get((namespace, name))
        assert resource is not None
        found = self.index.conflict(resource).rival
        return found.name if found is not None else None

    def took(self) -> list[Key]:
        taken, self.woken[:] = sorted(set(self.woken)), []
        return taken


@pytest.mark.parametrize("prefix", ["/team-a/model", "/team-a/model/invocations", "/team-a", "/"])
def test_another_namespace_cannot_take_a_default_path(prefix: str) -> None:
    cluster = Cluster()
    cluster.apply("team-a/model", 1)
    cluster.apply("team-b/evil", 2, prefix)
    assert cluster.rival("team-b/evil") == "team-a/model"
    assert cluster.rival("team-a/model") is None


def test_a_resource_that_claims_everything_in_vain_keeps_nobody() -> None:
    cluster = Cluster()
    cluster.apply("team-a/model", 1)
    cluster.apply("team-b/evil", 2, "/")
    cluster.apply("team-c/other", 3)
    cluster.apply("team-d/routed", 3)
    cluster.route("team-d/routed", "/team-d/routed")
    cluster.took()
    cluster.route("team-a/model", "/team-a/model")
    assert cluster.took() == [("team-a", "model"), ("team-b", "evil"), ("team-c", "other")]
    assert cluster.rival("team-b/evil") == "team-a/model"
    assert cluster.rival("team-c/other") is None


def test_a_path_is_free_when_the_other_resource_and_its_route_are_gone() -> None:
    cluster = Cluster()
    cluster.apply("shop/old", 1, "/pay")
    cluster.route("shop/old", "/pay")
    cluster.apply("shop/new", 2, "/pay")
    cluster.apply("shop/else", 3, "/else")
    cluster.took()
    cluster.resources.remove(("shop", "old"))
    assert ("shop", "new") in cluster.took()
    assert cluster.rival("shop/new") == "shop/old", "its route is still there"
    cluster.route("shop/old")
    assert cluster.took() == [("shop", "new")]
    assert cluster.rival("shop/new") is None


def test_a_path_is_free_when_the_other_resource_moves() -> None:
    cluster = Cluster()
    cluster.apply("shop/old", 1, "/pay")
    cluster.apply("shop/new", 2, "/pay/v2")
    cluster.took()
    cluster.apply("shop/old", 1, "/moved")
    assert cluster.took() == [("shop", "new"), ("shop", "old")]
    assert cluster.rival("shop/new") is None


def test_a_change_that_claims_no_other_path_wakes_no_other() -> None:
    cluster = Cluster()
    cluster.apply("shop/a", 1, "/pay")
    cluster.apply("shop/b", 2, "/pay")
    cluster.route("shop/a", "/pay")
    cluster.took()
    cluster.route("shop/a", "/pay")
    assert cluster.took() == [("shop", "a")]


def test_the_route_in_the_cluster_that_came_second_is_found() -> None:
    cluster = Cluster()
    cluster.apply("team-a/model", 1)
    cluster.apply("team-b/evil", 2, "/team-a/model/invocations")
    for key, path in (("team-a/model", "/team-a/model"), ("team-b/evil", "/team-a/model/invocations")):
        cluster.route(key, path)
    evil = cluster.resources.get(("team-b", "evil"))
    assert evil is not None
    assert cluster.index.conflict(evil).route_taken
    model = cluster.resources.get(("team-a", "model"))
    assert model is not None
    assert not cluster.index.conflict(model).route_taken


def test_a_former_gateway_that_changes_wakes_the_resource_whose_route_still_has_it() -> None:
    cluster = Cluster()
    cluster.apply("shop/a", 1, gateway="new")
    cluster.apply("shop/b", 1, gateway="new")
    cluster.route("shop/a", "/shop/a", gateway="old")
    cluster.took()
    cluster.waker.wake_gateway(("infra", "old"))
    assert cluster.took() == [("shop", "a")]
    cluster.waker.wake_gateway(("infra", "new"))
    assert cluster.took() == [("shop", "a"), ("shop", "b")]
    cluster.route("shop/a", "/shop/a", gateway="new")
    cluster.took()
    cluster.waker.wake_gateway(("infra", "old"))
    assert cluster.took() == []


def test_a_changed_listener_wakes_the_resources_that_it_sets_apart() -> None:
    cluster = Cluster()
    cluster.apply("shop/a", 1, "/pay")
    cluster.apply("shop/b", 2, "/pay/v2", gateway="public")
    cluster.took()
    cluster.listeners = (Listener("http", "HTTP", 80, hostname="a.example.com", namespaces="All"),)
    cluster.waker.wake_gateway(("infra", "public"))
    assert cluster.took() == [("shop", "a"), ("shop", "b")]
