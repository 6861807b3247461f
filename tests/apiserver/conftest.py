"""A real API server for the tests in this folder.

It is the one that SLUICEGATE_TEST_KUBECONFIG names, or a control plane that this test run creates.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sluicegate.kube.client import KubeClient
from sluicegate.kube.transport import ClientOptions
from sluicegate.runtime.metrics import WRITES

from tests.apiserver.command import Cli
from tests.apiserver.testbed import NODE, World

REPOSITORY = Path(__file__).resolve().parents[2]
CRD = REPOSITORY / "crds/sluicegate.dev_modeldeployments.yaml"


class Result(NamedTuple):
    """The exit code and the output of kubectl."""

    code: int
    out: str
    err: str


Kubectl = Callable[..., Result]


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[str]:
    given = os.environ.get("SLUICEGATE_TEST_KUBECONFIG")
    if given:
        yield given
        return
    sys.path.insert(0, str(REPOSITORY))  # tools is not an installed package.
    from tools.localcluster import down, up

    name = f"pytest-{os.getpid()}"
    try:
        yield str(up(name, profile="control-plane").kubeconfig)
    finally:
        down(name)


@pytest.fixture(scope="session")
def kubectl_program() -> str:
    """Return the local cluster's own kubectl if it is built, else that on PATH.

    SLUICEGATE_TEST_KUBECTL overrides both. All of them print the same text.
    """
    given = os.environ.get("SLUICEGATE_TEST_KUBECTL")
    if given:
        return given
    sys.path.insert(0, str(REPOSITORY))
    from tools.localcluster.cluster import kubernetes

    built = Path(kubernetes.bin("kubectl"))
    return str(built) if built.exists() else "kubectl"


@pytest.fixture(scope="session")
def kubectl(kubeconfig: str, kubectl_program: str) -> Kubectl:
    """Return a function that runs kubectl.

    Its `input` is an object or a text for standard input.
    """

    def run(*args: str, input: Any = None, check: bool = True) -> Result:
        text = input if isinstance(input, str | None) else json.dumps(input)
        command = [kubectl_program, "--kubeconfig", kubeconfig, *args]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def crd(kubectl: Kubectl) -> Path:
    """Install the CRD, and wait until the API server serves it."""
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    deadline = time.monotonic() + 30  # `kubectl wait` fails at once where a new object has no conditions yet.
    while kubectl("get", "mdep", check=False).code != 0:
        assert time.monotonic() < deadline, "the CRD is not served"
        time.sleep(0.2)
    return CRD


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
async def client(kubeconfig: str) -> AsyncIterator[KubeClient]:
    async with KubeClient.connect(kubeconfig) as connected:
        yield connected


@pytest.fixture
async def world(
    kubeconfig: str, namespace: str, kubectl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """Yield a world whose test acts as the kubelet.

    `World.operator` starts the operator.
    """
    kubectl("apply", "-f", "-", input={"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    monkeypatch.setitem(os.environ, "KUBECONFIG", kubeconfig)
    writes: list[tuple[str, str]] = []

    def noticed(verb: str, kind: str, outcome: str, seconds: float) -> None:
        if verb in WRITES:
            writes.append((verb, kind))

    async with (
        KubeClient.connect(kubeconfig, options=ClientOptions(on_request=noticed)) as observed,
        KubeClient.connect(kubeconfig) as hand,
    ):
        yield World(hand, observed, namespace, kubectl, writes)


@pytest.fixture
def cli(kubeconfig: str, namespace: str) -> Cli:
    """Return the command, run by the user of the kubeconfig."""
    return Cli(kubeconfig, namespace)
