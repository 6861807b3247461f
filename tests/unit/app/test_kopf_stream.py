"""kopf's stream of ModelDeployments over a small API server.

The API server holds hostile objects.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sluicegate.app import kopf_stream
from sluicegate.config.settings import Settings
from sluicegate.runtime.resources import Resources

DEEP = '{"a":' * 1200 + "1" + "}" * 1200
GROUP = "/apis/sluicegate.dev/v1alpha1"


def discovered(name: str, kind: str, namespaced: bool) -> dict[str, Any]:
    verbs = ["list", "watch", "patch"]
    resource = {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "verbs": verbs}
    return {"resources": [resource]}


VERSION = {"version": "v1alpha1"}
DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"versions": ["v1"]},
    "/api/v1": discovered("namespaces", "Namespace", False),
    "/apis": {"groups": [{"name": "sluicegate.dev", "preferredVersion": VERSION, "versions": [VERSION]}]},
    GROUP: discovered("modeldeployments", "ModelDeployment", True),
}


def resource(name: str, version: int, template: str = "{}") -> str:
    metadata = {"namespace": "n", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)}
    spec = f'{{"model":{{"uri":"models:/m/{version}"}},"podTemplate":{template}}}'
    return f'{{"metadata":{json.dumps(metadata)},"spec":{spec}}}'


def event(what: str, thing: str) -> str:
    return f'{{"type":"{what}","object":{thing}}}\n'


class Server:
    """An API server that responds to one list and one watch.

    Later watches stay silent.
    """

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.watched: list[str] = []
        self.positions: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        if "watch" not in request.query:
            items = ",".join(self.listed)
            text = f'{{"kind":"ModelDeploymentList","metadata":{{"resourceVersion":"20"}},"items":[{items}]}}'
            return web.Response(text=text, content_type="application/json")
        self.positions.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        if len(self.positions) == 1:
            for line in self.watched:
                await response.write(line.encode())
        else:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        return response


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    made, app = Server(), web.Application()
    app.router.add_get("/{path:.*}", made.handle)
    listening = TestServer(app)
    await listening.start_server()
    config = {
        "clusters": [{"name": "c", "cluster": {"server": str(listening.make_url("/")).rstrip("/")}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield made
    await listening.close()


@contextlib.asynccontextmanager
async def streaming(resources: Resources) -> AsyncIterator[Callable[[Callable[[], object]], Any]]:
    stop = asyncio.Event()
    task = asyncio.create_task(kopf_stream.run(resources, Settings(), stop))

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                assert not task.done(), "kopf has ended"
                await asyncio.sleep(0.01)

    try:
        yield until
    finally:
        stop.set()
        await asyncio.wait([task], timeout=10)


async def test_kopf_streams_past_hostile_objects(server: Server) -> None:
    resources = Resources(lambda _: None)
    server.listed = [resource("bad", 3, DEEP), resource("good", 4), resource("spoiled", 5)]
    server.watched = [
        event("ADDED", resource("late", 21)),
        event("MODIFIED", resource("spoiled", 22, DEEP)),
        event("MODIFIED", resource("bad", 23)),
        event("ADDED", resource("gone", 24, DEEP)),
        event("DELETED", resource("gone", 25, DEEP)),
        event("MODIFIED", resource("good", 26)),
        event("ADDED", resource("last", 27, DEEP)),
    ]
    async with streaming(resources) as until:
        await until(lambda: len(server.positions) == 2)
        await until(
            lambda: (
                {each.key[1]: each.spec.model.uri for each in resources.items()}
                == {
                    "good": "models:/m/26",
                    "late": "models:/m/21",
                    "bad": "models:/m/23",
                }
            )
        )
        assert server.positions == ["20", "27"], "a new watch does not begin before the last undecodable object"
        assert len(resources.skipped) == 2


async def test_a_watch_that_is_torn_inside_a_line_goes_on(server: Server) -> None:
    resources = Resources(lambda _: None)
    server.watched = [event("ADDED", resource("late", 21)), '{"type":"ADDED","obj']
    async with streaming(resources) as until:
        await until(lambda: len(server.positions) == 2)
        await until(lambda: resources.get(("n", "late")))
    assert server.positions == ["20", "21"]
