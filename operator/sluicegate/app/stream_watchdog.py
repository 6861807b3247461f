"""The watchdog of the stream of ModelDeployments.

A kopf stream can stop without an error, and it never delivers the deletions that it missed. So the watchdog lists all
resources periodically, and takes from the list the changes that the stream missed. It reports a stream that misses
changes as dead, so that the kubelet restarts the operator.
"""

from __future__ import annotations

import asyncio
import logging
import random

from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import KubeError, Undecodable
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.kube.wire import Object
from sluicegate.runtime.resources import Resources

logger = logging.getLogger(__name__)

GRACE = 15.0
"""Seconds by which the stream may be behind a list."""


class Watchdog:
    """Lists all resources, compares them with the stream and stores the result."""

    def __init__(self, client: KubeClient, resources: Resources, namespace: str | None, interval: float) -> None:
        """Create a watchdog, which lists nothing before `run`.

        Args:
            client: The API server.
            resources: The store that the stream feeds.
            namespace: The only namespace to list. None lists all namespaces.
            interval: Seconds between two lists, with up to 25% jitter.
        """
        self._client = client
        self._resources = resources
        self._namespace = namespace
        self._interval = interval
        self._problem: str | None = None
        self._rewound: str | None = None
        """The problem after resourceVersions went back, which only a restart ends."""

    def check(self) -> str | None:
        """Return the problem that the last comparison found, or None."""
        return self._rewound or self._problem

    async def run(self) -> None:
        """Compare periodically until cancelled."""
        while True:
            await asyncio.sleep(self._interval * random.uniform(0.75, 1.25))
            try:
                await self.compare()
            except KubeError as error:
                logger.warning("cannot list ModelDeployments: %s", error)
            except Exception:
                logger.exception("comparing the stream of ModelDeployments with a list failed")

    async def _everything(self) -> tuple[list[Object | Undecodable], int]:
        raws: list[Object | Undecodable] = []
        version = 0
        async for page in self._client.pages(MODEL_DEPLOYMENT, self._namespace):
            raws += page.read()
            version = int(page.resource_version)
        return raws, version

    async def compare(self) -> None:
        """Compare the stream with a list.

        If the stream is behind, the comparison is repeated after `GRACE` seconds.

        Raises:
            KubeError: The list failed, which says nothing about the stream.
        """
        position = self._resources.position
        listed, version = await self._everything()
        if self._resources.relisted(listed, version, position):
            # The stream still waits for changes after the old position, and nothing makes kopf list again.
            self._rewound = (
                f"resourceVersions of ModelDeployments went back to {version}, as after a restore of etcd, and the "
                "stream does not deliver changes until the operator restarts"
            )
            logger.error("%s", self._rewound)
            return
        raws = [entry for entry in listed if not isinstance(entry, Undecodable)]
        if not self._resources.behind(raws):
            self._problem = None
            return
        await asyncio.sleep(GRACE)
        missing = self._resources.behind(raws)
        self._problem = (
            f"the stream of ModelDeployments missed {len(missing)} changes for {GRACE:.0f}s" if missing else None
        )
        if self._problem:
            logger.error("%s", self._problem)
