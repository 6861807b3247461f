"""List-and-watch: a local copy of one kind of object that is always current.

The informer of the library is synchronous and runs on threads. This one is a coroutine. It stores only what its
`transform` returns, and notifies owners only when that changes.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import (
    Forbidden,
    Gone,
    KubeError,
    NotFound,
    TooManyRequests,
    Undecodable,
    Unreachable,
)
from sluicegate.kube.kinds import Kind
from sluicegate.kube.skipped import Skipped
from sluicegate.kube.store import Store, key_of
from sluicegate.kube.wire import Key, Object, WatchEvent, unusable

logger = logging.getLogger(__name__)

T = TypeVar("T")


def without_managed_fields(raw: Object) -> Object:
    """Return the object without `managedFields`.

    This is the usual transform. `managedFields` are half of an object, and the operator does not use them.
    """
    raw["metadata"].pop("managedFields", None)
    return raw


@dataclass(frozen=True, slots=True)
class InformerTimings:
    """The intervals of an informer, in seconds."""

    watch: float = 180.0
    """Duration of one watch, plus or minus a quarter. It limits how long a dead connection can go unnoticed."""
    relist: float = 600.0
    """Interval between whole lists, plus or minus a quarter. They correct what a watch may have missed."""
    retry_missing: float = 30.0
    """Interval between attempts to list a kind that the cluster does not have."""
    backoff_base: float = 0.5
    backoff_max: float = 30.0


# Without slots: on Python 3.11 a frozen generic with slots cannot be created as `InformerOptions[T](...)`.
@dataclass(frozen=True)
class InformerOptions(Generic[T]):
    """What an informer watches and what it stores."""

    transform: Callable[[Object], T]
    """Returns the value to store for a raw object, which it may change. Its `==` decides whether owners are
    notified."""
    owner_of: Callable[[T], Key | None]
    """Returns the namespace and name of a stored value's owner, or None for objects without an owner."""
    clock: Callable[[], float]
    """Monotonic seconds."""
    namespace: str | None = None
    """The namespace to watch. None watches all namespaces."""
    selector: str = ""
    """A label selector, which the server evaluates."""
    timings: InformerTimings = InformerTimings()
    page_size: int = 500
    """Objects per page of a list."""
    optional: bool = False
    """Whether a 403 to a list counts as a missing kind. Set it for a kind that the operator can run without."""


