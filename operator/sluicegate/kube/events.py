"""Kubernetes Events about the objects that users own.

Events are best effort: recording one never waits and never fails. As in client-go, repeated Events become a series, and
Events above a rate limit are dropped, because Events share etcd with everything else. They are Events of the core API,
because `kubectl describe` shows and sorts by the times of those, and the API server refuses these times in Events of
events.k8s.io.
"""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sluicegate.core.snapshot.redaction import printable
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import (
    Conflict,
    KubeError,
    NamespaceTerminating,
    NotFound,
    ServerError,
    TooManyRequests,
    Unreachable,
)
from sluicegate.kube.kinds import EVENT
from sluicegate.kube.rate_limit import TokenBucket
from sluicegate.kube.wire import Object

logger = logging.getLogger(__name__)

SERIES_WINDOW = 600.0
"""Seconds within which a repeated Event counts as one more of a series."""
SERIES_INTERVAL = 60.0
"""Seconds between two writes of one series. The first repetition is written at once, because it is new information."""
PATIENCE = 10.0
"""Maximum time in seconds that an Event waits while the operator is busy."""
BURST = 25
"""Maximum number of Events for one object in a burst."""
REFILL = 60.0
"""Seconds until an object may have one more Event."""
MAX_SERIES = 2048
"""Maximum number of series in memory. After a series is removed, its next Event starts a new one."""
MAX_ATTEMPTS = 5
RETRY_DELAY = 3.0
"""Seconds to wait after a failed write, multiplied by the number of attempts so far."""
MESSAGE_BYTES = 1024
"""The limit of a message, in bytes. It is the one of events.k8s.io."""


def reference(raw: Mapping[str, object]) -> Object:
    """Return the object reference of a raw object, for `EventRecorder.record`."""
    metadata = raw["metadata"]
    assert isinstance(metadata, Mapping)
    named = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion") if key in metadata}
    return {"apiVersion": raw["apiVersion"], "kind": raw["kind"], **named}


