"""Hostile responses to the adapters.

An adapter decompresses no response, reads none without a limit, keeps no cookie, and raises its own error for each. The
tests measure the memory that Python allocates (tracemalloc), so the size of the process does not matter.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable

import httpx
import pytest
from sluicegate.adapters import bounded, clients, notifications
from sluicegate.adapters.clients import ClientPool
from sluicegate.adapters.mlflow import registry as mlflow
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.mlflow.registry import MlflowRegistry
from sluicegate.adapters.notifications import Receiver, post
from sluicegate.adapters.pods.exposition import NotScoringServer, parse
from sluicegate.adapters.pods.http import PodHttp, PodRequestFailed
from sluicegate.adapters.prometheus import AT_ONCE, Prometheus, PrometheusEndpoint, PrometheusError
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionError
from sluicegate.core.models.uri import parse as parse_uri

from tests.support.hostile_server import ALL, MIB, Ask, bomb, peak, pod, prometheus, registry, response, serving


@ALL
@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (bomb, "gzip, gzip"),
        (lambda: gzip.compress(b"{}"), "gzip"),
        (lambda: zlib.compress(b"{}"), "deflate"),
        (lambda: b"{}", "br"),
        (lambda: b"{}", "zstd"),
        (lambda: b"{}", "identity, gzip"),
        (lambda: b"{}", "\u00e9" * 3),
        (lambda: b"{}", "x" * 4000),
    ],
)
async def test_a_compressed_response_is_refused_unread(ask: Ask, body: Callable[[], bytes], encoding: str) -> None:
    content = body()
    async with serving(response(content, f"Content-Encoding: {encoding}")) as server:
        said, memory = await peak(ask(server))
    assert "the Content-Encoding" in said and "identity" in said and len(said) < 700
    assert memory < 3 * MIB
    (request,) = server.requests
    assert b"accept-encoding: identity\r\n" in request.lower()


async def test_a_notification_reads_no_body_and_so_takes_any_encoding() -> None:
    content = bomb()
    async with serving(response(content, "Content-Encoding: gzip, gzip")) as server:
        reply, memory = await peak(post(Receiver(f"http://127.0.0.1:{server.port}"), b"{}", "1"))
    assert reply.sent and memory < 3 * MIB


@ALL
@pytest.mark.parametrize("framing", ["length", "chunked", "until closed"])
async def test_an_endless_body_is_given_up(ask: Ask, framing: str) -> None:
    sent = 0

    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        head = {"length": b"Content-Length: 99999999999\r\n", "chunked": b"Transfer-Encoding: chunked\r\n"}
        writer.write(b"HTTP/1.1 200 OK\r\n" + head.get(framing, b"Connection: close\r\n") + b"\r\n")
        piece = b" " * 65536
        while sent < 256 * MIB:
            writer.write(b"10000\r\n" + piece + b"\r\n" if framing == "chunked" else piece)
            await writer.drain()
            sent += len(piece)

    async with serving(endless) as server:
        said, memory = await peak(ask(server))
    assert "4 MiB" in said and memory < 16 * MIB
    assert sent < 32 * MIB  # This is what fits into the buffers of the sockets.


@ALL
async def test_a_long_header_is_given_up(ask: Ask) -> None:
    async def endless(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(4096):
            writer.write(b"a: " + b"b" * 8000 + b"\r\n")
            await writer.drain()

    async with serving(endless) as server:
        said, memory = await peak(ask(server))
    assert memory < 4 * MIB and len(said) < 700

    async def one(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\na: ")
        for _ in range(4096):
            writer.write(b"b" * 8000)
            await writer.drain()

    async with serving(one) as server:
        said, memory = await peak(ask(server))
    assert memory < 4 * MIB and len(said) < 700


@pytest.mark.parametrize("ask", [registry, prometheus])
async def test_a_body_of_tiny_chunks_is_given_up(ask: Ask) -> None:
    """Check that the number of chunks is limited too.

    Tiny chunks cost the event loop far more time than their bytes. aiohttp joins those that arrive together.
    """

    async def crumbs(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(400):
            writer.write(b"1\r\n \r\n" * 1000)
            await writer.drain()

    async with serving(crumbs) as server:
        assert "chunks" in await ask(server)


async def test_many_slow_servers_fill_no_memory_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the limit on all responses together.

    Each response is within its own limit, and none of them ends.
    """
    monkeypatch.setattr(bounded, "MAX_READING", 4 * MIB)
    goes_on = asyncio.Event()

    async def most(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + b" " * 3_900_000)
        await goes_on.wait()

    async with serving(most) as server, serving(response(b'{"registered_model": {"name": "churn"}}')) as healthy:
        several = [asyncio.ensure_future(ask(server)) for ask in (registry, prometheus, pod) * 5]
        done, _ = await asyncio.wait(several, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 14:
            done, _ = await asyncio.wait(several, timeout=0.01)
        assert all("while other responses take 4 MiB" in each.result() for each in done)
        assert bounded.Body.reading < 6 * MIB
        pool = RegistryPool()
        assert (await pool.view(RegistryEndpoint("d", f"http://127.0.0.1:{healthy.port}"), "churn")).aliases == {}
        await pool.aclose()
        for each in several:
            each.cancel()
        await asyncio.gather(*several, return_exceptions=True)
    assert bounded.Body.reading == 0


async def test_a_slow_server_keeps_no_query_of_another_waiting() -> None:
    async def never(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    number = b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "7"]}}'
    async with serving(never) as slow, serving(response(number)) as healthy:
        asked = Prometheus()
        endpoint = PrometheusEndpoint(f"http://127.0.0.1:{slow.port}")
        waiting = [asyncio.ensure_future(asked.query(endpoint, "up", 60)) for _ in range(3 * AT_ONCE)]
        assert await asked.number(PrometheusEndpoint(f"http://127.0.0.1:{healthy.port}"), "up", 5) == 7
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asked.aclose()


