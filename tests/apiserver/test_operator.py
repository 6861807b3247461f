"""The whole operator against a real API server.

The tests check what the operator writes, how often, and what it leaves alone. There is no kubelet, so the tests report
pods as ready themselves. Garbage collection, ReplicaSets and EndpointSlices are real. Tests that need real pods and
traffic are in e2e/.
"""

import asyncio
import logging

import pytest
from sluicegate.kube import kinds

from tests.apiserver.testbed import SECOND, World

pytestmark = pytest.mark.usefixtures("crd")


async def test_a_new_resource_costs_its_children_and_at_most_three_status_writes(world: World) -> None:
    async with world.operator():
        await world.resource()
        await world.until_serving()
        counted = {kind: sum(1 for _, other in world.writes if other == kind) for _, kind in world.writes}
        counted.pop("Event", None)
        assert counted.pop("ModelDeployment") <= 3, world.writes
        assert counted == {"ControllerRevision": 1, "Deployment": 1, "Service": 2, "PodDisruptionBudget": 1}


async def test_nothing_is_written_at_rest_nor_by_a_restart(world: World) -> None:
    async with world.operator():
        await world.resource()
        await world.resource(
            "scaled", scaling={"min": 1, "max": 3}, resources={"requests": {"cpu": "0.1", "memory": "1024Mi"}}
        )
        await world.until_serving()

        async def reported() -> bool:
            return await world.condition("Ready", "scaled") == ("False", "AutoscalerWithoutMetrics")

        await world.until(reported)  # This API server serves no metrics API.
        assert await world.condition("Available", "scaled") == ("True", "Serving")
        await asyncio.sleep(3)
        world.writes.clear()
        await asyncio.sleep(6)
        assert [write for write in world.writes if write[1] != "Event"] == []
    world.writes.clear()
    async with world.operator() as operator:
        await asyncio.sleep(6)
        assert len(operator.resources) == 2
        assert [write for write in world.writes if write[1] != "Event"] == []


async def test_a_change_makes_a_revision_that_takes_over_and_the_old_one_is_parked(world: World) -> None:
    async with world.operator():
        await world.resource()
        await world.until_serving()
        await world.resource(uri=SECOND)
        await world.until_serving(SECOND)
        roles = {entry["role"]: entry for entry in (await world.status())["revisions"]}
        assert set(roles) == {"Stable", "Parked"}
        assert "releasedAt" in roles["Parked"]
        wanted = {roles["Stable"]["name"]: 1, roles["Parked"]["name"]: 0}

        async def emptied() -> bool:
            children = await world.children(kinds.DEPLOYMENT)
            return {each["metadata"]["name"]: each["spec"]["replicas"] for each in children} == wanted

        await world.until(emptied)
        await world.resource()
        await world.until_serving()
        assert len(await world.children(kinds.CONTROLLER_REVISION)) == 2


async def test_foreign_changes_are_put_back_and_foreign_fields_left_alone(world: World) -> None:
    async with world.operator():
        await world.resource()
        await world.until_serving()
        name = (await world.status())["revisions"][0]["name"]
        patch = {"metadata": {"annotations": {"theirs": "yes"}}, "spec": {"replicas": 4, "paused": True}}
        await world.client.merge_patch(kinds.DEPLOYMENT, world.namespace, name, patch)
        await world.client.merge_patch(
            kinds.SERVICE, world.namespace, "demo", {"spec": {"selector": {"theirs": "yes"}}}
        )
        await world.client.delete(kinds.PDB, world.namespace, name)

        async def mended() -> bool:
            deployment = await world.client.get(kinds.DEPLOYMENT, world.namespace, name)
            assert deployment is not None
            assert deployment["metadata"]["annotations"]["theirs"] == "yes"
            assert deployment["spec"]["paused"] is True
            return deployment["spec"]["replicas"] == 1 and len(await world.children(kinds.PDB)) == 1

        await world.until(mended)


async def test_fixed_to_autoscaled_and_back_never_drops_the_number_of_pods(world: World) -> None:
    async with world.operator():
        await world.resource(scaling={"replicas": 4})
        await world.until_serving()
        name = (await world.status())["revisions"][0]["name"]
        seen: list[int] = []

        async def watch() -> None:
            async with world.client.watch(kinds.DEPLOYMENT, world.namespace, "", "", 60) as events:
                async for event in events:
                    if event.type in ("ADDED", "MODIFIED") and event.object["metadata"]["name"] == name:
                        seen.append(event.object["spec"]["replicas"])

        watching = asyncio.create_task(watch())
        try:
            await world.resource(scaling={"min": 2, "max": 6})

            async def autoscaled() -> bool:
                return len(await world.children(kinds.HPA)) == 1

            await world.until(autoscaled)
            await asyncio.sleep(2)
            # The test writes as the HPA's controller does: through the scale subresource.
            await world.client.merge_patch(
                kinds.DEPLOYMENT, world.namespace, name, {"spec": {"replicas": 5}}, subresource="scale"
            )
            await asyncio.sleep(3)
            await world.resource(scaling={"replicas": 3})

            async def fixed() -> bool:
                return not await world.children(kinds.HPA) and seen[-1] == 3

            await world.until(fixed)
        finally:
            watching.cancel()
        assert min(seen) == 3
        assert 5 in seen


async def test_deletion_leaves_nothing(world: World) -> None:
    async with world.operator():
        await world.resource()
        await world.until_serving()
        await world.client.delete(kinds.MODEL_DEPLOYMENT, world.namespace, "demo")
        await world.until_collected(kinds.DEPLOYMENT, kinds.SERVICE, kinds.CONTROLLER_REVISION, kinds.PDB)


async def test_a_namespace_goes_away_with_what_it_serves_and_without_a_complaint(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Check that the operator stays quiet while a namespace is deleted.

    The API server deletes the objects in any order, and rejects what the operator would restore. The operator tries
    that once for each resource.
    """
    async with world.operator():
        names = [f"demo-{number}" for number in range(5)]
        for name in names:
            await world.resource(name)
        for name in names:
            await world.until_serving(name=name)
        caplog.clear()
        world.writes.clear()
        world.kubectl("delete", "namespace", world.namespace, "--wait=false")
        await world.until_collected(kinds.DEPLOYMENT, kinds.SERVICE)
        await asyncio.sleep(3)  # The operator writes Events with a short delay.
        assert sum(kind not in ("ModelDeployment", "Event") for _, kind in world.writes) <= len(names)
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_object_of_somebody_else_is_never_taken_over(world: World) -> None:
    theirs = {"selector": {"app": "theirs"}, "ports": [{"port": 81}]}
    await world.client.create(
        kinds.SERVICE, {"metadata": {"name": "demo", "namespace": world.namespace}, "spec": theirs}
    )
    async with world.operator():
        await world.resource()

        async def told() -> bool:
            return await world.condition("Ready") == ("False", "NameTaken")

        await world.until(told)
        service = await world.client.get(kinds.SERVICE, world.namespace, "demo")
        assert service is not None
        assert service["spec"]["selector"] == {"app": "theirs"}
        await world.client.delete(kinds.SERVICE, world.namespace, "demo")
        await world.until_serving()
