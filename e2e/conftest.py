"""A whole node with the operator and a registry on it, and what tests do there.

SLUICEGATE_E2E_CLUSTER names a running cluster that has all of it; otherwise this run makes one called `e2e`, or one for each worker of
pytest-xdist, installs everything the way the demo does, and removes it at the end. SLUICEGATE_E2E_SHARED=1 says that others use it too.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # e2e is no installed package

from e2e.support import rollouts
from e2e.support.gateway import GATEWAYS, Gateway
from e2e.support.gateway import connect as connect_gateway
from e2e.support.kube import Json, Kube
from e2e.support.load import Load
from e2e.support.operator import Operator
from e2e.support.registry import Registry
from e2e.support.workspace import Workspace
from tools.demo import __main__
from tools.localcluster import Cluster, ClusterError, connect, down

LIMIT = 240
"""Seconds a test may take; what ends a run that hangs."""
LONG = ("test_progressive.py", "test_progressive_faults.py", "test_argocd.py")
"""Minutes each: begun last, the other workers would wait for them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first; the limit counts the test alone: the first one's setup builds a cluster."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.name not in LONG)
    for item in items:
        if here in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT, func_only=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """A failed test shows what its namespace looks like and what the operator says."""
    report = yield
    space = getattr(item, "funcargs", {}).get("workspace")
    if report.when == "call" and report.failed and space is not None:
        report.sections.append(("cluster", _diagnosis(space)))
    return report


def _diagnosis(space: Workspace) -> str:
    parts = []
    for args in (
        ("-n", space.namespace, "get", "mdep,deployment,hpa,pod,svc,httproute,controllerrevision", "-o", "wide"),
        ("-n", space.namespace, "get", "mdep", "-o", "yaml"),
        ("-n", space.namespace, "get", "events", "--sort-by=.lastTimestamp"),
        ("-n", "sluicegate-system", "logs", "-l", "app.kubernetes.io/name=sluicegate", "--prefix", "--tail=60"),
    ):
        try:
            parts.append(f"$ kubectl {' '.join(args)}\n{space.cluster.kubectl(*args, timeout=20)}")
        except ClusterError as problem:
            parts.append(str(problem))
    return "\n".join(parts)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The node, with everything installed."""
    given = os.environ.get("SLUICEGATE_E2E_CLUSTER")
    if given:
        yield connect(given)
        return
    name = "-".join(filter(None, ("e2e", os.environ.get("PYTEST_XDIST_WORKER"))))
    try:
        yield __main__.installed(name)
    finally:
        down(name)


@pytest.fixture(scope="session")
def kube(cluster: Cluster) -> Iterator[Kube]:
    """The API server."""
    kube = Kube(cluster.kubeconfig)
    yield kube
    kube.close()


@pytest.fixture(scope="session")
def alone() -> bool:
    """Whether nobody else uses the cluster, so that the operator's counters are about this run only."""
    return "SLUICEGATE_E2E_SHARED" not in os.environ


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Callable[..., str]:
    """Runs kubectl and gives back what it prints; ClusterError, with kubectl's words, where it fails."""
    return cluster.kubectl


@pytest.fixture(scope="session", params=GATEWAYS)
def gateway(cluster: Cluster, request: pytest.FixtureRequest) -> Gateway:
    """Each Gateway API implementation in turn: `apply("shop", traffic=gateway.traffic())`; a test that takes it runs on all."""
    return connect_gateway(cluster, request.param)


@pytest.fixture(scope="session")
def registry(cluster: Cluster) -> Registry:
    """The MLflow registry with recommendation-engine versions 1 and 2."""
    return Registry(cluster)


@pytest.fixture(scope="session")
def odd_versions(registry: Registry) -> None:
    """Versions that are good, slow, raise, leak memory, cannot be loaded: see support/rollouts.py."""
    rollouts.train(registry)


@pytest.fixture(scope="session")
def operator(cluster: Cluster, kube: Kube) -> Operator:
    """The operator as a process: its metrics, its pod, how to kill it."""
    return Operator(cluster, kube)


@pytest.fixture
def helm(cluster: Cluster, operator: Operator) -> Iterator[Callable[..., str]]:
    """Runs Helm; whatever a test leaves, the next one finds the release as the demo installs it."""
    yield cluster.helm
    __main__.install_operator(cluster)
    operator.wait_leading()


@pytest.fixture
def namespace(cluster: Cluster, kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own; its removal is not waited for."""
    short = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:40].strip("-")
    name = f"e2e-{short}-{secrets.token_hex(2)}"
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        yield name
    finally:
        kube.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def workspace(cluster: Cluster, kube: Kube, namespace: str) -> Workspace:
    """The test's namespace and everything in it."""
    return Workspace(cluster, kube, namespace)


@pytest.fixture
def sluicegate(cluster: Cluster, workspace: Workspace) -> Callable[..., tuple[int, str]]:
    """Runs a command as a person does; (exit code, what it prints)."""

    def run(*words: str, given: str | None = None) -> tuple[int, str]:
        argv = [sys.executable, "-m", "sluicegate.cli.main", words[0], "--kubeconfig", str(cluster.kubeconfig)]
        done = subprocess.run(
            [*argv, "-n", workspace.namespace, *words[1:]],
            input=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode, done.stdout

    return run


@pytest.fixture
def apply(workspace: Workspace) -> Callable[..., Json]:
    """Applies a ModelDeployment: `apply("shop", model=2, scaling={"replicas": 2})`, or a whole manifest."""
    return workspace.apply


@pytest.fixture
def wait_ready(workspace: Workspace) -> Callable[..., Json]:
    """`wait_ready(name, timeout=120)`."""
    return workspace.wait_ready


@pytest.fixture
def wait_condition(workspace: Workspace) -> Callable[..., Json]:
    """`wait_condition(name, type, status, reason=None, timeout=90)`."""
    return workspace.wait_condition


@pytest.fixture
def status(workspace: Workspace) -> Callable[[str], Json]:
    """`status(name)`."""
    return workspace.status


@pytest.fixture
def load(workspace: Workspace) -> Callable[..., Load]:
    """Two clients of every way in, one of which keeps its connection; they run inside its `with`."""

    def steady(name: str, rate: float = 40, own: str = "") -> Load:
        return Load(workspace.urls(name), rate, own)

    return steady
