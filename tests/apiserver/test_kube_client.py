"""The client against a real API server, which defines what responses look like."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict, Invalid, NamespaceTerminating, NotFound
from sluicegate.kube.kinds import ALL, CONFIG_MAP, DEPLOYMENT, POD, by_api
from sluicegate.kube.transport import ClientOptions
from sluicegate.kube.wire import Object


def config_map(namespace: str, name: str = "c", **data: str) -> Object:
    return {"metadata": {"namespace": namespace, "name": name, "labels": {"t": "x"}}, "data": data}


def deployment(namespace: str) -> Object:
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": pod}
    return {"metadata": {"namespace": namespace, "name": "d"}, "spec": spec}


async def test_version(client: KubeClient) -> None:
    assert (await client.version())["gitVersion"].startswith("v1.")


async def test_apply_creates_changes_and_removes(client: KubeClient, namespace: str) -> None:
    first = await client.apply(CONFIG_MAP, config_map(namespace, a="1", b="2"), manager="m")
    again = await client.apply(CONFIG_MAP, config_map(namespace, a="1", b="2"), manager="m")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    last = await client.apply(CONFIG_MAP, config_map(namespace, a="3"), manager="m")
    assert last["data"] == {"a": "3"}


async def test_apply_takes_fields_over(client: KubeClient, namespace: str) -> None:
    await client.apply(CONFIG_MAP, config_map(namespace, a="1"), manager="other")
    got = await client.apply(CONFIG_MAP, config_map(namespace, a="2"), manager="m")
    assert got["data"] == {"a": "2"}


async def test_the_resource_version_is_a_precondition(client: KubeClient, namespace: str) -> None:
    first = await client.apply(CONFIG_MAP, config_map(namespace, a="1"), manager="m")
    stale = first["metadata"]["resourceVersion"]
    await client.apply(CONFIG_MAP, config_map(namespace, a="2"), manager="m")
    late = config_map(namespace, a="3")
    late["metadata"]["resourceVersion"] = stale
    with pytest.raises(Conflict):
        await client.apply(CONFIG_MAP, late, manager="m")
    with pytest.raises(Conflict):
        patch = {"metadata": {"resourceVersion": stale}, "data": {"a": "3"}}
        await client.merge_patch(CONFIG_MAP, namespace, "c", patch)


async def test_only_a_uid_keeps_apply_from_creating(client: KubeClient, namespace: str) -> None:
    ghost = config_map(namespace, "ghost")
    ghost["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(Conflict):
        await client.apply(CONFIG_MAP, ghost, manager="m")
    assert await client.get(CONFIG_MAP, namespace, "ghost") is None
    del ghost["metadata"]["uid"]
    ghost["metadata"]["resourceVersion"] = "1"
    await client.apply(CONFIG_MAP, ghost, manager="m")
    assert await client.get(CONFIG_MAP, namespace, "ghost") is not None


async def test_wrong_types_are_refused(client: KubeClient, namespace: str) -> None:
    wrong = deployment(namespace)
    wrong["spec"]["replicas"] = "many"
    with pytest.raises(Invalid):
        await client.apply(DEPLOYMENT, wrong, manager="m")


async def test_unknown_fields_are_refused(client: KubeClient, namespace: str) -> None:
    wrong = deployment(namespace)
    wrong["spec"]["replics"] = 3
    with pytest.raises(Invalid, match="replics"):
        await client.apply(DEPLOYMENT, wrong, manager="m")
    with pytest.raises(Invalid, match="replics"):
        await client.create(DEPLOYMENT, wrong)


async def test_invalid_values_name_their_field(client: KubeClient, namespace: str) -> None:
    wrong = deployment(namespace)
    wrong["spec"]["selector"]["matchLabels"] = {"a": "other"}
    with pytest.raises(Invalid, match=r"spec\.template\.metadata\.labels") as caught:
        await client.apply(DEPLOYMENT, wrong, manager="m")
    assert caught.value.details["causes"]


async def test_status_is_applied_on_its_own(client: KubeClient, namespace: str) -> None:
    await client.apply(DEPLOYMENT, deployment(namespace), manager="m")
    body: Object = {"metadata": {"namespace": namespace, "name": "d"}, "status": {"observedGeneration": 1}}
    got = await client.apply(DEPLOYMENT, body, manager="s", subresource="status")
    assert got["status"]["observedGeneration"] == 1
    body["metadata"]["name"] = "ghost"
    with pytest.raises(NotFound):
        await client.apply(DEPLOYMENT, body, manager="s", subresource="status")


async def test_create_twice(client: KubeClient, namespace: str) -> None:
    await client.create(CONFIG_MAP, config_map(namespace))
    with pytest.raises(Conflict) as caught:
        await client.create(CONFIG_MAP, config_map(namespace))
    assert caught.value.reason == "AlreadyExists"


async def test_delete_only_the_object_meant(client: KubeClient, namespace: str) -> None:
    made = await client.create(CONFIG_MAP, config_map(namespace))
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAP, namespace, "c", uid="00000000-0000-0000-0000-000000000000")
    assert await client.delete(CONFIG_MAP, namespace, "c", uid=made["metadata"]["uid"])
    assert not await client.delete(CONFIG_MAP, namespace, "c")
    assert await client.get(CONFIG_MAP, namespace, "c") is None


async def test_lists_come_in_pages_of_one_moment(client: KubeClient, namespace: str) -> None:
    for number in range(7):
        await client.create(CONFIG_MAP, config_map(namespace, f"c{number}"))
    pages = [page async for page in client.pages(CONFIG_MAP, namespace, "t=x", limit=3)]
    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert len({page.resource_version for page in pages}) == 1
    for version in ("", "0"):
        assert len((await client.list(CONFIG_MAP, None, "t=x", version)).items) >= 7 or version == "0"
    assert (await client.list(CONFIG_MAP, namespace, "t=y")).items == []


async def test_a_kind_the_cluster_lacks(client: KubeClient) -> None:
    missing = type(POD)("absent.example.com", "v1", "Absent", "absents")
    with pytest.raises(NotFound):
        await client.list(missing)
    with pytest.raises(NotFound):
        async with client.watch(missing):
            pass


async def test_every_built_in_kind_is_where_the_table_says(client: KubeClient) -> None:
    optional = ("sluicegate.dev", "gateway.networking.k8s.io")
    for kind in ALL:
        assert by_api(kind.api_version, kind.kind) is kind
        if kind.group not in optional:
            await client.list(kind, limit=1)


async def test_watch(client: KubeClient, namespace: str) -> None:
    start = (await client.list(CONFIG_MAP, namespace, "t=x")).resource_version
    big = config_map(namespace, "big", text="x" * 900_000)
    async with client.watch(CONFIG_MAP, namespace, "t=x", start, 6) as events:
        await client.create(CONFIG_MAP, big)
        await client.merge_patch(CONFIG_MAP, namespace, "big", {"data": {"b": "c"}})
        await client.delete(CONFIG_MAP, namespace, "big")
        seen = [event async for event in events]
    types = [event.type for event in seen if event.type != "BOOKMARK"]  # The server sends bookmarks at any time.
    assert types == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(versions)


async def test_logs_of_no_pod(client: KubeClient, namespace: str) -> None:
    with pytest.raises(NotFound):
        await client.logs(namespace, "ghost", "c")


async def test_sixteen_at_a_time(kubeconfig: str, namespace: str) -> None:
    seen: list[tuple[str, str, str]] = []
    options = ClientOptions(parallel=16, on_request=lambda *call: seen.append(call[:3]))
    async with KubeClient.connect(str(kubeconfig), options=options) as client:
        applies = (client.apply(CONFIG_MAP, config_map(namespace, f"c{i}"), manager="m") for i in range(100))
        await asyncio.gather(*applies)
    assert seen == [("apply", "ConfigMap", "ok")] * 100


async def test_a_creation_in_a_namespace_that_goes_away_says_so(
    client: KubeClient, namespace: str, kubectl: Callable[..., Any]
) -> None:
    held = config_map(namespace, "held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await client.apply(CONFIG_MAP, held, manager="m")
    kubectl("delete", "namespace", namespace, "--wait=false")
    with pytest.raises(NamespaceTerminating):
        await client.apply(CONFIG_MAP, config_map(namespace), manager="m")
    with pytest.raises(NamespaceTerminating):
        await client.create(CONFIG_MAP, config_map(namespace))
    await client.merge_patch(CONFIG_MAP, namespace, "held", {"metadata": {"finalizers": None}})
