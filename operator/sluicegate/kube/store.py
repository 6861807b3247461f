"""The store of an informer: objects by name, and an index by owner.

The store also decides which version of an object wins. Three sources write to it: lists, watch events and the responses
to the operator's own requests. They arrive in any order, so each entry keeps its uid and resource version. All resource
versions of one kind come from one counter of the API server, so they compare as integers.

The counter goes back when etcd is restored from a snapshot. Then a stored object may be newer than anything that the
API server has, and only a list replaces it. A list of the newest state shows this: its own version is lower than one
that the store has received before, or it has an object in an older version than an earlier list or event of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from sluicegate.kube.wire import Key, Object

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One stored object with its uid and resource version."""

    uid: str
    version: int
    value: T
    owner: Key | None


def key_of(raw: Object) -> Key:
    """Return the namespace and name of a raw object."""
    metadata = raw["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def version_of(raw: Object) -> int:
    """Return the resource version of a raw object as a number."""
    return int(raw["metadata"]["resourceVersion"])


class Store(Generic[T]):
    """The stored objects of one kind.

    Every change calls `notify` with the owner, after the change is stored.
    """

    def __init__(
        self,
        transform: Callable[[Object], T],
        owner_of: Callable[[T], Key | None],
        notify: Callable[[Key], None],
    ) -> None:
        """Create an empty store.

        Args:
            transform: Returns the value to store for a raw object.
            owner_of: Returns the owner of a stored value, or None.
            notify: Called with each owner whose objects changed.
        """
        self._transform = transform
        self._owner_of = owner_of
        self._notify = notify
        self._entries: dict[Key, Entry[T]] = {}
        self._owned: dict[Key, set[Key]] = {}
        self._forgotten: set[str] = set()
        self._replacing = False
        self.position = 0
        """The resource version up to which the store has received every change. It is 0 before the first list."""
        self.rewound = False
        """Whether the current list shows that the resource versions went back."""

    def __len__(self) -> int:
        """Return the number of stored objects."""
        return len(self._entries)

    def get(self, key: Key) -> T | None:
        """Return the object with this name, or None."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def owned(self, owner: Key) -> list[T]:
        """Return the objects of an owner, ordered by name."""
        return [self._entries[key].value for key in sorted(self._owned.get(owner, ()))]

    def items(self) -> Iterator[tuple[Key, T]]:
        """Iterate over all names and objects, as they are at the time of the call."""
        return iter([(key, entry.value) for key, entry in self._entries.items()])

    def observe(self, raw: Object) -> None:
        """Store an object from a watch or a list, unless the stored one is newer."""
        key, version, uid = key_of(raw), version_of(raw), raw["metadata"]["uid"]
        if uid in self._forgotten:
            # An object with a deletion timestamp still exists, because of a finalizer or a pod's grace period.
            if "deletionTimestamp" not in raw["metadata"]:
                return
            self._forgotten.discard(uid)
        stored = self._entries.get(key)
        if stored is not None and stored.version >= version and not self._replacing:
            return
        value = self._transform(raw)
        self._replace(key, Entry(uid, version, value, self._owner_of(value)))

    def put(self, raw: Object) -> None:
        """Store the response to the operator's own write, ahead of its watch event.

        The store accepts an unknown object only if the stream has not passed its version yet. Otherwise the stream has
        already reported the object, and its deletion.
        """
        if key_of(raw) in self._entries or version_of(raw) > self.position:
            self.observe(raw)

    def deleted(self, key: Key, uid: str, version: int) -> None:
        """Process a DELETED event: drop that object, but no later one of its name.

        Args:
            key: The object's name.
            uid: The object's uid.
            version: The object's resource version at the deletion.
        """
        self._forgotten.discard(uid)
        stored = self._entries.get(key)
        if stored is not None and (stored.uid == uid or stored.version < version):
            self._remove(key)

    def listed(self, raw: Object, version: int) -> None:
        """Store an object of a list.

        Args:
            raw: The object.
            version: The resource version of the list.
        """
        stored = self._entries.get(key_of(raw))
        if stored is not None and version_of(raw) < stored.version <= version:
            self.rewound = True
        self.observe(raw)

    def drop(self, key: Key, version: int) -> None:
        """Drop an object that became undecodable, unless the stored one is newer.

        The stored object is out of date, and no decision may depend on it. It counts as absent, as it does after a
        restart.

        Args:
            key: The object's name.
            version: The resource version at which the object became undecodable. 0 means unknown.
        """
        stored = self._entries.get(key)
        if stored is not None and (not version or stored.version <= version or self._replacing):
            self._remove(key)

    def forget(self, key: Key, uid: str) -> None:
        """Drop an object that the operator deleted.

        Late events do not restore the object, unless they show that it is still terminating.
        """
        self._forgotten.add(uid)
        stored = self._entries.get(key)
        if stored is not None and stored.uid == uid:
            self._remove(key)

    def begin_list(self) -> None:
        """Prepare for a list of the newest state, before the request is sent.

        The list is authoritative for every object forgotten until now, and no older event can follow it. Do not call
        this before a list from the server's cache, which may be older than the operator's deletions.
        """
        self._forgotten.clear()
        self._replacing = self.rewound = False

    def replace(self) -> None:
        """Let the current list win over every stored object, until `end_list`.

        The following watch delivers what is newer than the list.
        """
        self._replacing = True

    def end_list(self, keys: set[Key], version: int) -> None:
        """Finish a whole list: drop the objects that it does not have.

        They were deleted without an event. Objects that are newer than the list stay.

        Args:
            keys: Every name in the list.
            version: The resource version of the list.
        """
        replacing, self._replacing = self._replacing, False
        for key in [k for k, e in self._entries.items() if k not in keys and (replacing or e.version <= version)]:
            self._remove(key)
        self.position = version if replacing else max(self.position, version)

    def advance(self, version: int) -> None:
        """Record that the store has received every change up to this version."""
        self.position = max(self.position, version)

    def clear(self) -> None:
        """Drop everything, because the kind no longer exists.

        Its resource versions start anew if it comes back.
        """
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
