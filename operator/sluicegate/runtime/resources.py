"""The store of ModelDeployments.

The stream delivers them, and the operator adds the responses to its own status writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sluicegate.api import names
from sluicegate.api.resource import Key, ModelDeployment, decode
from sluicegate.kube.errors import Undecodable
from sluicegate.kube.events import EventRecorder
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.kube.skipped import Skipped
from sluicegate.kube.wire import Object, unusable


class Resources:
    """A store of resources by (namespace, name), which reports relevant changes."""

    def __init__(
        self, wake: Callable[[Key], None], report: Callable[[Undecodable], None] = lambda undecodable: None
    ) -> None:
        """Create an empty store.

        Args:
            wake: Called with the key of each resource that is created or deleted, or whose spec or annotations change.
            report: Called once with each resource that cannot be decoded.
        """
        self._wake = wake
        self.skipped = Skipped(report)
        """Resources that cannot be decoded. The operator leaves them and their children unchanged."""
        self._known: dict[Key, ModelDeployment] = {}
        self._streamed: dict[Key, int] = {}
        self.position = 0
        """The highest resourceVersion that the API server has delivered."""

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> ModelDeployment | None:
        """Return the resource, or None if it does not exist or cannot be decoded."""
        return self._known.get(key)

    def items(self) -> Iterator[ModelDeployment]:
        """Return an iterator over all resources at the time of the call."""
        return iter(list(self._known.values()))

    def streamed(self, raw: Object, deleted: bool) -> None:
        """Process one event of the stream."""
        key = _key(raw)
        if deleted:
            self.position = max(self.position, _version(raw))
            self.remove(key)
            return
        self._streamed[key] = _version(raw)
        self.offer(raw)

    def offer(self, raw: Object, replace: bool = False) -> None:
        """Store an object unless a newer one is stored.

        The object may come from the stream, a relist or the response to a write.

        Args:
            raw: The object.
            replace: Store the object although a newer one is stored.
        """
        key = _key(raw)
        self.position = max(self.position, _version(raw))
        old = None if replace else self._known.get(key)
        if old is not None and old.metadata.uid == raw["metadata"].get("uid") and _number(old) >= _version(raw):
            return
        try:
            new = decode(raw)
        except Exception as error:
            self.skip(unusable(raw, MODEL_DEPLOYMENT, error))
            return
        self.skipped.discard(key)
        self._known[key] = new
        if old is None or _causes(old) != _causes(new):
            self._wake(key)

    def skip(self, undecodable: Undecodable, replace: bool = False) -> None:
        """Note a resource that cannot be decoded, in place of `offer`.

        The stored resource is removed because it is out of date. Without its new status, the operator would write a
        status again and again. A restart has the same effect.
        """
        key = undecodable.key
        old = self._known.get(key) if key is not None else None
        newer = old is not None and undecodable.uid == old.metadata.uid and undecodable.version < _number(old)
        if newer and not replace:
            return
        self.skipped.add(undecodable)
        if key is not None and old is not None:
            del self._known[key]
            self._wake(key)

    def remove(self, key: Key) -> None:
        """Remove a deleted resource and its position in the stream."""
        self.skipped.discard(key)
        self._streamed.pop(key, None)
        if self._known.pop(key, None) is not None:
            self._wake(key)

    def relisted(self, listed: Sequence[Object | Undecodable], version: int, position: int = 0) -> bool:
        """Bring the store up to date with a full list.

        Changes that the stream missed are stored, and resources that no longer exist are removed.

        Args:
            listed: The objects of the list.
            version: The resourceVersion of the list. A newer resource stays although the list does not have it.
            position: `self.position` before the request for the list.

        Returns:
            True if resourceVersions went back, because etcd was restored from a snapshot. The list then replaces
            every resource.
        """
        rewound = version < position or any(self._precedes(entry, version) for entry in listed)
        if rewound:
            self.position = version
        keys: set[Key | None] = set()
        for entry in listed:
            if isinstance(entry, Undecodable):
                keys.add(entry.key)
                self.skip(entry, replace=rewound)
            else:
                keys.add(_key(entry))
                self.offer(entry, replace=rewound)
        self.skipped.retain(keys)
        for key, resource in list(self._known.items()):
            if key not in keys and (rewound or _number(resource) <= version):
                self.remove(key)
        return rewound

    def _precedes(self, entry: Object | Undecodable, version: int) -> bool:
        """Tell whether a list of this version has an older version of an object than the store had before it."""
        if isinstance(entry, Undecodable):
            return False
        old = self._known.get(_key(entry))
        return old is not None and _version(entry) < _number(old) <= version

    def behind(self, raws: Sequence[Object]) -> list[Key]:
        """Return the keys of listed objects for which the stream is behind.

        The stream is behind if it has delivered neither the listed version nor a newer one.
        """
        return [
            _key(raw) for raw in raws if _key(raw) in self._known and self._streamed.get(_key(raw), 0) < _version(raw)
        ]


def record_undecodable(events: EventRecorder, undecodable: Undecodable) -> None:
    """Record an Event about a resource that the operator cannot decode."""
    if undecodable.key is None:
        return
    namespace, name = undecodable.key
    about = {"apiVersion": names.API_VERSION, "kind": names.KIND, "namespace": namespace, "name": name}
    message = (
        f"The operator cannot decode this ModelDeployment: {undecodable.problem}. "
        "It leaves the pods and routes unchanged. Remove the value, which is usually in spec.podTemplate."
    )
    events.record({**about, "uid": undecodable.uid}, "Warning", "Undecodable", message, "Read")


def _causes(resource: ModelDeployment) -> tuple[object, ...]:
    """Return what a reconcile depends on. The operator itself writes the rest."""
    metadata = resource.metadata
    return (metadata.uid, resource.spec, metadata.labels, metadata.annotations, metadata.generation)


def _key(raw: Object) -> Key:
    return (raw["metadata"].get("namespace", ""), raw["metadata"]["name"])


def _version(raw: Object) -> int:
    return int(raw["metadata"].get("resourceVersion") or 0)


def _number(resource: ModelDeployment) -> int:
    return int(resource.metadata.resource_version or 0)
