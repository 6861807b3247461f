"""The HTTP server for the kubelet's health checks and for Prometheus."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from sluicegate.runtime.http_server import HttpServer
from sluicegate.runtime.metrics_access import (
    ALLOWED,
    FORBIDDEN,
    TOO_MANY,
    UNAUTHENTICATED,
    UNAVAILABLE,
    MetricsAccess,
)

_REFUSALS = {
    UNAUTHENTICATED: "Send the token of a ServiceAccount: Authorization: Bearer TOKEN.",
    FORBIDDEN: "The user of the token may not get /metrics. Bind the ClusterRole of the chart that permits it.",
    TOO_MANY: "Too many unknown tokens. Send the request again later.",
    UNAVAILABLE: "The operator cannot check the token now. The cause is in its log.",
}
Checks = Mapping[str, Callable[[], str | None]]
"""Checks by name. A check returns None if it passes, or a message about what is wrong."""


class HealthServer(HttpServer):
    """Serves /healthz, /readyz and /metrics while its context is open."""

    def __init__(
        self, live: Checks, ready: Checks, registry: CollectorRegistry, port: int, host: str | None = None
    ) -> None:
        """Create a server, which listens once its context is entered.

        Args:
            live: Checks of /healthz. If one fails, the kubelet restarts the process.
            ready: Checks of /readyz.
            registry: The metrics registry that /metrics exposes.
            port: The port to listen on. 0 chooses a free port.
            host: The address to listen on. None means all addresses.
        """
        self.access: MetricsAccess | None = None
        """Decides who may read /metrics. None means every client."""
        self._registry = registry
        app = web.Application()
        app.router.add_get("/healthz", _handler(live))
        app.router.add_get("/readyz", _handler(ready))
        app.router.add_get("/metrics", self._metrics)
        super().__init__(app, port, host)

    async def _metrics(self, request: web.Request) -> web.Response:
        if self.access is not None:
            status = await self.access.check(request.headers.get("Authorization", ""))
            if status != ALLOWED:
                headers = {"WWW-Authenticate": "Bearer"} if status == UNAUTHENTICATED else None
                return web.Response(status=status, text=f"{_REFUSALS[status]}\n", headers=headers)
        # Thousands of series would block the event loop long enough to delay watches and Lease renewals.
        body = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def report(checks: Checks) -> dict[str, str | None]:
    """Run every check.

    Returns:
        The result of each check by name. A check that raises fails with the error as its message.
    """
    results: dict[str, str | None] = {}
    for name, check in checks.items():
        try:
            results[name] = check()
        except Exception as error:
            results[name] = f"the check itself failed: {type(error).__name__}: {error}"
    return results


def _handler(checks: Checks) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        results = report(checks)
        healthy = all(result is None for result in results.values())
        shown = {name: result or "ok" for name, result in results.items()}
        body = {"status": "ok" if healthy else "failing", "checks": shown}
        return web.json_response(body, status=200 if healthy else 503)

    return handle