class Informer(Generic[T]):
    """A local copy of one kind of object.

    Start `run` as a task. Wait for `synced` before you rely on the absence of an object.
    """

    def __init__(self, client: KubeClient, kind: Kind, options: InformerOptions[T]) -> None:
        """Prepare the informer. It sends no request before `run`."""
        self.kind = kind
        self.synced = asyncio.Event()
        """Set once the first list is complete, or the kind is known to be missing."""
        self.available = True
        """False while the cluster does not have this kind. The store is empty then."""
        self.skipped = Skipped()
        """Objects whose content cannot be decoded or used. The informer treats them as absent."""
        self._client = client
        self._options = options
        self._store: Store[T] = Store(options.transform, options.owner_of, self._notify)
        self._subscribers: list[Callable[[Key], None]] = []
        self._alive_at = options.clock()
        self._failures = 0
        self._version = ""

    def on_change(self, subscriber: Callable[[Key], None]) -> None:
        """Call `subscriber` with the owner's key when an object of that owner changes.

        The call is synchronous and comes after the change is stored. The subscriber must return quickly and must not
        raise.
        """
        self._subscribers.append(subscriber)

    def get(self, namespace: str | None, name: str) -> T | None:
        """Return the stored object, or None."""
        return self._store.get((namespace or "", name))

    def owned(self, owner: Key) -> list[T]:
        """Return the stored objects of an owner, ordered by name."""
        return self._store.owned(owner)

    def items(self) -> Iterator[tuple[Key, T]]:
        """Iterate over all names and stored objects, as of the time of the call."""
        return self._store.items()

    def put(self, raw: Object) -> None:
        """Store the response to the operator's own write, if it is newer.

        The next reconcile then reads the written object. The object must match the informer's namespace and selector.

        Raises:
            Undecodable: The transform cannot read the object.
        """
        try:
            self._store.put(raw)
        except Exception as error:
            raise self._skip(unusable(raw, self.kind, error)) from error

    def forget(self, namespace: str | None, name: str, uid: str) -> None:
        """Drop an object that the operator has just deleted.

        Late events do not restore the object, unless they show that it is still terminating.
        """
        self._store.forget((namespace or "", name), uid)

    def heartbeat_age(self) -> float:
        """Return the seconds since the last sign of a working connection.

        The signs are the response to a list, an opened or ended watch, an event and a bookmark. Healthy values stay
        under `timings.watch` * 1.25 + the client's slack + `timings.backoff_max`.
        """
        return self._options.clock() - self._alive_at

    async def fill(self) -> None:
        """List once without a watch, for commands that read once and exit.

        Raises:
            KubeError: The list failed. A kind that the cluster does not have is not an error.
        """
        try:
            await self._list()
        except NotFound:
            self._missing()

    async def run(self) -> None:
        """List and watch until cancelled, and retry after every failure."""
        while True:
            try:
                await self._list_and_watch()
            except NotFound:
                self._missing()
                await asyncio.sleep(self._options.timings.retry_missing)
            except Forbidden as error:
                logger.warning("%s: %s", self.kind.kind, error)
                if self._options.optional:
                    self._missing()
                    await asyncio.sleep(self._options.timings.retry_missing)
                else:
                    await self._pause(0.0)
            except Gone as error:
                logger.info("%s: relisting: %s", self.kind.kind, error)
                await self._pause(0.0)
            except KubeError as error:
                logger.warning("%s: relisting: %s", self.kind.kind, error)
                await self._pause(error.retry_after if isinstance(error, TooManyRequests) else 0.0)
            except Exception:
                logger.exception("%s: relisting after an unexpected error", self.kind.kind)
                await self._pause(0.0)

    async def _list_and_watch(self) -> None:
        """List once, then run one watch after another until the list is too old."""
        clock, timings = self._options.clock, self._options.timings
        await self._list()
        relist_at = clock() + timings.relist * random.uniform(0.75, 1.25)
        while clock() < relist_at:
            try:
                await self._watch(min(timings.watch * random.uniform(0.75, 1.25), relist_at - clock()))
            except (Unreachable, TooManyRequests) as error:
                # The position is still valid. A watch from there saves the server a list while it is overloaded.
                logger.info("%s: restarting the watch: %s", self.kind.kind, error)
                await self._pause(error.retry_after if isinstance(error, TooManyRequests) else 0.0)

    async def _list(self) -> None:
        await self._list_once()
        if self._store.rewound:
            # Some stored objects may have the version that the server gave to another state of them.
            logger.warning("%s: resourceVersions went back, so a list replaces every object", self.kind.kind)
            await self._list_once(replace=True)

    async def _list_once(self, replace: bool = False) -> None:
        options = self._options
        # The first list may come from the server's cache. A later one may not, because the cache could be older than
        # the local copy.
        since = "" if self.synced.is_set() else "0"
        if not since:
            self._store.begin_list()
        keys: set[Key] = set()
        skipped: set[Key | None] = set()
        version = ""
        pages = self._client.pages(self.kind, options.namespace, options.selector, since, options.page_size)
        async for page in pages:
            self._alive()
            version = page.resource_version
            if since == "" and (replace or int(version) < self._store.position):
                self._store.replace()
            for raw in page.read():
                taken = self._take(raw, int(version))
                if isinstance(taken, Undecodable):
                    skipped.add(taken.key)
                else:
                    keys.add(taken)
        self._store.end_list(keys, int(version))
        self.skipped.retain(skipped)
        self._version = version
        self.available = True
        self.synced.set()

    async def _watch(self, seconds: float) -> None:
        options = self._options
        opened = options.clock()
        stream = self._client.watch(self.kind, options.namespace, options.selector, self._version, seconds)
        async with stream as events:
            self._alive()
            async for event in events:
                self._alive()
                self._failures = 0
                self._event(event)
        self._alive()
        if options.clock() - opened < min(1.0, seconds / 2):
            # The watch ended at once and without an error. The pause prevents a busy loop.
            await self._pause(0.0)
        else:
            self._failures = 0

    def _event(self, event: WatchEvent) -> None:
        """Process one event.

        Raises:
            Gone: The event is older than what the watch started after, so the resource versions went back.
        """
        if event.type != "DELETED" and 0 < _version(event.object) < int(self._version or 0):
            message = f"the watch after {self._version} delivered the older version {_version(event.object)}"
            raise Gone(410, "Expired", message)
        if event.type in ("ADDED", "MODIFIED"):
            self._take(event.object)
        elif event.type == "DELETED":
            self._drop(event.object)
        # An object without a readable version does not move the position. The next event or bookmark does.
        if version := _version(event.object):
            self._version = str(version)
            self._store.advance(version)

    def _take(self, raw: Object | Undecodable, list_version: int | None = None) -> Key | Undecodable:
        """Store an object of a watch, or of a list with its version, and return its name.

        Skip an object that cannot be decoded or transformed.
        """
        if isinstance(raw, Undecodable):
            return self._skip(raw)
        try:
            if list_version is None:
                self._store.observe(raw)
            else:
                self._store.listed(raw, list_version)
        except Exception as error:
            return self._skip(unusable(raw, self.kind, error))
        key = key_of(raw)
        self.skipped.discard(key)
        return key

    def _skip(self, undecodable: Undecodable) -> Undecodable:
        self.skipped.add(undecodable)
        if undecodable.key is not None:
            self._store.drop(undecodable.key, undecodable.version)
        return undecodable

    def _drop(self, raw: Object | Undecodable) -> None:
        """Process a DELETED event."""
        if isinstance(raw, Undecodable):
            key, uid = raw.key, raw.uid
        else:
            key, uid = key_of(raw), raw["metadata"].get("uid", "")
        if key is not None:
            self._store.deleted(key, uid, _version(raw))
            self.skipped.discard(key)

    def _missing(self) -> None:
        if self.available or not self.synced.is_set():
            logger.info("continuing without %s %s", self.kind.api_version, self.kind.kind)
        self._alive()
        self._failures = 0
        self.available = False
        self._store.clear()
        self.skipped.retain(())
        self.synced.set()

    def _alive(self) -> None:
        self._alive_at = self._options.clock()

    async def _pause(self, at_least: float) -> None:
        """Sleep with full jitter, longer after each consecutive failure.

        The first success resets the delay.
        """
        timings = self._options.timings
        ceiling = min(timings.backoff_max, timings.backoff_base * 2.0 ** min(self._failures, 10))
        self._failures += 1
        await asyncio.sleep(at_least + random.uniform(0.0, ceiling))

    def _notify(self, owner: Key) -> None:
        for subscriber in self._subscribers:
            subscriber(owner)


def _version(raw: Object | Undecodable) -> int:
    """Return the resource version of an event's object, or 0 if it has none."""
    if isinstance(raw, Undecodable):
        return raw.version
    return int(raw["metadata"].get("resourceVersion") or 0)
