"""Leadership: at most one operator acts."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from typing import Protocol

from sluicegate.config.settings import Settings
from sluicegate.kube.client import KubeClient
from sluicegate.kube.lease import Elector


class Leadership(Protocol):
    """Decides when this process acts, see `Elector`."""

    async def acquire(self) -> None:
        """Wait until this process leads."""

    async def hold(self) -> None:
        """Return once leadership is lost."""

    async def release(self) -> None:
        """Let another process lead, after this one has stopped to act."""


class NoElection:
    """Leads at once and until the end, for the only replica."""

    async def acquire(self) -> None:
        """Return at once."""

    async def hold(self) -> None:
        """Wait forever."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Do nothing."""


def leadership(settings: Settings, client: KubeClient) -> Leadership:
    """Return the election that the settings ask for."""
    if not settings.leader_election:
        return NoElection()
    identity = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    return Elector(client, settings.lease, identity, time.monotonic)
