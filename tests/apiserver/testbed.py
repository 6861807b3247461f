"""One API server with an operator, for tests that act as the kubelet."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from sluicegate.app.operator import App
from sluicegate.app.wiring import build
from sluicegate.config.settings import Settings
from sluicegate.kube import kinds
from sluicegate.kube.client import KubeClient
from sluicegate.runtime.metrics import Metrics

FIRST = "image:///opt/model-1"
SECOND = "image:///opt/model-2"
NODE = "no-kubelet"
"""The node of all pods. It exists in name only. EndpointSlices list no pod without a node."""


class World:
    """One API server with an operator, for tests that act as the kubelet."""

    def __init__(
        self,
        hand: KubeClient,
        observed: KubeClient,
        namespace: str,
        kubectl: Callable[..., Any],
        writes: list[tuple[str, str]],
    ) -> None:
        self.client = hand
        self.observed = observed
        self.namespace = namespace
        self.kubectl = kubectl
        self.writes = writes
        """(verb, kind) of every write of the operator."""
        self.running: asyncio.Task[int] | None = None

    async def resource(self, name: str = "demo", uri: str = FIRST, **spec: Any) -> None:
        runtime = {"name": "custom", "image": "example/model:1"}
        manifest = {
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "model": {"uri": uri},
                "runtime": runtime,
                "rollout": {"scaleDownDelay": "1s"},
                "podTemplate": {"spec": {"nodeName": NODE}},
                **spec,
            },
        }
        await self.client.apply(kinds.MODEL_DEPLOYMENT, manifest, manager="user")

    async def status(self, name: str = "demo") -> dict[str, Any]:
        found = await self.client.get(kinds.MODEL_DEPLOYMENT, self.namespace, name)
        return (found or {}).get("status") or {}

    async def condition(self, kind: str, name: str = "demo") -> tuple[str, str]:
        for condition in (await self.status(name)).get("conditions") or ():
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    async def children(self, kind: kinds.Kind) -> list[dict[str, Any]]:
        return (await self.client.list(kind, self.namespace, "app.kubernetes.io/managed-by=sluicegate")).items

    async def ready_pods(self) -> None:
        """Report every pod that is not being deleted as running and ready.

        Remove the pods that are being deleted, as a kubelet does.
        """
        for pod in (await self.client.list(kinds.POD, self.namespace)).items:
            metadata = pod["metadata"]
            if "deletionTimestamp" in metadata:
                self.kubectl("-n", self.namespace, "delete", "pod", metadata["name"], "--force", "--ignore-not-found")
                continue
            if any(c["type"] == "Ready" for c in (pod.get("status") or {}).get("conditions") or ()):
                continue
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            address = f"10.0.0.{hash(metadata['name']) % 250 + 1}"
            status = {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
            }
            patch = {"status": status}
            await self.client.merge_patch(kinds.POD, self.namespace, metadata["name"], patch, subresource="status")

    async def until(self, what: Callable[[], Any], seconds: float = 40.0, kubelet: bool = True) -> None:
        deadline = time.monotonic() + seconds
        while True:
            if kubelet:
                await self.ready_pods()
            if await what():
                return
            assert self.running is None or not self.running.done(), "the operator has ended"
            assert time.monotonic() < deadline, json.dumps(await self.status(), indent=1)
            await asyncio.sleep(0.1)

    async def until_serving(self, uri: str = FIRST, name: str = "demo") -> None:
        async def serving() -> bool:
            status = await self.status(name)
            idle = (status.get("rollout") or {}).get("phase", "Idle") == "Idle"
            model = (status.get("model") or {}).get("uri")
            return await self.condition("Ready", name) == ("True", "Serving") and idle and model == uri

        await self.until(serving)

    async def until_collected(self, *children: kinds.Kind) -> None:
        """Wait until the garbage collector has deleted the children.

        It discovers new kinds, such as those of a CRD that was just installed, every 30 s.
        """

        async def gone() -> bool:
            return not any([await self.children(kind) for kind in children])

        await self.until(gone, 120)

    @contextlib.asynccontextmanager
    async def operator(self, settings: Settings | None = None) -> AsyncIterator[App]:
        """Run an operator. Delete its Lease at the end, or the operator of the next test would stand back."""
        settings = settings or Settings(namespace=self.namespace, leader_election=False)
        operator = build(settings, self.observed, Metrics())
        stop = asyncio.Event()
        self.running = running = asyncio.create_task(operator.run(stop))
        try:
            yield operator
        finally:
            stop.set()
            assert await running == 0
            if settings.leader_election:
                await self.client.delete(kinds.LEASE, *settings.lease)
