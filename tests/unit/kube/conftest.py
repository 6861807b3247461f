"""Virtual time, and a small API server for faults.

A real API server does not produce these faults on demand.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sluicegate.kube.client import KubeClient
from sluicegate.kube.transport import ClientOptions

from tests.support.virtual_clock import run

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
def virtual() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a coroutine in virtual time."""
    return run


class FakeServer:
    """An API server that responds to lists and watches from scripts.

    Each request uses one handler, and the last handler is used again.
    """

    def __init__(self) -> None:
        self.lists: list[Handler] = []
        self.watches: list[Handler] = []
        self.other: Handler | None = None
        self.requests: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.other is not None:
            return await self.other(request)
        script = self.watches if "watch" in request.query else self.lists
        handler = script.pop(0) if len(script) > 1 else script[0]
        return await handler(request)

    def queries(self, watch: bool) -> list[dict[str, str]]:
        """Return the query strings of the lists or watches so far."""
        return [dict(r.query) for r in self.requests if ("watch" in r.query) == watch]


@pytest.fixture
async def fake() -> FakeServer:
    return FakeServer()


@pytest.fixture
async def kubeconfig(fake: FakeServer, tmp_path: Path) -> AsyncIterator[str]:
    """Write a kubeconfig of the fake server, and yield its path."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    server = TestServer(app)
    await server.start_server()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": str(server.make_url("/")).rstrip("/")}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    yield str(path)
    await server.close()


@pytest.fixture
async def client(kubeconfig: str) -> AsyncIterator[KubeClient]:
    options = ClientOptions(timeout=0.5, watch_slack=0.3)
    async with KubeClient.connect(kubeconfig, options=options) as connected:
        yield connected
