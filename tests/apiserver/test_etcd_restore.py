"""etcd restored from a snapshot, under an operator that keeps running.

The cluster is the test's own, because a restore takes back what other tests have.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sluicegate.config.settings import Settings
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError

from tests.apiserver.conftest import CRD, REPOSITORY
from tests.apiserver.testbed import World

RESYNC = 4.0
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager")


@pytest.fixture
def cluster() -> Iterator[Any]:
    sys.path.insert(0, str(REPOSITORY))  # tools is not an installed package.
    from tools.localcluster import down, up

    name = f"restore-{os.getpid()}"
    try:
        yield up(name, profile="control-plane")
    finally:
        down(name)


def copy(cluster: Any, source: str, target: str) -> None:
    """Stop everything, replace a folder of etcd by a copy of another one, and start everything."""
    from tools.localcluster import controlplane

    for name in reversed(COMPONENTS):
        cluster.kill(name, signal.SIGTERM)
    state = Path(cluster.state)
    shutil.rmtree(state / target, ignore_errors=True)
    shutil.copytree(state / source, state / target)
    for name in COMPONENTS:
        cluster.start(name)
    controlplane.wait_ready(cluster.spec)


async def test_operator_acts_on_the_restored_state(
    cluster: Any, kubectl_program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig = str(cluster.kubeconfig)
    monkeypatch.setenv("KUBECONFIG", kubeconfig)

    def kubectl(*args: str) -> int:
        command = [kubectl_program, "--kubeconfig", kubeconfig, *args]
        return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode

    assert kubectl("apply", "--server-side", "-f", str(CRD)) == 0
    deadline = time.monotonic() + 30
    while kubectl("get", "mdep") != 0:
        assert time.monotonic() < deadline, "the CRD is not served"
        await asyncio.sleep(0.2)
    async with KubeClient.connect(kubeconfig) as observed, KubeClient.connect(kubeconfig) as hand:
        world = World(hand, observed, "default", kubectl, [])

        async def replicas() -> list[int]:
            try:
                return [deployment["spec"]["replicas"] for deployment in await world.children(kinds.DEPLOYMENT)]
            except KubeError:
                return []

        async def scale(number: int) -> None:
            patch = {"spec": {"scaling": {"replicas": number}}}
            await hand.merge_patch(kinds.MODEL_DEPLOYMENT, "default", "demo", patch)

        async def until(number: int) -> None:
            async def reached() -> bool:
                return await replicas() == [number]

            await world.until(reached, kubelet=False)

        settings = Settings(namespace="default", leader_election=False, resync=RESYNC)
        async with world.operator(settings) as operator:
            await world.resource(scaling={"replicas": 1})
            await until(1)
            await asyncio.to_thread(copy, cluster, "etcd", "snapshot")
            for number in (2, 3, 4, 5, 4, 3, 2, 5):
                await scale(number)
                await until(number)
            await asyncio.to_thread(copy, cluster, "snapshot", "etcd")
            restored = await hand.get(kinds.MODEL_DEPLOYMENT, "default", "demo")
            assert restored is not None
            assert restored["spec"]["scaling"] == {"replicas": 1}
            await until(1)
            await scale(7)
            await until(7)
            assert "went back" in (operator.watchdog.check() or "")
