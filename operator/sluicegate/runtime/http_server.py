"""An HTTP server of the operator, which listens while its context is open."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from aiohttp import web


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
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

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
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self._runner.cleanup()
