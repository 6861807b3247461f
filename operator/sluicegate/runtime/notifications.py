"""The sending of notifications.

Each destination has a bounded queue and a worker. So no destination delays another, and none delays a reconcile.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

from sluicegate.adapters.notifications import InvalidReceiver, Receiver, Reply, post
from sluicegate.api.resource import ModelDeployment
from sluicegate.api.status import ModelDeploymentStatus
from sluicegate.config.settings import NotificationSettings, Settings
from sluicegate.core.status.notifications import Notification, body, notifications, wants
from sluicegate.kube.errors import KubeError
from sluicegate.kube.secrets import Reader, read_secret
from sluicegate.runtime.supervise import contained, keep

logger = logging.getLogger(__name__)
MOST = 256
"""Maximum number of notifications that wait for one destination."""
DELAYS = (1.0, 5.0, 15.0, 60.0, 180.0, 600.0)
"""Seconds before each retry."""
EXPIRY = 3600.0
"""Seconds after which a notification expires. Nothing older is sent when a destination becomes available again."""

Post = Callable[[Receiver, bytes, str], Awaitable[Reply]]


class Notifier:
    """Sends notifications to destinations.

    A notification is sent at least once if the process keeps running and the destination accepts it within an hour. It
    may be sent twice, because a response can be lost. Notifications are not stored: those that were not sent when the
    operator stopped are lost.
    """

    def __init__(
        self, client: Reader, settings: Settings, count: Callable[[str, str], None], send: Post = post
    ) -> None:
        """Create a notifier, which sends nothing before `run`.

        Args:
            client: Reads the Secrets that contain addresses.
            settings: The operator's settings, which define the destinations.
            count: Called with the destination's name and an outcome: sent, retried, refused, expired, dropped or lost.
            send: Sends one notification.
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
        """Enqueue a notification for each change of status, without waiting.

        Args:
            resource: The resource, with its status before the change.
            after: The status that was written.
            now: The current time.
        """
        if not self._queues:
            return
        for notification in notifications(resource, after, self._settings.cluster_name, now):
            for name, destination in self._settings.notifications.items():
                if wants(destination, notification):
                    self._put(name, notification)

    def _put(self, name: str, notification: Notification) -> None:
        try:
            self._queues[name].put_nowait((asyncio.get_running_loop().time(), notification))
            self._open[name] += 1
        except asyncio.QueueFull:
            self._count(name, "dropped")
            logger.warning("notifications %s: dropped a notification, because %d are waiting", name, MOST)

    async def run(self) -> None:
        """Send notifications until cancelled."""
        async with asyncio.TaskGroup() as group:  # No child raises, see `keep`.
            for name in self._queues:
                work = keep(f"notifications {name}", partial(self._work, name))
                group.create_task(work, name=f"notify {name}")
            await asyncio.Event().wait()

    async def flush(self, seconds: float) -> None:
        """Wait for pending notifications, and count the rest as lost.

        Destinations whose last attempt failed are not waited for.

        Args:
            seconds: Longest time to wait.
        """
        idle = [
            asyncio.ensure_future(queue.join()) for name, queue in self._queues.items() if name not in self._waiting
        ]
        if idle:
            _, late = await asyncio.wait(idle, timeout=seconds)
            for task in late:
                task.cancel()
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
                logger.warning("notifications %s: %s was refused: %s", name, what, reply.problem)
                return "refused"
            if delay is None:
                break
            self._waiting.add(name)
            wait = max(delay * random.uniform(0.8, 1.2), reply.after or 0.0)
            self._count(name, "retried")
            logger.warning("notifications %s: %s failed, retry in %.0f s: %s", name, what, wait, reply.problem)
            await asyncio.sleep(wait)
        logger.warning("notifications %s: %s expired", name, what)
        return "expired"

    async def _try(self, destination: NotificationSettings, content: bytes, delivery: str) -> Reply:
        try:
            return await self._send(await self._receiver(destination), content, delivery)
        except InvalidReceiver as error:  # Retry, because a user may correct the Secret.
            return Reply(False, True, str(error))

    async def _receiver(self, destination: NotificationSettings) -> Receiver:
        """Return the receiver of a destination.

        The Secret is read each time, so that a rotated Secret needs no restart.

        Raises:
            InvalidReceiver: The Secret is missing or invalid.
        """
        if destination.url is not None:
            return Receiver(destination.url)
        namespace, name = self._settings.operator_namespace, destination.secret or ""
        title = f'the Secret "{name}" in namespace "{namespace}"'
        try:
            data = await read_secret(self._client, namespace, name)
        except KubeError as error:
            raise InvalidReceiver(f"{title} cannot be read: {error}") from None
        if data is None:
            raise InvalidReceiver(f"{title} does not exist, or the operator may not read it")
        return Receiver.from_secret(data, title)
