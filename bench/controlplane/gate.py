"""Substitutes for a gateway and for scoring pods.

kwok's pods respond to no requests, and the bare control plane has no gateway.

The gateway accepts every route as soon as it observes it, and writes the same status as a real gateway.
The pods are one server that responds at every pod IP that kwok assigns. `bench_rollouts.py` runs in its own network
namespace, in which all these addresses lead to the loopback interface.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from bench.controlplane import api

GATEWAY = "public"
_GROUP = "/apis/gateway.networking.k8s.io/v1"
_ROUTES = f"{_GROUP}/httproutes"
_CONTROLLER = "sluicegate.dev/bench"
_WORKERS = 4
_PODS = "10.64.0.0/12"
"""The address range from which kwok assigns pod IPs."""
_PORT = 8080
_RATE = 50.0
"""Requests per second that the counters of each pod report."""
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, "+Inf")
Json = dict[str, Any]


def own_network() -> None:
    """Set up the new network namespace, so that every pod IP leads to this process."""
    for argv in (["link", "set", "lo", "up"], ["route", "add", "local", _PODS, "dev", "lo"]):
        subprocess.run(["ip", *argv], check=True)


@asynccontextmanager
async def gateway(client: api.Api, namespace: str) -> AsyncIterator[None]:
    """Create a Gateway in `namespace`, and accept routes while the context is open."""
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "metadata": {"name": GATEWAY}}
    of_class = {**kind, "kind": "GatewayClass", "spec": {"controllerName": _CONTROLLER}}
    listener = {"name": "http", "protocol": "HTTP", "port": 80}
    made = {**kind, "kind": "Gateway", "spec": {"gatewayClassName": GATEWAY, "listeners": [listener]}}
    await client.send("POST", f"{_GROUP}/gatewayclasses", json.dumps(of_class).encode())
    await client.send("POST", api.in_namespace(f"{_GROUP}/gateways", namespace), json.dumps(made).encode())
    waiting: asyncio.Queue[Json] = asyncio.Queue()
    tasks = [asyncio.create_task(_accept(client, waiting)) for _ in range(_WORKERS)]
    tasks.append(asyncio.create_task(_watch(client, waiting)))
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(client: api.Api, waiting: asyncio.Queue[Json]) -> None:
    while True:
        async for line in client.lines(f"{_ROUTES}?watch=true"):
            event = msgspec.json.decode(line)
            if event["type"] in ("ADDED", "MODIFIED") and not _taken(event["object"]):
                waiting.put_nowait(event["object"]["metadata"])


def _taken(route: Json) -> bool:
    parents = (route.get("status") or {}).get("parents") or ()
    seen = [condition.get("observedGeneration") for parent in parents for condition in parent["conditions"]]
    return bool(seen) and min(seen) >= route["metadata"]["generation"]


async def _accept(client: api.Api, waiting: asyncio.Queue[Json]) -> None:
    while True:
        metadata = await waiting.get()
        condition = {
            "status": "True",
            "message": "",
            "observedGeneration": metadata["generation"],
            "lastTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        conditions = [{**condition, "type": each, "reason": each} for each in ("Accepted", "ResolvedRefs")]
        parent = {"parentRef": {"name": GATEWAY}, "controllerName": _CONTROLLER, "conditions": conditions}
        path = api.in_namespace(_ROUTES, metadata["namespace"], metadata["name"]) + "/status"
        await client.send("PATCH", path, json.dumps({"status": {"parents": [parent]}}).encode(), api.MERGE_PATCH)


@asynccontextmanager
async def pods() -> AsyncIterator[None]:
    """Serve /metrics for every pod while the context is open.

    The metrics are those of a healthy server that receives requests.
    """
    began = time.monotonic()

    async def answer(request: web.Request) -> web.Response:
        del request
        return web.Response(text=exposition(int((time.monotonic() - began) * _RATE)))

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", _PORT).start()
        yield
    finally:
        await runner.cleanup()


def exposition(requests: int) -> str:
    """Return the metrics of a scoring server after `requests` requests.

    All requests succeeded within 25 ms.
    """
    lines = ["# TYPE sluicegate_scorer_requests counter"]
    for error in ("", "client", "model", "server", "timeout", "overload"):
        count = requests if not error else 0
        lines.append(f'sluicegate_scorer_requests_total{{error_class="{error}"}} {count}')
    lines.append("# TYPE sluicegate_scorer_request_duration_seconds histogram")
    for limit in _BUCKETS:
        count = 0 if isinstance(limit, float) and limit < 0.025 else requests
        lines.append(f'sluicegate_scorer_request_duration_seconds_bucket{{le="{limit}"}} {count}')
    lines += ["# TYPE process_start_time_seconds gauge", "process_start_time_seconds 1.7e9", "# EOF", ""]
    return "\n".join(lines)
