"""Clients that all users of the same server share.

A client is closed after it has been unused for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from sluicegate.adapters.unexpected import log_unexpected

logger = logging.getLogger(__name__)

MAX_CLIENTS: Final = 64
"""Maximum number of clients. Every resource may have a server of its own. Above this number, the clients that were
unused longest are closed."""
IDLE_SECONDS: Final = 300.0
"""Seconds without a request after which a client is closed, such as one whose credentials were replaced."""
CLOSE_SECONDS: Final = 5.0

Endpoint = TypeVar("Endpoint", bound=Hashable)
Client = TypeVar("Client")


@dataclass(slots=True, eq=False)
class _Entry(Generic[Client]):
    client: Client
    users: int = 0
    used_at: float = 0.0
    retired: bool = False


class ClientPool(Generic[Endpoint, Client]):
    """Keeps one client for each endpoint.

    An endpoint contains its credentials, so new credentials create a new client. No client is closed while a request
    uses it.
    """

    def __init__(self, make: Callable[[Endpoint], Client], close: Callable[[Client], Awaitable[None]]) -> None:
        """Create an empty pool.

        Args:
            make: Returns a new client for an endpoint.
            close: Closes a client.
        """
        self._make = make
        self._close = close
        self._entries: OrderedDict[Endpoint, _Entry[Client]] = OrderedDict()

    @asynccontextmanager
    async def lease(self, endpoint: Endpoint) -> AsyncIterator[Client]:
        """Yield the client of `endpoint`, open at least as long as the `async with`."""
        entry = self._entries.get(endpoint)
        if entry is None:
            entry = self._entries[endpoint] = _Entry(self._make(endpoint))
        self._entries.move_to_end(endpoint)
        entry.users += 1
        entry.used_at = asyncio.get_running_loop().time()
        try:
            await self._trim()
            yield entry.client
        finally:
            entry.users -= 1
            entry.used_at = asyncio.get_running_loop().time()
            if entry.retired and not entry.users:
                await self._end(entry)

    async def aclose(self) -> None:
        """Close every client, after the requests in progress end."""
        while self._entries:
            await self._retire(next(iter(self._entries)))

    async def _trim(self) -> None:
        """Close idle clients, and those that exceed the limit.

        The clients that were unused longest are closed first.
        """
        long_ago = asyncio.get_running_loop().time() - IDLE_SECONDS
        for endpoint, entry in list(self._entries.items()):
            if not entry.users and (entry.used_at < long_ago or len(self._entries) > MAX_CLIENTS):
                await self._retire(endpoint)

    async def _retire(self, endpoint: Endpoint) -> None:
        entry = self._entries.pop(endpoint, None)
        if entry is None:
            return
        entry.retired = True
        if not entry.users:
            await self._end(entry)

    async def _end(self, entry: _Entry[Client]) -> None:
        """Close a client, and log a failure.

        The caller may use another server, and must not fail because of this one.
        """
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._close(entry.client)
        except Exception as error:
            log_unexpected(logger, "closing a client", error)