async def test_a_slow_drip_ends_with_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "TOTAL_SECONDS", 0.3)
    monkeypatch.setattr(notifications, "SECONDS", 0.3)

    async def body(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def head(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            writer.write(b"a%d: b\r\n" % number)
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(body) as slow, serving(head) as slower:
        for server in (slow, slower):
            assert "no response within" in await registry(server)
            asked, pods = Prometheus(), PodHttp()
            with pytest.raises(PrometheusError, match=r"no response within 0\.3 s"):
                await asked.query(PrometheusEndpoint(f"http://127.0.0.1:{server.port}"), "up", 0.3)
            with pytest.raises(PodRequestFailed, match=r"no response within 0\.3 s"):
                await pods.get(f"127.0.0.1:{server.port}", "/metrics", 0.3)
            await asked.aclose()
            await pods.aclose()
        reply = await post(Receiver(f"http://127.0.0.1:{slower.port}"), b"{}", "1")
        assert not reply.sent and "no response within" in reply.problem


def jars(client: httpx.AsyncClient) -> int:
    return len(list(client.cookies.jar))


async def test_no_cookie_is_kept_or_sent() -> None:
    rounds = iter(range(10_000))

    async def cookies(_: bytes, writer: asyncio.StreamWriter) -> None:
        number = next(rounds)
        lines = [f"Set-Cookie: c{number}-{each}=v; Max-Age=99999" for each in range(1500)]
        await response(b"{}", *lines)(b"", writer)

    async with serving(cookies) as server:
        address = f"http://127.0.0.1:{server.port}"
        client = MlflowRegistry(RegistryEndpoint("d", address))
        asked, pods = Prometheus(), PodHttp()

        async def once() -> None:
            with pytest.raises(ResolutionError):
                await client.view("churn")
            with pytest.raises(PrometheusError):
                await asked.query(PrometheusEndpoint(address), "up", 5)
            with pytest.raises(PodRequestFailed, match="header"):  # aiohttp accepts 128 of them.
                await pods.get(f"127.0.0.1:{server.port}", "/metrics", 5)
            assert (await post(Receiver(address), b"{}", "1")).sent

        for _ in range(3):
            await once()
        assert jars(client._client) == 0
        assert [jars(entry.client.client) for entry in asked._servers._entries.values()] == [0]
        assert all(b"\ncookie:" not in request.lower() and len(request) < 2000 for request in server.requests)
        for each in (client, asked, pods):
            await each.aclose()


async def test_what_a_few_headers_cost_is_accepted() -> None:
    async def ok(request: bytes, writer: asyncio.StreamWriter) -> None:
        body = b'{"registered_model": {"name": "churn"}}'
        await response(body, "Content-Encoding: identity", *(f"X-{number}: y" for number in range(90)))(request, writer)

    async with serving(ok) as server:
        pool, pods = RegistryPool(), PodHttp()
        assert (await pool.view(RegistryEndpoint("d", f"http://127.0.0.1:{server.port}"), "churn")).aliases == {}
        assert (await pods.get(f"127.0.0.1:{server.port}", "/", 5))[0] == 200
        await pool.aclose()
        await pods.aclose()


async def test_the_version_of_an_old_server_is_bounded_too() -> None:
    """Check the request for the server's version.

    The operator sends it where a server does not know logged models.
    """
    content = bomb()

    async def old(request: bytes, writer: asyncio.StreamWriter) -> None:
        if b"runs/get" in request:
            body = b'{"run": {"info": {"run_id": "r", "experiment_id": "0", "artifact_uri": "s3://b/r"}}}'
            await response(body)(request, writer)
        elif b"/version" in request:
            await response(content, "Content-Encoding: gzip, gzip")(request, writer)
        else:
            await response(b"<html>", status=404)(request, writer)

    async with serving(old) as server:
        client = MlflowRegistry(RegistryEndpoint("d", f"http://127.0.0.1:{server.port}"))

        async def resolve() -> None:
            with pytest.raises(ResolutionError) as caught:
                await client.resolve(parse_uri("runs:/r/model"))
            assert caught.value.failure.reason is Reason.REGISTRY_INVALID_ANSWER

        _, memory = await peak(resolve())
        await client.aclose()
    assert memory < 3 * MIB


async def test_a_listing_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "MAX_PAGES", 5)
    page = b'{"model_versions": [{"name": "m", "version": "1", "tags": [{"key": "k"}]}], "next_page_token": "on"}'
    async with serving(response(page)) as server:
        client = MlflowRegistry(RegistryEndpoint("d", f"http://127.0.0.1:{server.port}"))
        with pytest.raises(ResolutionError, match="a list that does not end"):
            await client.tagged("k")
        await client.aclose()
    assert len(server.requests) == 5


async def test_no_client_is_closed_while_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check slow servers whose number is above the limit of clients."""
    monkeypatch.setattr(clients, "MAX_CLIENTS", 2)
    arrived, goes_on = asyncio.Semaphore(0), asyncio.Event()

    async def slow(request: bytes, writer: asyncio.StreamWriter) -> None:
        arrived.release()
        await goes_on.wait()
        await response(b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "7"]}}')(request, writer)

    async with serving(slow) as server:
        asked = Prometheus()
        queries = []
        for number in range(8):
            endpoint = PrometheusEndpoint(f"http://127.0.0.1:{server.port}/{number}")
            queries.append(asyncio.ensure_future(asked.number(endpoint, "up", 30)))
            await arrived.acquire()
        goes_on.set()
        assert await asyncio.gather(*queries) == [7.0] * len(queries)
        await asked.aclose()


async def test_a_client_that_cannot_be_closed_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MAX_CLIENTS", 1)
    monkeypatch.setattr(clients, "CLOSE_SECONDS", 0.01)

    async def close(client: str) -> None:
        if client == "hangs":
            await asyncio.Event().wait()
        raise RuntimeError(client)

    pool: ClientPool[str, str] = ClientPool(str, close)
    for each in ("a", "b", "hangs", "c"):
        async with pool.lease(each) as client:
            assert client == each
    await pool.aclose()


def test_the_counters_of_a_pod_are_bounded() -> None:
    line = 'sluicegate_scorer_requests_total{error_class="%s"} 1\n'
    assert len(parse(line % "model" + line % ("x" * 5000), ["requests"]).counts) == 1
    with pytest.raises(NotScoringServer, match="more than"):
        parse("".join(line % number for number in range(33_000)), ["requests"])


def test_the_limit_is_the_documented_one() -> None:
    assert bounded.MAX_RESPONSE_BYTES == 4 * MIB
