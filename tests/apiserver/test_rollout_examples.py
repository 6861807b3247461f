"""The recipes of docs/guide/rollouts.md on a real API server.

The real operator runs them: a new version waits for its pods, then takes its first step. There is no registry and no
kubelet. So the models of the examples are in container images, and the test reports pods as ready. The rest of the
examples is unchanged.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from sluicegate.kube import kinds

from tests.apiserver.testbed import FIRST, NODE, SECOND, World

pytestmark = pytest.mark.usefixtures("crd")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def resource(example: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(example.read_text())
    return found


RECIPES = {
    path.stem: resource(path)
    for path in sorted(EXAMPLES.glob("*.yaml"))
    if "steps:" in path.read_text() and "rollout" in resource(path)["spec"]
}


def of_an_image(spec: dict[str, Any], uri: str) -> dict[str, Any]:
    """Return the spec with a model that needs no registry.

    Its pods need no scheduler. The runtime `custom` gets the same model and podTemplate.
    """
    pods = {"spec": {"nodeName": NODE}}
    return {
        **spec,
        "model": {**spec["model"], "uri": uri},
        "runtime": {"name": "custom", "image": "example/model:1"},
        "podTemplate": pods,
    }


async def rollout(world: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (await world.status(name)).get("rollout") or {}
    return found


@pytest.mark.parametrize("name", RECIPES)
async def test_the_next_version_waits_for_its_pods(world: World, name: str) -> None:
    document = RECIPES[name]
    child, spec = document["metadata"]["name"], document["spec"]

    async def apply(uri: str) -> None:
        metadata = {"name": child, "namespace": world.namespace}
        manifest = {"metadata": metadata, "spec": of_an_image(spec, uri)}
        await world.client.apply(kinds.MODEL_DEPLOYMENT, manifest, manager="user")

    async def serves() -> bool:
        revisions = (await world.status(child)).get("revisions") or ()
        return any(revision["role"] == "Stable" and revision.get("readyReplicas") for revision in revisions)

    async def waits() -> bool:
        return (await rollout(world, child)).get("reason") == "WaitingForPods"

    async def stepped() -> bool:
        return (await rollout(world, child)).get("acceptedAt") is not None

    async with world.operator():
        await apply(FIRST)
        await world.until(serves)
        await apply(SECOND)
        await world.until(waits, kubelet=False)
        state = await rollout(world, child)
        assert (state["phase"], state.get("stepIndex")) == ("Waiting", None)
        assert "pods for the first step are starting" in state["message"]
        await asyncio.sleep(1)
        assert (await rollout(world, child))["phase"] == "Waiting", "no step begins before its pods are ready"
        if "gateway" in spec.get("traffic", {}):
            return  # No gateway here can accept a share.
        await world.until(stepped)
        state = await rollout(world, child)
        assert (state["stepIndex"], state["weight"]) == (0, spec["rollout"]["steps"][0]["weight"])
        assert state["phase"] in ("Holding", "Paused")
