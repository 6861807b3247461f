"""A plain HTTP client for the API server: what the measurement's user and the bare client send their requests with.

Deliberately not the operator's client: what that one costs is part of what is measured.
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
    """The path of a namespace's collection, or of an object in it, out of the path for all namespaces."""
    head, _, plural = path.rpartition("/")
    return f"{head}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


class Api:
    """One user's connections to the API server."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Use a session that stays the caller's to close."""
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connect(cls, server: str, keys: Path, user: str) -> AsyncIterator[Api]:
        """Connects with the client certificate of `user` in the folder `keys`."""
        context = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        context.load_cert_chain(str(keys / f"{user}.crt"), str(keys / f"{user}.key"))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(server, connector=connector, timeout=timeout) as session:
            yield cls(session)

    async def send(self, method: str, path: str, body: bytes | None = None, content: str = "application/json") -> bytes:
        """Sends one request.

        Raises:
            RuntimeError: the answer is not 2xx; with the server's words.
        """
        async with self._session.request(method, path, data=body, headers={"Content-Type": content}) as answer:
            text = await answer.read()
            if not answer.ok:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:500].decode(errors='replace')}")
            return text

    async def get(self, path: str) -> Json:
        """Reads an object or a list."""
        found: Json = msgspec.json.decode(await self.send("GET", path))
        return found

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """A watch's lines."""
        async with self._session.get(path) as answer:
            async for line in answer.content:
                yield line


async def each(items: Iterable[T], parallel: int, work: Callable[[T], Awaitable[object]]) -> None:
    """Does `work` for every item, so many at a time."""
    left = iter(list(items))

    async def worker() -> None:
        for item in left:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(parallel):
            group.create_task(worker())
