"""The bare client, which only writes the children and one status of each resource.

It runs in a separate process, like the operator: `python -m bench.controlplane.bare SERVER KEYS CHILDREN`.
It watches for resources. Its workers create the same children as the operator, from JSON texts that were rendered in
advance. They only replace the name, the namespace and the uid in these texts.
Its speed is what the API server can do on this machine, so the operator is compared with it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench.controlplane import api

USER = "bare"
WORKERS = 8
NAME, NAMESPACE, UID = "sluicegate-bench-model", "sluicegate-bench-namespace", "00000000-0000-0000-0000-000000000000"
"""Placeholders in the rendered texts for the name, the namespace and the uid of the resource."""
PATHS = {
    "ControllerRevision": "/apis/apps/v1/controllerrevisions",
    "Deployment": "/apis/apps/v1/deployments",
    "Service": "/api/v1/services",
    "PodDisruptionBudget": "/apis/policy/v1/poddisruptionbudgets",
}
CONDITIONS = ("Available", "Ready", "ModelResolved", "TrafficRouted", "Progressing", "Reconciling", "Stalled")
Child = tuple[str, str]


def texts(manifests: list[dict[str, Any]]) -> list[Child]:
    """Return the kind and the JSON text of each child.

    The program reads this list from a JSON file.
    """
    return [(manifest["kind"], json.dumps(manifest)) for manifest in manifests]


def _status() -> bytes:
    condition = {
        "status": "False",
        "reason": "Progressing",
        "message": "The pods of the first revision are not ready yet.",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    status = {"observedGeneration": 1, "conditions": [{**condition, "type": each} for each in CONDITIONS]}
    return json.dumps({"status": status}).encode()


async def run(server: str, keys: Path, children: list[Child]) -> None:
    """Create the children of every new resource until the process is killed."""
    queue: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
    async with api.Api.connect(server, keys, USER) as client, asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(_work(client, queue, children))
        async for line in client.lines(f"{api.RESOURCES}?watch=true"):
            event = msgspec.json.decode(line)
            if event["type"] == "ADDED":
                metadata = event["object"]["metadata"]
                queue.put_nowait((metadata["namespace"], metadata["name"], metadata["uid"]))


async def _work(client: api.Api, queue: asyncio.Queue[tuple[str, str, str]], children: list[Child]) -> None:
    status = _status()
    while True:
        namespace, name, uid = await queue.get()
        for kind, text in children:
            body = text.replace(NAME, name).replace(NAMESPACE, namespace).replace(UID, uid)
            await client.send("POST", api.in_namespace(PATHS[kind], namespace), body.encode())
        path = api.in_namespace(api.RESOURCES, namespace, name) + "/status"
        await client.send("PATCH", path, status, api.MERGE_PATCH)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text())))
