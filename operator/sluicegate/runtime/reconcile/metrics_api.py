"""Whether the cluster serves the metrics API, from which HPAs read the use of cpu and memory.

An HPA reports the same when the API does not exist and when a new pod has no metrics yet. So the operator asks the API
server once a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError, NotFound
from sluicegate.runtime.supervise import contained

INTERVAL: Final = 60.0
GROUP_VERSION: Final = "metrics.k8s.io/v1beta1"


class MetricsApi:
    """Knows whether the metrics API is served."""

    def __init__(self, client: KubeClient) -> None:
        """Assume that it is served until `run` has asked."""
        self._client = client
        self._changed: Callable[[], None] = lambda: None
        self.served = True

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` when `served` changes."""
        self._changed = callback

    async def run(self) -> None:
        """Ask the API server again and again, until cancelled."""
        while True:
            with contained("asking for the metrics API"):
                await self.ask()
            await asyncio.sleep(INTERVAL)

    async def ask(self) -> None:
        """Ask the API server once.

        Any error but NotFound leaves `served` as it is. A metrics-server that restarts is one of them.
        """
        try:
            await self._client.discover(GROUP_VERSION)
            served = True
        except NotFound:
            served = False
        except KubeError:
            return
        if served != self.served:
            self.served = served
            self._changed()
