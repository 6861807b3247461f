"""List-and-watch: a local, always current copy of one kind of object.

The library's own informer is synchronous and runs on threads; this one is a coroutine, keeps only what its
`transform` keeps, and wakes owners only when that changed.
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
from sluicegate.kube.store import Key, Store, key_of
from sluicegate.kube.wire import Object, WatchEvent, unusable

logger = logging.getLogger(__name__)

T = TypeVar("T")


def without_managed_fields(raw: Object) -> Object:
    """The usual transform: the whole object but `managedFields`, half its size and no use to us."""
    raw["metadata"].pop("managedFields", None)
    return raw


@dataclass(frozen=True, slots=True)
class InformerTimings:
    """How an informer paces itself, in seconds."""

    watch: float = 180.0
    """Life of one watch, give or take a quarter; bounds how long a dead connection goes unnoticed."""
    relist: float = 600.0
    """Between whole lists, give or take a quarter, as a safety net under the watch."""
    retry_missing: float = 30.0
    """Between attempts at a kind the cluster does not have."""
    backoff_base: float = 0.5
    backoff_max: float = 30.0


# Without slots: on Python 3.11 a frozen generic with slots cannot be made as `InformerOptions[T](...)`.
@dataclass(frozen=True)
class InformerOptions(Generic[T]):
    """What an informer watches and what it keeps."""

    transform: Callable[[Object], T]
    """Makes what is stored of a raw object, which it may change. Its `==` decides whether anybody wakes."""
    owner_of: Callable[[T], Key | None]
    """Namespace and name of the owner of what is stored; None for objects that concern nobody."""
    clock: Callable[[], float]
    """Monotonic seconds."""
    namespace: str | None = None
    """None watches all namespaces."""
    selector: str = ""
    """A label selector, evaluated by the server."""
    timings: InformerTimings = InformerTimings()
    page_size: int = 500
    """Objects a page of a list."""
    optional: bool = False
    """Whether a refusal to list it counts as the kind being missing: one can do without it."""


class Informer(Generic[T]):
    """Keeps a copy of one kind. Start `run` as a task; wait for `synced` before trusting an absence."""

    def __init__(self, client: KubeClient, kind: Kind, options: InformerOptions[T]) -> None:
        """Prepare; nothing is asked of the server before `run`."""
        self.kind = kind
        self.synced = asyncio.Event()
        """Set once the first list is in, or the kind is known to be missing."""
        self.available = True
        """False while the cluster does not have this kind; the store is empty then."""
        self.skipped = Skipped()
        """Objects whose content cannot be decoded or used: for this informer they do not exist."""
        self._client = client
        self._options = options
        self._store: Store[T] = Store(options.transform, options.owner_of, self._notify)
        self._subscribers: list[Callable[[Key], None]] = []
        self._alive_at = options.clock()
        self._failures = 0
        self._version = ""

    def on_change(self, subscriber: Callable[[Key], None]) -> None:
        """Call `subscriber` with the owner's key whenever a stored object of that owner changes.

        The call is synchronous and comes after the change is stored; it must be quick and must not raise.
        """
        self._subscribers.append(subscriber)

    def get(self, namespace: str | None, name: str) -> T | None:
        """The stored object, or None."""
        return self._store.get((namespace or "", name))

    def owned(self, owner: Key) -> list[T]:
        """The stored objects of an owner, ordered by name."""
        return self._store.owned(owner)

    def items(self) -> Iterator[tuple[Key, T]]:
        """All names and stored objects, as of the call."""
        return self._store.items()

    def put(self, raw: Object) -> None:
        """Store the answer to our own write, if it is news, so that the next reconcile knows of it.

        The object must match the informer's namespace and selector.

        Raises:
            Undecodable: The transform cannot read the object.
        """
        try:
            self._store.put(raw)
        except Exception as error:
            raise self._skip(unusable(raw, self.kind, error)) from error

    def forget(self, namespace: str | None, name: str, uid: str) -> None:
        """Drop an object we have just deleted; late events of it count only if they show it terminating."""
        self._store.forget((namespace or "", name), uid)

    def heartbeat_age(self) -> float:
        """Seconds since the last sign of life.

        That is an answered list, an opened or ended watch, an event or a bookmark. Healthy values
        stay under `timings.watch` * 1.25 + the client's slack + `timings.backoff_max`.
        """
        return self._options.clock() - self._alive_at

    async def fill(self) -> None:
        """List once and do not watch: for commands that look once and end.

        Raises:
            KubeError: It could not be listed; a kind that the cluster does not have is no error.
        """
        try:
            await self._list()
        except NotFound:
            self._missing()

    async def run(self) -> None:
        """List and watch until cancelled; every failure is retried."""
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
                logger.info("%s: listing again: %s", self.kind.kind, error)
                await self._pause(0.0)
            except KubeError as error:
                logger.warning("%s: listing again: %s", self.kind.kind, error)
                await self._pause(error.retry_after if isinstance(error, TooManyRequests) else 0.0)
            except Exception:
                logger.exception("%s: listing again after an unexpected error", self.kind.kind)
                await self._pause(0.0)

    async def _list_and_watch(self) -> None:
        """One list, then watches one after another until the list is too old."""
        clock, timings = self._options.clock, self._options.timings
        await self._list()
        relist_at = clock() + timings.relist * random.uniform(0.75, 1.25)
        while clock() < relist_at:
            try:
                await self._watch(min(timings.watch * random.uniform(0.75, 1.25), relist_at - clock()))
            except (Unreachable, TooManyRequests) as error:
                # The position is still good: going on from it spares the server a list just when it is weak.
                logger.info("%s: watching again: %s", self.kind.kind, error)
                await self._pause(error.retry_after if isinstance(error, TooManyRequests) else 0.0)

    async def _list(self) -> None:
        options = self._options
        # The first list may come from the server's cache; it could be behind the copy we have later.
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
            for raw in page.read():
                taken = self._take(raw)
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
            # Ended at once and without an error: do not spin.
            await self._pause(0.0)
        else:
            self._failures = 0

    def _event(self, event: WatchEvent) -> None:
        if event.type in ("ADDED", "MODIFIED"):
            self._take(event.object)
        elif event.type == "DELETED":
            self._drop(event.object)
        # An object without a readable version leaves the position where it was: the next event or bookmark moves it.
        if version := _version(event.object):
            self._version = str(version)
            self._store.advance(version)

    def _take(self, raw: Object | Undecodable) -> Key | Undecodable:
        """Store an object and return its name; one that cannot be decoded, or not transformed, is skipped."""
        if isinstance(raw, Undecodable):
            return self._skip(raw)
        try:
            self._store.observe(raw)
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
        """Take a DELETED event."""
        if isinstance(raw, Undecodable):
            key, uid = raw.key, raw.uid
        else:
            key, uid = key_of(raw), raw["metadata"].get("uid", "")
        if key is not None:
            self._store.deleted(key, uid, _version(raw))
            self.skipped.discard(key)

    def _missing(self) -> None:
        if self.available or not self.synced.is_set():
            logger.info("going on without %s %s", self.kind.api_version, self.kind.kind)
        self._alive()
        self._failures = 0
        self.available = False
        self._store.clear()
        self.skipped.retain(())
        self.synced.set()

    def _alive(self) -> None:
        self._alive_at = self._options.clock()

    async def _pause(self, at_least: float) -> None:
        """Sleep with full jitter, longer after each failure in a row, until something works again."""
        timings = self._options.timings
        ceiling = min(timings.backoff_max, timings.backoff_base * 2.0 ** min(self._failures, 10))
        self._failures += 1
        await asyncio.sleep(at_least + random.uniform(0.0, ceiling))

    def _notify(self, owner: Key) -> None:
        for subscriber in self._subscribers:
            subscriber(owner)


def _version(raw: Object | Undecodable) -> int:
    """Return the resource version of an event's object; 0 where it has none."""
    if isinstance(raw, Undecodable):
        return raw.version
    return int(raw["metadata"].get("resourceVersion") or 0)
