"""The hosts and the series that a resource can make the operator read."""

import asyncio
from typing import Any, cast

import pytest
from sluicegate.api.reasons import Reason
from sluicegate.api.resource import decode
from sluicegate.config import hosts
from sluicegate.config.settings import Settings, build
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.registry.registries import Registries, RegistryRef

from tests.support.counted_pods import ERRORS, Here, live

PLATFORM = {"address": "http://prometheus"}


def settings(**values: Any) -> Settings:
    return build([("file", {"registries": {"default": {"trackingUri": "http://mlflow"}}, **values})])


def registry(uri: str | None, **tenants: Any) -> RegistryRef:
    """Return the registry of a model with the inline registry `uri`."""
    inline = {"inlineRegistry": {"trackingUri": uri}} if uri else {}
    spec = {"model": {"uri": "models:/m/1", **inline}}
    resource = decode({"metadata": {"name": "a", "namespace": "b"}, "spec": spec})
    return Registries(cast(KubeClient, None), settings(tenants=tenants)).ref_of(resource)


def message(chosen: Settings, **analysis: Any) -> tuple[str, list[str]]:
    """Return the message of an analysis, and the queries that it sent."""
    queries: list[str] = []
    messages: list[str] = []

    def answer(query: str) -> Any:
        queries.append(query)
        return [({}, 1.0)]

    async def life(here: Here) -> None:
        here.add(**analysis)
        await asyncio.sleep(60)
        messages.append(here.reading().measurements[0].message)

    live(life, prometheus=answer, settings=chosen)
    return messages[0], queries


QUERY = {"name": "q", "type": "Query", "query": 'max(x{namespace="other"}) - y', "limit": 10}


def test_any_host_is_allowed_by_default() -> None:
    assert registry("http://other:5000").tracking_uri == "http://other:5000"
    _, queries = message(settings(), metrics=[QUERY], source={"type": "Prometheus", "address": "http://other:9090"})
    assert QUERY["query"] in queries


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("http://mlflow.risk.svc:5000", True),
        ("http://MLFLOW.risk.svc.:5000/path", True),
        ("https://a.mlflow.example.com", True),
        ("https://mlflow.example.com", False),
        ("https://amlflow.example.com", False),
        ("http://mlflow.risk.svc.evil.com", False),
        ("http://169.254.169.254", False),
        ("http://[::1]:5000", False),
    ],
)
def test_inline_registries_need_an_allowed_host(uri: str, allowed: bool) -> None:
    chosen = {"inlineRegistryHosts": ["mlflow.risk.svc", "*.mlflow.example.com"]}
    if allowed:
        assert registry(uri, **chosen).tracking_uri == uri
        return
    with pytest.raises(ResolutionError) as caught:
        registry(uri, **chosen)
    assert caught.value.failure.reason == Reason.REGISTRY_UNKNOWN
    assert "tenants.inlineRegistryHosts" in caught.value.failure.message
    assert "mlflow.risk.svc, *.mlflow.example.com" in caught.value.failure.message


def test_an_empty_list_turns_inline_registries_off() -> None:
    with pytest.raises(ResolutionError, match=r"It allows none\. Set spec\.model\.registry"):
        registry("http://mlflow", inlineRegistryHosts=[])
    assert registry(None, inlineRegistryHosts=[]).name == "default"


def test_metrics_sources_need_an_allowed_host() -> None:
    chosen = settings(tenants={"metricsSourceHosts": ["*.monitoring.svc"]}, prometheus=PLATFORM)
    refused, queries = message(chosen, metrics=[ERRORS], source={"type": "Prometheus", "address": "http://other:9090"})
    assert 'does not allow the host "other" (setting tenants.metricsSourceHosts)' in refused
    assert queries == []
    address = "http://prometheus.monitoring.svc:9090"
    _, queries = message(chosen, metrics=[QUERY], source={"type": "Prometheus", "address": address})
    assert queries
    _, queries = message(chosen, metrics=[QUERY])
    assert queries, "the platform's own server is always allowed"


@pytest.mark.parametrize("source", [{}, {"source": {"type": "Prometheus", "address": "http://other:9090"}}])
def test_queries_are_limited_to_the_namespace(source: dict[str, Any]) -> None:
    chosen = settings(prometheus={**PLATFORM, "namespaceLabel": "kubernetes_namespace"})
    _, queries = message(chosen, metrics=[QUERY, {**ERRORS, "name": "e"}], **source)
    matcher = 'kubernetes_namespace="ns"'
    assert queries[0].count(matcher) == 2 or queries[1].count(matcher) == 2
    assert all(matcher in query for query in queries)


def test_a_query_that_cannot_be_limited_is_not_sent() -> None:
    chosen = settings(prometheus={**PLATFORM, "namespaceLabel": "namespace"})
    refused, queries = message(chosen, metrics=[{**QUERY, "query": "max(x) # all"}])
    assert "cannot be limited to namespace ns (setting prometheus.namespaceLabel): '#' at character 8" in refused
    assert queries == []


@pytest.mark.parametrize(
    ("host", "pattern", "expected"),
    [
        ("a.example.com", "A.example.com", True),
        ("a.example.com.", "a.example.com", True),
        ("a.example.com", "*.example.com", True),
        ("b.a.example.com", "*.example.com", True),
        ("example.com", "*.example.com", False),
        ("", "*.example.com", False),
        ("a.example.com", "example.com", False),
    ],
)
def test_patterns_of_hosts(host: str, pattern: str, expected: bool) -> None:
    assert hosts.matches(host, [pattern]) is expected
