"""The informer's memory: objects by name, an index by owner, and which version wins.

Three sources write here: lists, watch events and our own requests' answers. They arrive in any order, so
each entry keeps its uid and resource version. Versions of one kind come from one counter of the API server
and compare as integers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sluicegate.kube.wire import Object

T = TypeVar("T")

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One stored object and which version of which object it is."""

    uid: str
    version: int
    value: T
    owner: Key | None


def key_of(raw: Object) -> Key:
    """The namespace and name of a raw object."""
    metadata = raw["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def version_of(raw: Object) -> int:
    """The resource version of a raw object as a number."""
    return int(raw["metadata"]["resourceVersion"])


class Store(Generic[T]):
    """What is known of one kind. Every change calls `notify` with the owner, after it has been stored."""

    def __init__(
        self,
        transform: Callable[[Object], T],
        owner_of: Callable[[T], Key | None],
        notify: Callable[[Key], None],
    ) -> None:
        """Start empty.

        Args:
            transform: Makes what is kept of a raw object.
            owner_of: Names the owner of what is kept, or None.
            notify: Called with each owner whose objects changed.
        """
        self._transform = transform
        self._owner_of = owner_of
        self._notify = notify
        self._entries: dict[Key, Entry[T]] = {}
        self._owned: dict[Key, set[Key]] = {}
        self._forgotten: set[str] = set()
        self.position = 0
        """The version up to which the stream has told us everything; 0 before the first list."""

    def __len__(self) -> int:
        """How many objects there are."""
        return len(self._entries)

    def get(self, key: Key) -> T | None:
        """The object of that name, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def owned(self, owner: Key) -> list[T]:
        """The objects of an owner, ordered by name."""
        return [self._entries[key].value for key in sorted(self._owned.get(owner, ()))]

    def items(self) -> Iterator[tuple[Key, T]]:
        """Every name and object, as of the call."""
        return iter([(key, entry.value) for key, entry in self._entries.items()])

    def observe(self, raw: Object) -> None:
        """Take an object from the watch or a list, unless what is stored is newer."""
        key, version, uid = key_of(raw), version_of(raw), raw["metadata"]["uid"]
        if uid in self._forgotten:
            # With a deletion timestamp it lingers, for a finalizer or a pod's grace period: real again.
            if "deletionTimestamp" not in raw["metadata"]:
                return
            self._forgotten.discard(uid)
        stored = self._entries.get(key)
        if stored is not None and stored.version >= version:
            return
        value = self._transform(raw)
        self._replace(key, Entry(uid, version, value, self._owner_of(value)))

    def put(self, raw: Object) -> None:
        """Take the answer to a write of ours ahead of its watch event.

        An unknown object is taken only if the stream has not passed its version yet; otherwise the stream
        has told of it, and of its deletion, already.
        """
        if key_of(raw) in self._entries or version_of(raw) > self.position:
            self.observe(raw)

    def deleted(self, key: Key, uid: str, version: int) -> None:
        """Take a DELETED event: drop that object, but not a later one of the same name.

        Args:
            key: The object's name.
            uid: Its uid.
            version: Its resource version at the deletion.
        """
        self._forgotten.discard(uid)
        stored = self._entries.get(key)
        if stored is not None and (stored.uid == uid or stored.version < version):
            self._remove(key)

    def drop(self, key: Key, version: int) -> None:
        """Drop an object that has become undecodable at this version (0 is unknown), unless what is stored is newer.

        What is stored is out of date, and decisions must not build on it: it counts as absent, as after a restart.
        """
        stored = self._entries.get(key)
        if stored is not None and (not version or stored.version <= version):
            self._remove(key)

    def forget(self, key: Key, uid: str) -> None:
        """Drop an object we have deleted; events still on their way do not bring it back."""
        self._forgotten.add(uid)
        stored = self._entries.get(key)
        if stored is not None and stored.uid == uid:
            self._remove(key)

    def begin_list(self) -> None:
        """Note that a list of the newest state is about to be asked for.

        It will tell the truth about everything forgotten until now, and no older event can follow it. Not
        for a list out of the server's cache, which may be older than our deletions.
        """
        self._forgotten.clear()

    def end_list(self, keys: set[Key], version: int) -> None:
        """Finish a whole list: what it lacks was deleted unseen, unless it is newer than the list.

        Args:
            keys: Every name the list had.
            version: The moment of the list.
        """
        for key in [k for k, entry in self._entries.items() if k not in keys and entry.version <= version]:
            self._remove(key)
        self.advance(version)

    def advance(self, version: int) -> None:
        """Note that the stream has told of everything up to this version."""
        self.position = max(self.position, version)

    def clear(self) -> None:
        """Drop everything: the kind itself is gone, and its versions start anew."""
        self._forgotten.clear()
        self.position = 0
        for key in list(self._entries):
            self._remove(key)

    def _replace(self, key: Key, entry: Entry[T]) -> None:
        stored = self._entries.get(key)
        self._entries[key] = entry
        if stored is not None and stored.owner != entry.owner:
            self._unindex(key, stored.owner)
        if entry.owner is not None:
            self._owned.setdefault(entry.owner, set()).add(key)
        if stored is None or stored.uid != entry.uid or stored.value != entry.value:
            owners = {entry.owner, entry.owner if stored is None else stored.owner}
            for owner in owners:
                if owner is not None:
                    self._notify(owner)

    def _remove(self, key: Key) -> None:
        owner = self._entries.pop(key).owner
        self._unindex(key, owner)
        if owner is not None:
            self._notify(owner)

    def _unindex(self, key: Key, owner: Key | None) -> None:
        if owner is None:
            return
        names = self._owned[owner]
        names.discard(key)
        if not names:
            del self._owned[owner]
