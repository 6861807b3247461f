"""Where live values come from, and the message where they are not available."""

import asyncio
from typing import Any

import msgspec
import pytest
from sluicegate.cli.output import live_metrics
from sluicegate.cli.output.live_metrics import Measured, MetricsSource
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, NotFound, ServerError
from sluicegate.kube.kinds import Kind
from sluicegate.kube.wire import Page

PAGE = 'sluicegate_rollout_requests_share{name="churn",namespace="shop",revision="bcdfghjklm"} 75.4\n'


def _pod(name: str, phase: str = "Running", **port: Any) -> dict[str, Any]:
    ports = [{"name": "health", **port}] if port else []
    return {
        "metadata": {"name": name, "namespace": "system"},
        "spec": {"containers": [{"ports": ports}]},
        "status": {"phase": phase},
    }


class _Cluster(KubeClient):
    """A cluster that responds from a table and sends nothing."""

    def __init__(self, pods: Any, pages: dict[str, Any]) -> None:
        self.pods, self.pages = pods, pages
        self.requests: list[str] = []

    async def list(self, kind: Kind, namespace: str | None = None, *_: Any, **__: Any) -> Page:
        response = self.pods(namespace) if callable(self.pods) else self.pods
        if isinstance(response, Exception):
            raise response
        return Page(tuple(msgspec.Raw(msgspec.json.encode(raw)) for raw in response), "1")

    async def through_pod(self, namespace: str, name: str, port: int, path: str) -> str:
        self.requests.append(f"{namespace}/{name}:{port}{path}")
        page = self.pages[name]
        if isinstance(page, Exception):
            raise page
        return str(page)


def _refused(message: str = "no") -> Forbidden:
    return Forbidden(403, "Forbidden", message)


async def test_first_pod_with_values_is_used() -> None:
    pods = [
        _pod("ended", "Succeeded"),
        _pod("away", containerPort=9),
        _pod("standby"),
        _pod("leader", containerPort=81),
    ]
    cluster = _Cluster(pods, {"away": ServerError(503, "", "dial"), "standby": "up 1\n", "leader": PAGE})
    live = await MetricsSource(cluster, "shop", "churn").read()
    assert live.measured == Measured({}, {"bcdfghjklm": 75.4})
    assert cluster.requests == ["system/away:9/metrics", "system/standby:8080/metrics", "system/leader:81/metrics"]


async def test_without_cluster_wide_list_default_namespace_is_used() -> None:
    cluster = _Cluster(lambda where: _refused() if where is None else [_pod("leader")], {"leader": PAGE})
    assert (await MetricsSource(cluster, "shop", "churn").read()).measured is not None


@pytest.mark.parametrize(
    ("pods", "page", "message"),
    [
        (_refused("guest cannot list"), None, "no permission to list the operator's pods (guest cannot list)"),
        (NotFound(404, "", "gone"), None, "listing the operator's pods failed"),
        ([], None, "no pod with the label app.kubernetes.io/name=sluicegate was found"),
        (
            [_pod("leader")],
            _refused("guest cannot get"),
            "no permission to get pods/proxy in namespace system (guest cannot get)",
        ),
        ([_pod("leader")], ServerError(503, "", "dial"), "reading the metrics of pod system/leader failed"),
        ([_pod("leader")], "up 1\n", "the operator has not measured this step yet"),
    ],
)
async def test_cause_of_missing_values_is_reported(pods: Any, page: Any, message: str) -> None:
    live = await MetricsSource(_Cluster(pods, {"leader": page}), "shop", "churn").read()
    assert live.measured is None
    assert message in str(live.unknown)


async def test_slow_metrics_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(_Cluster):
        async def through_pod(self, *_: Any) -> str:
            return str(await asyncio.Event().wait())

    monkeypatch.setattr(live_metrics, "PATIENCE", 0.01)
    live = await MetricsSource(Slow([_pod("leader")], {}), "shop", "churn").read()
    assert "did not arrive within" in str(live.unknown)
