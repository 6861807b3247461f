"""A server that sends any bytes, and one request of each adapter to it."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sluicegate.adapters.mlflow.http import RegistryEndpoint
from sluicegate.adapters.mlflow.pool import RegistryPool
from sluicegate.adapters.pods.http import PodHttp, PodRequestFailed
from sluicegate.adapters.prometheus import Prometheus, PrometheusEndpoint, PrometheusError
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import ResolutionError

MIB = 1 << 20
Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A raw server that reads a request's headers and then runs a script.

    The script writes any bytes.
    """

    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self.sent = 0
        self.port = 0
        self._script = script

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await self._script(self.requests[-1], writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Server]:
    server = Server(script)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(server.handle(reader, writer)))

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def response(body: bytes, *headers: str, status: int = 200) -> Script:
    async def write(_: bytes, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return write


async def registry(server: Server) -> str:
    pool = RegistryPool()
    try:
        with pytest.raises(ResolutionError) as caught:
            await pool.view(RegistryEndpoint("d", f"http://127.0.0.1:{server.port}"), "churn")
        assert caught.value.failure.reason is not Reason.INTERNAL_ERROR
        return str(caught.value)
    finally:
        await pool.aclose()


async def prometheus(server: Server) -> str:
    asked = Prometheus()
    try:
        with pytest.raises(PrometheusError) as caught:
            await asked.query(PrometheusEndpoint(f"http://127.0.0.1:{server.port}"), "up", 5)
        assert "unexpected" not in str(caught.value)
        return str(caught.value)
    finally:
        await asked.aclose()


async def pod(server: Server) -> str:
    pods = PodHttp()
    try:
        with pytest.raises(PodRequestFailed) as caught:
            await pods.get(f"127.0.0.1:{server.port}", "/metrics", 5)
        assert "unexpected" not in str(caught.value)
        return str(caught.value)
    finally:
        await pods.aclose()


Ask = Callable[[Server], Awaitable[str]]
ALL = pytest.mark.parametrize("ask", [registry, prometheus, pod])


async def peak(asking: Awaitable[Any]) -> tuple[Any, int]:
    """Return the result, and the peak of the memory that was allocated for it."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        found = await asking
        return found, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def bomb() -> bytes:
    """Return a few kB that grow to 64 MiB when decompressed twice."""
    return gzip.compress(gzip.compress(b"\0" * (64 * MIB)))
