"""Fixtures of the end-to-end tests: a node with the operator and a registry.

SLUICEGATE_E2E_CLUSTER names a running cluster that has everything installed.
Without it, this run creates a cluster called `e2e`, or one for each worker of pytest-xdist.
It installs everything the way the demo does, and removes the cluster at the end.
SLUICEGATE_E2E_KEEP=1 keeps the cluster, and the next run finds it.
SLUICEGATE_E2E_SHARED=1 says that other users share the cluster.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # e2e is not an installed package

from e2e.support import rollouts
from e2e.support.gateway import GATEWAYS, Gateway
from e2e.support.gateway import connect as connect_gateway
from e2e.support.kube import PATIENCE, Json, Kube
from e2e.support.load import Load
from e2e.support.operator import Operator
from e2e.support.registry import Registry
from e2e.support.workspace import Workspace
from tools.demo import install
from tools.localcluster import Cluster, ClusterError, connect, down

LIMIT = 240
"""Limit of one test in seconds. It ends a run that hangs. PATIENCE multiplies it."""
LONG = ("test_progressive.py", "test_progressive_faults.py", "test_argocd.py")
"""Files whose tests take minutes.

They start first. If they started last, the other workers would wait for them.
"""
MAIN = ("test_first_light.py", "test_commands.py", "test_rollout.py", "test_follow.py", "test_canary.py")
"""Files with the main paths: serve, change, follow an alias, and run a canary. `make test` runs these."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow files first, mark the main paths, and set a time limit on each test.

    The limit covers the test function alone, because the setup of the first test builds a cluster.
    """
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.name not in LONG)
    for item in items:
        if item.path.name in MAIN:
            item.add_marker(pytest.mark.main)
        if here in item.path.parents:
            given = item.get_closest_marker("timeout") or pytest.mark.timeout(LIMIT, func_only=True)
            item.add_marker(pytest.mark.timeout(given.args[0] * PATIENCE, **given.kwargs), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add the namespace's objects and the operator's logs to a failed test's report."""
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
    """Yield the node with everything installed."""
    given = os.environ.get("SLUICEGATE_E2E_CLUSTER")
    if given:
        yield connect(given)
        return
    name = "-".join(filter(None, ("e2e", os.environ.get("PYTEST_XDIST_WORKER"))))
    try:
        yield install.installed(name)
    finally:
        if "SLUICEGATE_E2E_KEEP" not in os.environ:
            down(name)


@pytest.fixture(scope="session")
def kube(cluster: Cluster) -> Iterator[Kube]:
    """Yield a client of the API server."""
    kube = Kube(cluster.kubeconfig)
    yield kube
    kube.close()


@pytest.fixture(scope="session")
def alone() -> bool:
    """Tell whether this run is the only user of the cluster.

    Only then do the operator's counters describe this run alone.
    """
    return "SLUICEGATE_E2E_SHARED" not in os.environ


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Callable[..., str]:
    """Return a function that runs kubectl and returns its output.

    The function raises ClusterError with kubectl's message when the command fails.
    """
    return cluster.kubectl


@pytest.fixture(scope="session", params=GATEWAYS)
def gateway(cluster: Cluster, request: pytest.FixtureRequest) -> Gateway:
    """Return each Gateway API implementation in turn.

    A test that requests this fixture runs on all of them. Example: `apply("shop", traffic=gateway.traffic())`.
    """
    return connect_gateway(cluster, request.param)


@pytest.fixture(scope="session")
def registry(cluster: Cluster) -> Registry:
    """Return the MLflow registry, with recommendation-engine versions 1 and 2."""
    return Registry(cluster)


@pytest.fixture(scope="session")
def odd_versions(registry: Registry) -> None:
    """Register versions that are good, are slow, raise, leak memory or fail to load.

    See support/rollouts.py.
    """
    rollouts.train(registry)


@pytest.fixture(scope="session")
def operator(cluster: Cluster, kube: Kube) -> Operator:
    """Return the operator as a process: its pods, its metrics, and a way to kill it."""
    return Operator(cluster, kube)


@pytest.fixture
def helm(cluster: Cluster, operator: Operator) -> Iterator[Callable[..., str]]:
    """Yield a function that runs Helm, and restore the release afterwards.

    Whatever a test leaves behind, the next test finds the release as the demo installs it.
    """
    yield cluster.helm
    install.install_operator(cluster)
    operator.wait_leading()


@pytest.fixture
def namespace(cluster: Cluster, kube: Kube, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the name of a new namespace, and delete it without waiting."""
    short = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[:40].strip("-")
    name = f"e2e-{short}-{secrets.token_hex(2)}"
    kube.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        yield name
    finally:
        kube.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def workspace(cluster: Cluster, kube: Kube, namespace: str) -> Workspace:
    """Return the test's namespace and everything in it."""
    return Workspace(cluster, kube, namespace)


@pytest.fixture
def sluicegate(cluster: Cluster, workspace: Workspace) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a `sluicegate` command as a user does.

    The function returns the exit code and the output.
    """

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
    """Return the function that applies a ModelDeployment.

    It takes a name and fields of the spec, as in `apply("shop", model=2, scaling={"replicas": 2})`, or a whole
    manifest.
    """
    return workspace.apply


@pytest.fixture
def wait_ready(workspace: Workspace) -> Callable[..., Json]:
    """Return the function `wait_ready(name, timeout=120)`."""
    return workspace.wait_ready


@pytest.fixture
def wait_condition(workspace: Workspace) -> Callable[..., Json]:
    """Return the function that waits for a condition.

    Its signature is `wait_condition(name, type, status, reason=None, timeout=90)`.
    """
    return workspace.wait_condition


@pytest.fixture
def status(workspace: Workspace) -> Callable[[str], Json]:
    """Return the function `status(name)`."""
    return workspace.status


@pytest.fixture
def load(workspace: Workspace) -> Callable[..., Load]:
    """Return a function that starts two clients for each endpoint of a resource.

    One of the two clients keeps its connection. The clients run inside the `with` block.
    """

    def steady(name: str, rate: float = 40, own: str = "") -> Load:
        return Load(workspace.urls(name), rate, own)

    return steady
