"""Leadership: at most one operator acts."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from typing import Final, Protocol

from sluicegate.config.settings import Settings
from sluicegate.kube.client import KubeClient
from sluicegate.kube.lease import Elector

LEASE: Final = "sluicegate-operator"


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
    # Several operators may run in one cluster, each for its own namespace. Each of them has its own Lease.
    lease = f"{LEASE}-{settings.namespace}" if settings.namespace else LEASE
    return Elector(client, (settings.operator_namespace, lease), identity, time.monotonic)
