"""An HTTP server of the operator, which listens while its context is open."""

from __future__ import annotations

import asyncio
import contextlib
import time
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler

HEAD_SECONDS = 30.0
"""Seconds within which the first request of a connection must arrive."""
_KEEPALIVE_SECONDS = 75.0
"""Seconds for which a connection may wait for another request."""


class HttpServer:
    """Serves one application on one port."""

    def __init__(self, app: web.Application, port: int, host: str | None = None) -> None:
        """Create a server, which listens once its context is entered.

        Args:
            app: The routes.
            port: The port to listen on. 0 chooses a free port.
            host: The address to listen on. None means all addresses.
        """
        self.port = port
        """The port, which is the actual one once the server listens."""
        self._host = host
        self._used: set[asyncio.BaseProtocol] = set()
        """Connections that have made a request."""
        app.middlewares.append(self._noting)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=1.0,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            auto_decompress=False,  # no client compresses, and a small body could become a large one
        )
        self._closing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start listening.

        Raises:
            OSError: The port is taken.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self.port = self._runner.addresses[0][1]
        self._closing = asyncio.create_task(self._close_silent())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        if self._closing is not None:
            self._closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._closing
        await self._runner.cleanup()

    @web.middleware
    async def _noting(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._used.add(request.protocol)
        return await handler(request)

    async def _close_silent(self) -> None:
        """Close connections that do not send a request. aiohttp has no time limit for the first one."""
        first_seen: dict[asyncio.BaseProtocol, float] = {}
        while self._runner.server is not None:
            await asyncio.sleep(HEAD_SECONDS / 10)
            now, connections = time.monotonic(), self._runner.server.connections
            self._used.intersection_update(connections)
            first_seen = {
                connection: first_seen.get(connection, now)
                for connection in connections
                if connection not in self._used
            }
            for connection in connections:
                if now - first_seen.get(connection, now) > HEAD_SECONDS:
                    connection.force_close()
