"""The safety net under the stream of ModelDeployments.

A kopf stream can die in silence, and one that does never tells of deletions it missed. So all resources are listed now and
then: what the stream has lost is taken from the list, and a stream that loses things is reported as dead, which has the kubelet
restart the operator.
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
"""Seconds that the stream may be behind a list."""


class Watchdog:
    """Lists, compares, remembers the verdict."""

    def __init__(self, client: KubeClient, resources: Resources, namespace: str | None, interval: float) -> None:
        """`interval` is in seconds, give or take a quarter."""
        self._client = client
        self._resources = resources
        self._namespace = namespace
        self._interval = interval
        self.verdict: str | None = None
        """A sentence when the stream was found dead."""

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(self._interval * random.uniform(0.75, 1.25))
            try:
                await self.look()
            except KubeError as error:
                logger.warning("relist of ModelDeployments: %s", error)
            except Exception:
                logger.exception("relist of ModelDeployments failed")

    async def _everything(self) -> tuple[list[Object | Undecodable], int]:
        raws: list[Object | Undecodable] = []
        version = 0
        async for page in self._client.pages(MODEL_DEPLOYMENT, self._namespace):
            raws += page.read()
            version = int(page.resource_version)
        return raws, version

    async def look(self) -> None:
        """One comparison; takes `GRACE` seconds when something is missing.

        Raises:
            KubeError: the list could not be had, which says nothing about the stream.
        """
        listed, version = await self._everything()
        self._resources.relisted(listed, version)
        raws = [each for each in listed if not isinstance(each, Undecodable)]
        if not self._resources.behind(raws):
            self.verdict = None
            return
        await asyncio.sleep(GRACE)
        missing = self._resources.behind(raws)
        self.verdict = f"the stream of ModelDeployments missed {len(missing)} changes" if missing else None
        if self.verdict:
            logger.error("%s", self.verdict)