def utc_now() -> datetime:
    """Return the wall-clock time in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Series:
    """One Event and its repetitions."""

    body: Object
    last_at: float
    """The monotonic time at which it last happened."""
    last_time: str
    """The wall-clock time at which it last happened."""
    due_at: float
    """The monotonic time from which it may be written again."""
    count: int = 1
    written: int = 0
    """The count that the API server has. It is 0 until the Event exists there."""
    attempts: int = 0


class EventRecorder:
    """Records Events.

    `run` writes them in the background. `flush` writes the rest at shutdown.
    """

    def __init__(
        self,
        client: KubeClient,
        reporter: tuple[str, str],
        clock: Callable[[], float],
        wall: Callable[[], datetime] = utc_now,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Prepare the recorder. It sends nothing before `run` or `flush`.

        Args:
            client: Used in the background only.
            reporter: The reporting controller, such as `sluicegate.dev/operator`, and its instance: the pod's name.
            clock: Monotonic seconds.
            wall: Time of day in UTC, for readers.
            busy: Tells whether there is more important work. Events wait for the end of that work, up to a limit.
        """
        self._client = client
        component, instance = reporter[0], reporter[1][:128]
        self._source = {
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": instance,
        }
        self._clock = clock
        self._wall = wall
        self._series: OrderedDict[tuple[str, str, str], _Series] = OrderedDict()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._unwritten: dict[tuple[str, str, str], _Series] = {}
        self._wake = asyncio.Event()
        self._busy = busy
        self.dropped = 0
        """Number of Events that were dropped, because of the rate limit or because they could not be written."""

    def record(self, about: Mapping[str, str], severity: str, reason: str, message: str, action: str) -> None:
        """Record an Event.

        Args:
            about: Reference to the object: apiVersion, kind, namespace, name, uid. See `reference`.
            severity: `Normal` or `Warning`.
            reason: Machine-readable reason in CamelCase.
            message: A sentence. It is cut at the API's limit.
            action: What the operator was doing, in CamelCase.
        """
        message = printable(message)
        now, uid = self._clock(), about.get("uid", "")
        key = (uid, reason, message)
        series = self._series.get(key)
        if series is not None and now - series.last_at <= SERIES_WINDOW:
            series.count += 1
            series.last_at, series.last_time = now, self._timestamp()
            self._series.move_to_end(key)
            self._unwritten[key] = series
            self._wake.set()
            return
        if not self._allowed(uid, now):
            self.dropped += 1
            return
        time = self._timestamp()
        name = f"{about['name'][:220].rstrip('.-')}.{secrets.token_hex(8)}"
        body = {
            "metadata": {"namespace": about.get("namespace") or "default", "name": name},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
            "type": severity,
            "reason": reason[:128],
            "action": action[:128],
            "message": message.encode("utf-8", "replace")[:MESSAGE_BYTES].decode("utf-8", "ignore"),
            "involvedObject": dict(about),
            **self._source,
        }
        self._series[key] = self._unwritten[key] = _Series(body, now, time, due_at=now)
        self._series.move_to_end(key)
        while len(self._series) > MAX_SERIES:
            forgotten, _ = self._series.popitem(last=False)
            self.dropped += self._unwritten.pop(forgotten, None) is not None
        self._wake.set()

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        while True:
            self._wake.clear()
            for key, series in list(self._unwritten.items()):
                if series.due_at <= self._clock():
                    await self._yield(series)
                    await self._write(key, series)
            await self._sleep()

    async def _yield(self, series: _Series) -> None:
        """Wait while there is more important work, for `PATIENCE` seconds at most."""
        # Polling is enough: best-effort work needs no signal of its own.
        while self._busy() and self._clock() - series.last_at < PATIENCE:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    async def flush(self, seconds: float = 5.0) -> None:
        """Write everything outstanding, due or not.

        Call this after `run` has been cancelled.

        Args:
            seconds: Time limit for all writes.
        """
        try:
            async with asyncio.timeout(seconds):
                for key, series in list(self._unwritten.items()):
                    await self._write(key, series)
        except TimeoutError:
            logger.warning("%d Events were not written in time", len(self._unwritten))

    async def _sleep(self) -> None:
        """Wait for a new Event, or until the next series is due."""
        due = min((series.due_at for series in self._unwritten.values()), default=None)
        if self._wake.is_set() or (due is not None and due <= self._clock()):
            return
        try:
            async with asyncio.timeout(None if due is None else due - self._clock()):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _write(self, key: tuple[str, str, str], series: _Series) -> None:
        """Create the Event, or update its series.

        A failed write is retried later, a limited number of times.
        """
        count = series.count
        try:
            await self._send(series, count)
        except (Unreachable, ServerError, TooManyRequests) as error:
            series.attempts += 1
            series.due_at = self._clock() + RETRY_DELAY * series.attempts
            if series.attempts >= MAX_ATTEMPTS:
                self._give_up(series, count, error)
        except KubeError as error:
            self._give_up(series, count, error)
        except Exception as error:  # must not affect Events about other objects
            logger.exception("Event %s: unexpected error", series.body["reason"])
            self._give_up(series, count, error)
        else:
            first = not series.written
            series.written, series.attempts = count, 0
            series.due_at = self._clock() + (0.0 if first else SERIES_INTERVAL)
        if series.count <= series.written and self._unwritten.get(key) is series:
            del self._unwritten[key]

    async def _send(self, series: _Series, count: int) -> None:
        body, metadata = series.body, series.body["metadata"]
        times = {"count": count, "lastTimestamp": series.last_time}
        if series.written:
            try:
                await self._client.merge_patch(EVENT, metadata["namespace"], metadata["name"], times)
                return
            except NotFound:
                logger.debug("event %s has expired; creating it anew", metadata["name"])
        try:
            await self._client.create(EVENT, {**body, **times})
        except Conflict:
            # An earlier attempt succeeded although its response was lost. No other writer uses this name.
            logger.debug("event %s exists already", metadata["name"])

    def _give_up(self, series: _Series, count: int, error: Exception) -> None:
        self.dropped += 1
        series.written, series.attempts = count, 0
        logger.log(
            logging.DEBUG if isinstance(error, NamespaceTerminating) else logging.WARNING,
            "cannot write Event %s about %s: %s",
            series.body["reason"],
            series.body["involvedObject"]["name"],
            error,
        )

    def _allowed(self, uid: str, now: float) -> bool:
        """Take a token from the object's bucket, if there is one."""
        bucket = self._buckets.setdefault(uid, TokenBucket(1 / REFILL, BURST))
        self._buckets.move_to_end(uid)
        while len(self._buckets) > MAX_SERIES:
            self._buckets.popitem(last=False)
        return bucket.take(now)

    def _timestamp(self) -> str:
        return self._wall().strftime("%Y-%m-%dT%H:%M:%SZ")
