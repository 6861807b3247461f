"""A real operator for all namespaces on an API server with hostile objects.

No object may stop the operator.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sluicegate.kube import kinds

from tests.apiserver.hostile_resources import DEEP, RECORDS, WIDE, Process, record, resource
from tests.apiserver.testbed import SECOND, World

pytestmark = pytest.mark.usefixtures("crd")
Create = Callable[..., Any]


@pytest.fixture
def elsewhere(world: World) -> Iterator[str]:
    """Create the namespace of a tenant who writes hostile objects."""
    name = f"{world.namespace}-hostile"
    world.kubectl("create", "namespace", name)
    yield name
    world.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def process(kubeconfig: str, tmp_path: Path) -> Process:
    return Process(kubeconfig, tmp_path / "operator.log")


async def test_hostile_objects_stop_no_other_resource(world: World, elsewhere: str, process: Process) -> None:
    async def create(text: str) -> None:
        # This is a raw request, because kubectl itself rejects some of these objects.
        world.kubectl("create", "--raw", PATHS[json_kind(text)].format(elsewhere), "-f", "-", input=text)

    async def told(name: str) -> bool:
        selector = f"involvedObject.name={name},reason=Undecodable"
        args = ("-n", elsewhere, "get", "events", f"--field-selector={selector}", "-o", "name")
        return bool(world.kubectl(*args).out.strip())

    async def applied(name: str) -> bool:
        return bool(world.kubectl("-n", elsewhere, "get", "deployments", "-l", f"{LABEL}={name}", "-o", "name").out)

    async def skips(count: int) -> bool:
        skipped = await process.skipped()
        assert skipped.get("ControllerRevision", 0) >= 4
        return skipped.get("ModelDeployment") == count

    await create(resource("before", DEEP))
    for name, data in RECORDS.items():
        await create(record(name, data))
    async with process.running():  # The operator gets the objects from its first list.
        await create(resource("good", "{}"))
        await world.resource()
        await world.until_serving()
        await process.until(lambda: told("before"))
        await process.until(lambda: applied("good"))
        shown = await process.shown("-A")
        assert shown.returncode == 0, shown.stderr
        assert "demo" in shown.stdout
        assert f"ModelDeployment {elsewhere}/before cannot be read: it is nested more than 64 levels" in shown.stderr
        shown = await process.shown("-n", elsewhere, "before")
        assert (shown.returncode, shown.stdout) == (1, "")
        assert "cannot be read" in shown.stderr
        # The operator gets these objects from its watch.
        await create(resource("after", DEEP))
        await create(resource("wide", WIDE))
        await process.until(lambda: told("wide"))
        world.kubectl(
            "-n", elsewhere, "patch", "mdep", "good", "--type=merge", "-p", f'{{"spec":{{"podTemplate":{DEEP}}}}}'
        )
        await process.until(lambda: skips(4))
        await world.resource(uri=SECOND)
        await world.until_serving(SECOND)
    async with process.running():  # This is a restart of the operator.
        await world.resource()
        await world.until_serving()
        await process.until(lambda: skips(4))
        assert await applied("good"), "what serves goes on"
        world.kubectl("-n", elsewhere, "delete", "mdep", "before", "wide")
        world.kubectl("-n", elsewhere, "patch", "mdep", "good", "--type=json", "-p", REMOVE)
        await process.until(lambda: skips(1))
        await world.resource(uri=SECOND)
        await world.until_serving(SECOND)


@pytest.mark.parametrize("data", [{"template": []}, {"a": "\ud800"}])
async def test_a_replaced_record_is_named_in_the_condition(world: World, data: Any) -> None:
    async with world.operator():
        await world.resource()
        await world.until_serving()
        (record,) = await world.children(kinds.CONTROLLER_REVISION)
        metadata = {key: record["metadata"][key] for key in ("name", "namespace", "labels", "ownerReferences")}
        replaced = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "revision": 1}
        world.kubectl("-n", world.namespace, "delete", "controllerrevision", metadata["name"])
        path = PATHS["record"].format(world.namespace)
        for _ in range(20):  # The operator may have written first.
            text = json.dumps({**replaced, "data": data})
            if world.kubectl("create", "--raw", path, "-f", "-", input=text, check=False).code == 0:
                break
            world.kubectl("-n", world.namespace, "delete", "controllerrevision", metadata["name"])

        async def told() -> bool:
            return await world.condition("Ready") == ("False", "Undecodable")

        await world.until(told)
        world.kubectl("-n", world.namespace, "delete", "controllerrevision", metadata["name"])
        await world.until_serving()


def json_kind(text: str) -> str:
    return "record" if '"kind":"ControllerRevision"' in text else "resource"


PATHS = {
    "record": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "resource": "/apis/sluicegate.dev/v1alpha1/namespaces/{}/modeldeployments",
}
LABEL = "sluicegate.dev/deployment"
REMOVE = json.dumps([{"op": "remove", "path": "/spec/podTemplate"}])
