"""A plain HTTP client for the API server.

The simulated user and the bare client send their requests with it.
It is deliberately not the operator's client, whose cost is part of the measurement.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec

RESOURCES = "/apis/sluicegate.dev/v1alpha1/modeldeployments"
MERGE_PATCH = "application/merge-patch+json"
Json = dict[str, Any]
T = TypeVar("T")


def in_namespace(path: str, namespace: str, name: str = "") -> str:
    """Return the path of a collection in a namespace, or of an object in it.

    Args:
        path: path of the collection in all namespaces
        namespace: name of the namespace
        name: name of the object; empty for the collection
    """
    head, _, plural = path.rpartition("/")
    return f"{head}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


class Api:
    """One user's connections to the API server."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Use the session `session`, which the caller closes."""
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connect(cls, server: str, keys: Path, user: str) -> AsyncIterator[Api]:
        """Connect with the client certificate of `user` in the folder `keys`."""
        context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        context.load_cert_chain(str(keys / f"{user}.crt"), str(keys / f"{user}.key"))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(server, connector=connector, timeout=timeout) as session:
            yield cls(session)

    async def send(self, method: str, path: str, body: bytes | None = None, content: str = "application/json") -> bytes:
        """Send one request, and return the body of the response.

        Raises:
            RuntimeError: the response is not 2xx. The message contains the body of the response.
        """
        async with self._session.request(method, path, data=body, headers={"Content-Type": content}) as answer:
            text = await answer.read()
            if not answer.ok:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:500].decode(errors='replace')}")
            return text

    async def get(self, path: str) -> Json:
        """Read an object or a list."""
        decoded: Json = msgspec.json.decode(await self.send("GET", path))
        return decoded

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """Yield the lines of a watch."""
        async with self._session.get(path) as answer:
            async for line in answer.content:
                yield line


async def each(items: Iterable[T], parallel: int, work: Callable[[T], Awaitable[object]]) -> None:
    """Call `work` for every item, with at most `parallel` calls at the same time."""
    left = iter(list(items))

    async def worker() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(parallel):
            group.create_task(worker())
