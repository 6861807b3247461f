"""The stock `mlflow deployments` command line with the plugin.

It runs on a real API server with the real operator.
"""

import asyncio
import os
from typing import Any, NamedTuple

import pytest
from sluicegate.kube import kinds

from tests.apiserver.testbed import FIRST, NODE, SECOND, World

PYTHON = os.environ.get("SLUICEGATE_MLFLOW_PYTHON", "")
pytestmark = [
    pytest.mark.usefixtures("crd"),
    pytest.mark.skipif(not PYTHON, reason="SLUICEGATE_MLFLOW_PYTHON names no interpreter with MLflow and the plugin"),
]
CONFIG = {
    "runtime.name": "custom",
    "runtime.image": "example/model:1",
    "rollout.scaleDownDelay": "1s",
    "podTemplate": '{"spec": {"nodeName": "' + NODE + '"}}',
}


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Mlflow:
    """The command `mlflow deployments ... -t sluicegate:/NAMESPACE`."""

    def __init__(self, world: World, kubeconfig: str) -> None:
        self.world = world
        self.kubeconfig = kubeconfig

    async def run(self, *arguments: str, **config: str) -> Result:
        options = [word for key, value in config.items() for word in ("-C", f"{key}={value}")]
        process = await asyncio.create_subprocess_exec(
            *(PYTHON, "-m", "mlflow", "deployments", *arguments, "-t", f"sluicegate:/{self.world.namespace}", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": self.kubeconfig},
        )
        task = asyncio.ensure_future(asyncio.wait_for(process.communicate(), 120))
        while not task.done():
            await self.world.ready_pods()
            await asyncio.sleep(0.2)
        out, err = await task
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())


async def _spec(world: World) -> dict[str, Any]:
    live = await world.client.get(kinds.MODEL_DEPLOYMENT, world.namespace, "demo")
    assert live is not None
    spec: dict[str, Any] = live["spec"]
    return spec


async def test_create_update_get_list_delete(world: World, kubeconfig: str) -> None:
    mlflow = Mlflow(world, kubeconfig)
    async with world.operator():
        made = await mlflow.run("create", "-m", FIRST, "--name", "demo", **CONFIG, **{"scaling.replicas": "2"})
        assert made.code == 0, made
        assert "python_function deployment demo is created" in made.out
        assert await world.condition("Ready") == ("True", "Serving")
        assert (await _spec(world))["scaling"] == {"replicas": 2}
        again = await mlflow.run("create", "-m", FIRST, "--name", "demo")
        assert again.code != 0
        assert "exists already" in again.err
        wrong = await mlflow.run("update", "--name", "demo", **{"scaling.replicas": "many"})
        assert wrong.code != 0
        assert "replicas" in wrong.err
        changed = await mlflow.run("update", "-m", SECOND, "--name", "demo", **{"scaling.replicas": "1"})
        assert changed.code == 0, changed
        spec = await _spec(world)
        assert (spec["model"]["uri"], spec["scaling"], spec["runtime"]["name"]) == (SECOND, {"replicas": 1}, "custom")
        assert "'name': 'demo'" in (await mlflow.run("list")).out
        assert "ready: True" in (await mlflow.run("get", "--name", "demo")).out
        assert (await mlflow.run("delete", "--name", "demo")).code == 0
        assert await world.client.get(kinds.MODEL_DEPLOYMENT, world.namespace, "demo") is None
