"""Which of several operators acts on a namespace."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sluicegate.api.names import LEASE
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.app.peers import GONE_SECONDS, INTERVAL, Peers
from sluicegate.config.settings import Settings
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Forbidden, Unreachable
from sluicegate.kube.wire import Page
from sluicegate.runtime.metrics import Metrics
from sluicegate.runtime.resources import Resources

from tests.support import virtual_clock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Cluster:
    """The Leases of all operators, each of which renews its own one while it is alive."""

    def __init__(self) -> None:
        self.leases: dict[tuple[str, str], dict[str, Any]] = {}
        self.dead: set[tuple[str, str]] = set()
        self.seconds = 0.0
        self.fault: Exception | None = None
        self.requests = 0
        self.reported: set[tuple[str, str]] = set()
        """The operators that wrote to a status, and the namespaces in which they did so."""

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def start(self, namespace: str, scope: str | None = None) -> "Operator":
        """Start an operator in a namespace. Each one is an hour younger than the one before."""
        name = (namespace, f"{LEASE}-{scope}" if scope else LEASE)
        self.reported.add(("/".join(name), scope or "other"))
        created = (NOW + timedelta(hours=len(self.leases) - 100)).isoformat()
        self.leases[name] = {"created": created, "renewed": self.now, "holder": "pod-1"}
        return Operator(self, Settings(operator_namespace=namespace, namespace=scope))

    def later(self, seconds: float) -> None:
        self.seconds += seconds
        for name, lease in self.leases.items():
            if name not in self.dead:
                lease["renewed"] = self.now

    async def list(self, kind: Any, **query: Any) -> Page:
        self.requests += 1
        if self.fault is not None:
            raise self.fault
        return cast(Page, _Page([self._lease(*name) for name in self.leases]))

    def _lease(self, namespace: str, name: str) -> dict[str, Any]:
        lease = self.leases[namespace, name]
        metadata = {"namespace": namespace, "name": name, "creationTimestamp": lease["created"]}
        renewed = lease["renewed"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {"metadata": metadata, "spec": {"holderIdentity": lease["holder"], "renewTime": renewed}}


class _Page:
    def __init__(self, items: list[dict[str, Any]]) -> None:
        self.items = items


class Operator:
    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self.cluster = cluster
        self.resources = Resources(lambda _: None)
        client = cast(KubeClient, cluster)
        self.peers = Peers(client, settings, lambda: cluster.seconds, self.resources)

    async def look(self) -> None:
        """List the Leases, and read every ModelDeployment as a reconcile does."""
        await self.peers.look(self.cluster.now)
        for operator, namespace in self.cluster.reported:
            self.peers.acting(resource(namespace, operator))

    async def acts(self, *namespaces: str) -> list[bool]:
        await self.look()
        return [self.acting(namespace) is None for namespace in namespaces]

    def acting(self, namespace: str) -> str | None:
        return self.peers.acting(resource(namespace))


def resource(namespace: str, operator: str | None = None) -> ModelDeployment:
    """Return a ModelDeployment on which an operator has reported, or none."""
    status = {"operator": operator} if operator is not None else {}
    spec = {"model": {"uri": "models:/m/1"}}
    return decode({"metadata": {"namespace": namespace, "name": "a"}, "spec": spec, "status": status})


async def watch(seconds: float, *operators: Operator) -> None:
    """Let time pass while the operators look for each other."""
    for _ in range(round(seconds / INTERVAL)):
        operators[0].cluster.later(INTERVAL)
        for operator in operators:
            await operator.look()


async def test_alone_it_acts_everywhere() -> None:
    operator = Cluster().start("first")
    assert await operator.acts("shop", "risk") == [True, True]
    assert not operator.peers.stands_back


async def test_the_older_of_two_cluster_wide_operators_acts() -> None:
    cluster = Cluster()
    first, second = cluster.start("first"), cluster.start("second")
    for _ in range(3):
        assert await first.acts("shop") == [True]
        assert await second.acts("shop") == [False]
        assert second.acting("shop") == f"first/{LEASE}" and second.peers.stands_back
        cluster.later(INTERVAL)


async def test_of_any_number_exactly_one_acts_on_each_namespace() -> None:
    cluster = Cluster()
    operators = {
        (namespace, scope): cluster.start(namespace, scope)
        for namespace, scope in [("c", None), ("a", None), ("shop", "shop"), ("b", None), ("x", "risk")]
    }
    for lease in cluster.leases.values():
        lease["created"] = NOW.isoformat()  # of the same second
    for namespace, expected in {"shop": ("shop", "shop"), "risk": ("x", "risk"), "other": ("a", None)}.items():
        acting = [
            name
            for name, operator in operators.items()
            if name[1] in (None, namespace) and await operator.acts(namespace) == [True]
        ]
        assert acting == [expected]


async def test_an_operator_of_one_namespace_comes_first_there() -> None:
    cluster = Cluster()
    everywhere, own = cluster.start("platform"), cluster.start("shop", "shop")
    assert await everywhere.acts("shop", "risk") == [False, True]
    requests = cluster.requests
    assert await own.acts("shop") == [True] and cluster.requests == requests, "it needs no permission"


async def test_the_younger_one_takes_over_once_the_older_one_is_gone() -> None:
    cluster = Cluster()
    first, second = cluster.start("first"), cluster.start("second")
    assert await second.acts("shop") == [False]
    cluster.dead.add(("first", LEASE))
    await watch(GONE_SECONDS - INTERVAL, second)
    assert second.acting("shop") is not None, "a restart of the older one may take that long"
    await watch(2 * INTERVAL, second)
    assert second.acting("shop") is None
    cluster.dead.clear()
    await watch(INTERVAL, first, second)
    assert second.acting("shop") is not None and first.acting("shop") is None


async def test_a_lease_that_an_uninstalled_release_left_delays_nothing() -> None:
    cluster = Cluster()
    cluster.start("first")
    cluster.dead.add(("first", LEASE))
    cluster.later(3600)
    assert await cluster.start("second").acts("shop") == [True]


async def test_a_wrong_clock_of_the_older_one_matters_for_one_interval() -> None:
    cluster = Cluster()
    cluster.start("first")
    second = cluster.start("second")
    cluster.seconds -= 3600
    cluster.later(0)
    cluster.seconds += 3600
    assert await second.acts("shop") == [True]
    cluster.leases["first", LEASE]["renewed"] += timedelta(seconds=2)
    assert await second.acts("shop") == [False]


async def test_a_lease_of_a_tenant_stops_no_operator() -> None:
    """A tenant may create Leases in its namespace, but may not write a status."""
    cluster = Cluster()
    cluster.start("tenant")
    cluster.start("tenant", "victim")
    cluster.reported.clear()
    operator = cluster.start("platform")
    cluster.leases["tenant", f"{LEASE}-other"] = dict(cluster.leases["tenant", LEASE])
    cluster.reported.add((f"tenant/{LEASE}-victim", "tenant"))
    for _ in range(3):
        assert await operator.acts("victim", "other", "tenant") == [True, True, True]
        cluster.later(INTERVAL)


@pytest.mark.parametrize("fault", [Forbidden(403, "Forbidden", "cannot list leases"), Unreachable("no response")])
async def test_a_failure_changes_nothing(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    cluster.start("first")
    second = cluster.start("second")
    cluster.fault = fault
    await watch(60, second)
    assert second.acting("shop") is None
    assert caplog.text.count("cannot look for other operators") == 1
    cluster.fault = None
    assert await second.acts("shop") == [False]
    cluster.fault = fault
    await watch(600, second)
    assert second.acting("shop") is not None


def test_wakes_the_resources_that_it_takes_over() -> None:
    cluster = Cluster()
    cluster.start("first")
    second = cluster.start("second")
    cluster.start("shop", "shop")
    for namespace in ("shop", "risk"):
        metadata = {"namespace": namespace, "name": "a", "uid": namespace, "resourceVersion": "1"}
        second.resources.offer({"metadata": metadata, "spec": {"model": {"uri": "models:/m/1"}}})
    woken: list[tuple[str, str]] = []

    async def main() -> None:
        await second.look()
        running = asyncio.create_task(second.peers.run(lambda: cluster.now, woken.append))
        for _ in range(20):
            await asyncio.sleep(INTERVAL)
            cluster.later(INTERVAL)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual_clock.run(main())
    assert woken == []
    cluster.dead.add(("first", LEASE))
    virtual_clock.run(main())
    assert woken == [("risk", "a")]


async def test_says_so_in_the_log_once_and_in_a_metric(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    first, second = cluster.start("first"), cluster.start("second")
    for name in ("a", "b"):
        metadata = {"namespace": "shop", "name": name, "uid": name, "resourceVersion": "1"}
        second.resources.offer({"metadata": metadata, "spec": {"model": {"uri": "models:/m/1"}}})
    metrics = Metrics()
    metrics.watch_peers(second.peers.counts)
    await watch(60, first, second)
    assert caplog.text.count(f"the operator first/{LEASE} serves all namespaces too") == 1
    labels = {"operator": f"first/{LEASE}"}
    assert metrics.registry.get_sample_value("sluicegate_standing_back_resources", labels) == 2
