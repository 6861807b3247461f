"""What the caches tell about Gateways and their classes."""

from __future__ import annotations

from typing import Any

from sluicegate.api.resource import Key
from sluicegate.kube import kinds
from sluicegate.runtime.reconcile.caches import Caches, observed_route


def named(name: str, version: int, namespace: str | None = None, **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": name, "resourceVersion": str(version)}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {"metadata": metadata, **parts}


def test_a_gateway_class_decides_whose_report_counts() -> None:
    caches = Caches(None, None, 600.0)  # type: ignore[arg-type]
    woken: list[Key] = []
    caches.subscribe(lambda _: None, woken.append, lambda _: None)
    for name, gateway_class in (("a", "right"), ("b", "other")):
        caches.gateways[None].put(named(name, 1, "infra", spec={"gatewayClassName": gateway_class}))
    ref = {"name": "a", "namespace": "infra"}
    conditions = [
        {"type": kind, "status": "True", "observedGeneration": 1, "reason": "R", "message": ""}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    reports = [{"parentRef": ref, "controllerName": "example.com/foreign", "conditions": conditions}]
    route = named("churn", 1, "shop", spec={"parentRefs": [ref]}, status={"parents": reports})
    route["metadata"] |= {"generation": 1, "labels": {"sluicegate.dev/deployment": "churn"}}
    caches.children[kinds.HTTP_ROUTE].put(route)
    before = observed_route(caches, caches.children[kinds.HTTP_ROUTE].get("shop", "churn"))
    assert before is not None
    assert before.accepted, "the class is not known"
    woken.clear()
    caches.gateway_classes.put(named("right", 1, spec={"controllerName": "example.com/gate"}))
    assert woken == [("infra", "a")]
    assert caches.gateway("infra", "a").controller == "example.com/gate"
    after = observed_route(caches, caches.children[kinds.HTTP_ROUTE].get("shop", "churn"))
    assert after is not None
    assert not after.accepted
    assert observed_route(caches, None) is None
