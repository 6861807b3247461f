"""Sends notifications: a bounded queue and a worker for each destination, so that none waits for another, nor a reconcile for any."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Protocol

from sluicegate.adapters.notifications import InvalidReceiver, Receiver, Reply, post
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.config.settings import NotificationSettings, Settings
from sluicegate.core.status.notifications import Notification, body, notifications, wants
from sluicegate.kube.errors import KubeError
from sluicegate.kube.kinds import SECRET, Kind
from sluicegate.runtime.supervise import contained, keep

logger = logging.getLogger(__name__)
MOST = 256
"""Notifications that may wait for one destination."""
DELAYS = (1.0, 5.0, 15.0, 60.0, 180.0, 600.0)
"""Seconds before each further attempt."""
EXPIRY = 3600.0
"""Seconds after which it is no news: nothing older is sent when a destination comes back."""

Post = Callable[[Receiver, bytes, str], Awaitable[Reply]]


class Secrets(Protocol):
    """What reads a Secret: see `KubeClient`."""

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, object] | None:
        """The object, or None."""


class Notifier:
    """Tells destinations what has happened.

    A notification is sent at least once while this process lives and the destination takes it within an hour, and perhaps
    twice (an answer may be lost). It is not kept over a restart of the operator: what was not sent when it stopped is lost.
    """

    def __init__(
        self, client: Secrets, settings: Settings, count: Callable[[str, str], None], send: Post = post
    ) -> None:
        """Nothing is sent before `run`.

        Args:
            client: Reads the Secrets that hold addresses.
            settings: Which destinations there are.
            count: Called with the destination's name and an outcome: sent, retried, refused, expired, dropped or lost.
            send: Makes one call.
        """
        self._client = client
        self._settings = settings
        self._count = count
        self._send = send
        self._queues: dict[str, asyncio.Queue[tuple[float, Notification]]] = {
            name: asyncio.Queue(MOST) for name in settings.notifications
        }
        self._open: Counter[str] = Counter()
        self._waiting: set[str] = set()

    def watch(self, resource: ModelDeployment, after: ModelDeploymentStatus, now: datetime) -> None:
        """Takes what has happened since the status that `resource` has; `after` has been written. Never waits."""
        if not self._queues:
            return
        for each in notifications(resource, after, self._settings.cluster_name, now):
            for name, destination in self._settings.notifications.items():
                if wants(destination, each):
                    self._put(name, each)

    def _put(self, name: str, notification: Notification) -> None:
        try:
            self._queues[name].put_nowait((asyncio.get_running_loop().time(), notification))
            self._open[name] += 1
        except asyncio.QueueFull:
            self._count(name, "dropped")
            logger.warning("notifications %s: dropped one, %d wait already", name, MOST)

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as group:  # no child raises: see `keep`
            for name in self._queues:
                work = keep(f"notifications {name}", partial(self._work, name))
                group.create_task(work, name=f"notify {name}")
            await asyncio.Event().wait()

    async def flush(self, seconds: float) -> None:
        """Lets what is on its way arrive, and counts the rest as lost; destinations that do not answer are not waited for."""
        idle = [
            asyncio.ensure_future(queue.join()) for name, queue in self._queues.items() if name not in self._waiting
        ]
        if idle:
            _, late = await asyncio.wait(idle, timeout=seconds)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for name in self._open.elements():
            self._count(name, "lost")

    async def _work(self, name: str) -> None:
        queue = self._queues[name]
        while True:
            since, notification = await queue.get()
            outcome = "refused"
            try:
                with contained(f"notifications {name}"):
                    outcome = await self._deliver(name, since, notification)
                self._count(name, outcome)
            finally:
                self._waiting.discard(name)
                self._open[name] -= 1
                queue.task_done()

    async def _deliver(self, name: str, since: float, notification: Notification) -> str:
        destination = self._settings.notifications[name]
        content = body(destination, notification)
        what = f"{notification.event} of {notification.namespace}/{notification.name}"
        for delay in (*DELAYS, None):
            if asyncio.get_running_loop().time() - since > EXPIRY:
                break
            reply = await self._try(destination, content, notification.id)
            if reply.sent:
                return "sent"
            if not reply.again:
                logger.warning("notifications %s: %s is not sent: %s", name, what, reply.words)
                return "refused"
            if delay is None:
                break
            self._waiting.add(name)
            wait = max(delay * random.uniform(0.8, 1.2), reply.after or 0.0)
            self._count(name, "retried")
            logger.warning("notifications %s: %s again in %.0f s: %s", name, what, wait, reply.words)
            await asyncio.sleep(wait)
        logger.warning("notifications %s: %s is given up", name, what)
        return "expired"

    async def _try(self, destination: NotificationSettings, content: bytes, delivery: str) -> Reply:
        try:
            return await self._send(await self._receiver(destination), content, delivery)
        except InvalidReceiver as error:  # somebody may be correcting it
            return Reply(False, True, str(error))

    async def _receiver(self, destination: NotificationSettings) -> Receiver:
        """Where to, read afresh, so that a rotated Secret needs no restart.

        Raises:
            InvalidReceiver: the Secret is missing or of no use.
        """
        if destination.url is not None:
            return Receiver(destination.url)
        namespace, name = self._settings.operator_namespace, destination.secret or ""
        words = f'the Secret "{name}" in namespace "{namespace}"'
        try:
            found = await self._client.get(SECRET, namespace, name)
        except KubeError as error:
            raise InvalidReceiver(f"{words} cannot be read: {error}") from None
        if found is None:
            raise InvalidReceiver(f"{words} does not exist")
        data = found.get("data") or {}
        assert isinstance(data, dict)
        try:
            return Receiver.from_secret({key: base64.b64decode(value) for key, value in data.items()}, words)
        except binascii.Error:
            raise InvalidReceiver(f"{words} is not base64") from None
