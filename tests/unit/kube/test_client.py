import asyncio
from typing import Any

import pytest
from aiohttp import web
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Gone, KubeError, ServerError, Unreachable
from sluicegate.kube.kinds import CONFIG_MAP, LEASE
from sluicegate.kube.transport import ClientOptions

from tests.unit.kube.conftest import FakeServer


async def test_requests_look_as_they_should(fake: FakeServer, client: KubeClient) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": "c"}, "got": await request.json()})

    fake.other = answer
    manifest = {"metadata": {"namespace": "n", "name": "c", "resourceVersion": "7"}, "data": {"a": "b"}}
    got = await client.apply(CONFIG_MAP, manifest, manager="me", subresource="status")
    assert got["got"] == {"apiVersion": "v1", "kind": "ConfigMap", **manifest}
    request = fake.requests[0]
    assert request.method == "PATCH"
    assert request.path == "/api/v1/namespaces/n/configmaps/c/status"
    assert dict(request.query) == {"fieldManager": "me", "force": "true", "fieldValidation": "Strict"}
    assert request.content_type == "application/apply-patch+yaml"
    assert request.headers["Authorization"] == "Bearer secret"
    await client.delete(CONFIG_MAP, "n", "c", uid="u")
    assert (await fake.requests[1].json())["preconditions"] == {"uid": "u"}


async def test_owners_are_replaced_in_the_version_that_was_read(fake: FakeServer, client: KubeClient) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": "c"}, "got": await request.json()})

    fake.other = answer
    seen = {"namespace": "n", "name": "c", "resourceVersion": "7", "labels": {"a": "b"}}
    got = await client.set_owners(CONFIG_MAP, seen, [{"uid": "u"}], manager="me")
    assert got["got"] == {"metadata": {"resourceVersion": "7", "ownerReferences": [{"uid": "u"}]}}
    request = fake.requests[0]
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/n/configmaps/c")
    assert request.content_type == "application/merge-patch+json"
    assert dict(request.query) == {"fieldManager": "me", "fieldValidation": "Strict"}


async def test_pages_follow_the_token_without_the_version(fake: FakeServer, client: KubeClient) -> None:
    async def page(request: web.Request) -> web.Response:
        more = "continue" not in request.query
        meta = {"resourceVersion": "9", **({"continue": "tok"} if more else {})}
        return web.json_response({"metadata": meta, "items": [{"metadata": {"name": "a" if more else "b"}}]})

    fake.other = page
    listing = await client.list(CONFIG_MAP, None, "a=b", "0", 1)
    assert [item["metadata"]["name"] for item in listing.items] == ["a", "b"]
    assert listing.resource_version == "9"
    assert fake.queries(False) == [
        {"limit": "1", "labelSelector": "a=b", "resourceVersion": "0"},
        {"limit": "1", "labelSelector": "a=b", "continue": "tok"},
    ]


async def test_no_answer_in_time(fake: FakeServer, client: KubeClient) -> None:
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        raise AssertionError

    fake.other = hang
    with pytest.raises(Unreachable, match="did not respond to GET"):
        await client.get(CONFIG_MAP, "n", "c")


async def test_a_write_outlasts_a_webhook_that_does_not_answer(fake: FakeServer, client: KubeClient) -> None:
    """Check that the text of the API server arrives, which names the webhook."""

    async def failed(request: web.Request) -> web.Response:
        await asyncio.sleep(1.2 * client._transport._options.timeout)
        return web.json_response({"reason": "InternalError", "message": "failed calling webhook"}, status=500)

    fake.other = failed
    with pytest.raises(ServerError, match="failed calling webhook"):
        await client.apply(CONFIG_MAP, {"metadata": {"namespace": "n", "name": "c"}}, manager="me")
    with pytest.raises(Unreachable) as raised:
        await client.get(CONFIG_MAP, "n", "c")
    assert raised.value.timed_out


async def test_nobody_listens(tmp_path: Any, unused_tcp_port: int) -> None:
    path = tmp_path / "k"
    path.write_text(
        '{"current-context":"x","contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],'
        f'"clusters":[{{"name":"c","cluster":{{"server":"http://127.0.0.1:{unused_tcp_port}"}}}}],'
        '"users":[{"name":"u","user":{}}]}'
    )
    async with KubeClient.connect(str(path)) as client:
        with pytest.raises(Unreachable, match="cannot be reached"):
            await client.version()


async def test_a_useless_kubeconfig_says_which(tmp_path: Any) -> None:
    with pytest.raises(KubeError, match=str(tmp_path)):
        async with KubeClient.connect(str(tmp_path / "absent")):
            pass


async def test_writes_are_not_repeated(fake: FakeServer, kubeconfig: str) -> None:
    seen: list[tuple[str, str, str]] = []

    async def fail(request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "1"})

    fake.other = fail
    options = ClientOptions(on_request=lambda verb, kind, outcome, _: seen.append((verb, kind, outcome)))
    async with KubeClient.connect(kubeconfig, options=options) as client:
        with pytest.raises(ServerError):
            await client.create(CONFIG_MAP, {"metadata": {"namespace": "n", "name": "c"}})
    assert len(fake.requests) == 1
    assert seen == [("create", "ConfigMap", "ServerError")]


async def test_leases_pass_a_full_house(fake: FakeServer, kubeconfig: str) -> None:
    release = asyncio.Event()
    running = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal running
        if "configmaps" in request.path:
            running += 1
            await release.wait()
        return web.json_response({"metadata": {"name": "l"}})

    fake.other = answer
    async with KubeClient.connect(kubeconfig, options=ClientOptions(parallel=2)) as client:
        tasks = [asyncio.create_task(client.get(CONFIG_MAP, "n", "c")) for _ in range(5)]
        async with asyncio.timeout(2):
            assert await client.get(LEASE, "n", "l") is not None
            while running < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert running == 2
        release.set()
        await asyncio.gather(*tasks)


async def test_a_silent_watch_is_given_up(fake: FakeServer, client: KubeClient) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(5)
        return response

    fake.other = silent
    with pytest.raises(Unreachable, match="in time"):
        async with client.watch(CONFIG_MAP, timeout_seconds=0.1) as events:
            async for _ in events:
                raise AssertionError


async def test_a_watch_refused_with_410(fake: FakeServer, client: KubeClient) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"code": 410, "reason": "Expired", "message": "old"}, status=410)

    fake.other = refuse
    with pytest.raises(Gone):
        async with client.watch(CONFIG_MAP, resource_version="1"):
            raise AssertionError


async def test_a_pod_is_asked_through_the_api_server(fake: FakeServer, client: KubeClient) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/missing"):
            return web.Response(status=503, text="dial tcp: refused")
        return web.Response(body=b"up 1\n\xff", headers={"Content-Type": "text/plain; version=0.0.4"})

    fake.other = answer
    assert await client.through_pod("system", "sluicegate-0", 8080, "/metrics") == "up 1\n\ufffd"
    (request,) = fake.requests
    assert request.method == "GET"
    assert request.path == "/api/v1/namespaces/system/pods/sluicegate-0:8080/proxy/metrics"
    with pytest.raises(ServerError):
        await client.through_pod("system", "sluicegate-0", 8080, "/missing")
