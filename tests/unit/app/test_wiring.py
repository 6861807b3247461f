"""How the parts of one process are connected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sluicegate.api.traffic import ParentRef
from sluicegate.app.wiring import build
from sluicegate.config.settings import GatewaySettings, Settings
from sluicegate.kube import kinds
from sluicegate.runtime.metrics import Metrics


def test_a_resource_that_waits_for_a_path_is_reconciled_when_the_other_one_goes() -> None:
    gateway = GatewaySettings(parent_refs=(ParentRef(name="public", namespace="infra"),))
    client: Any = SimpleNamespace()
    app = build(Settings(gateway=gateway), client, Metrics())
    app.caches.subscribe(app.waker.wake, app.waker.wake_gateway, app.waker.wake_route)
    woken: list[tuple[str, str]] = []
    app.queue.add = woken.append  # type: ignore[method-assign]
    traffic = {"gateway": {"pathPrefix": "/pay"}}
    for version, name in enumerate(("old", "new"), start=1):
        created = f"2026-01-0{version}T00:00:00Z"
        metadata = {"namespace": "shop", "name": name, "uid": name, "creationTimestamp": created}
        spec = {"model": {"uri": "models:/m/1"}, "traffic": traffic}
        app.resources.offer({"metadata": {**metadata, "resourceVersion": str(version)}, "spec": spec})
    rules = [{"matches": [{"path": {"value": "/pay"}}]}]
    labels = {"sluicegate.dev/deployment": "old"}
    metadata = {"namespace": "shop", "name": "old", "uid": "r", "resourceVersion": "1", "labels": labels}
    parents = [{"name": "public", "namespace": "infra"}]
    routes = app.caches.children[kinds.HTTP_ROUTE]
    routes.put({"metadata": metadata, "spec": {"parentRefs": parents, "rules": rules}})
    woken.clear()
    app.resources.remove(("shop", "old"))
    assert woken == [("shop", "old"), ("shop", "new")]
    woken.clear()
    routes.forget("shop", "old", "r")
    assert woken == [("shop", "new")]
