"""The ModelDeployments, as the stream delivers them and as our own status writes leave them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sluicegate.api import names
from sluicegate.api.resource import ModelDeployment, decode
from sluicegate.kube.errors import Undecodable
from sluicegate.kube.events import EventRecorder
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.kube.skipped import Skipped
from sluicegate.kube.wire import Object, unusable

Key = tuple[str, str]


class Resources:
    """A store of resources by (namespace, name); wakes whoever subscribed when one that matters changed."""

    def __init__(
        self, wake: Callable[[Key], None], report: Callable[[Undecodable], None] = lambda undecodable: None
    ) -> None:
        """Start empty.

        Args:
            wake: Called with the key of each resource whose spec, annotations or life changed.
            report: Called once with each resource that cannot be decoded.
        """
        self._wake = wake
        self.skipped = Skipped(report)
        """Resources that cannot be decoded. The operator does nothing to them, and what serves goes on."""
        self._known: dict[Key, ModelDeployment] = {}
        self._streamed: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> ModelDeployment | None:
        """The resource, or None when it is gone."""
        return self._known.get(key)

    def items(self) -> Iterator[ModelDeployment]:
        """All resources, as of the call."""
        return iter(list(self._known.values()))

    def streamed(self, raw: Object, deleted: bool) -> None:
        """Takes one event of the stream."""
        key = _key(raw)
        if deleted:
            self.remove(key)
            return
        self._streamed[key] = _version(raw)
        self.offer(raw)

    def offer(self, raw: Object) -> None:
        """Takes an object from anywhere (stream, relist, answer to a write), unless a newer one is known."""
        key = _key(raw)
        old = self._known.get(key)
        if old is not None and old.metadata.uid == raw["metadata"].get("uid") and _number(old) >= _version(raw):
            return
        try:
            new = decode(raw)
        except Exception as error:
            self.skip(unusable(raw, MODEL_DEPLOYMENT, error))
            return
        self.skipped.discard(key)
        self._known[key] = new
        if old is None or (old.metadata.uid, old.spec, old.metadata.annotations, old.metadata.generation) != (
            new.metadata.uid,
            new.spec,
            new.metadata.annotations,
            new.metadata.generation,
        ):
            self._wake(key)

    def skip(self, undecodable: Undecodable) -> None:
        """Take a resource that cannot be decoded, in the place of `offer`.

        What was known of it goes: it is out of date, and without its new status the operator would write a status again and again.
        A restart has the same effect.
        """
        key = undecodable.key
        old = self._known.get(key) if key is not None else None
        if old is not None and undecodable.uid == old.metadata.uid and undecodable.version < _number(old):
            return
        self.skipped.add(undecodable)
        if key is not None and old is not None:
            del self._known[key]
            self._wake(key)

    def remove(self, key: Key) -> None:
        """Forgets a resource that is gone, and what the stream has said of it."""
        self.skipped.discard(key)
        self._streamed.pop(key, None)
        if self._known.pop(key, None) is not None:
            self._wake(key)

    def relisted(self, listed: Sequence[Object | Undecodable], version: int) -> None:
        """Takes a whole list: what the stream has lost is added, what is gone is removed.

        Args:
            listed: The objects.
            version: resourceVersion of the list: what is newer than it is not missed for being absent.
        """
        keys: set[Key | None] = set()
        for each in listed:
            if isinstance(each, Undecodable):
                keys.add(each.key)
                self.skip(each)
            else:
                keys.add(_key(each))
                self.offer(each)
        self.skipped.retain(keys)
        for key, resource in list(self._known.items()):
            if key not in keys and _number(resource) <= version:
                self.remove(key)

    def behind(self, raws: Sequence[Object]) -> list[Key]:
        """Keys of a list's objects that the stream has not delivered in that version or a newer one."""
        return [
            _key(raw) for raw in raws if _key(raw) in self._known and self._streamed.get(_key(raw), 0) < _version(raw)
        ]


def record_undecodable(events: EventRecorder, undecodable: Undecodable) -> None:
    """Tell the user, by an Event, of a resource that the operator cannot decode."""
    if undecodable.key is None:
        return
    namespace, name = undecodable.key
    about = {"apiVersion": names.API_VERSION, "kind": names.KIND, "namespace": namespace, "name": name}
    message = (
        f"The operator cannot read this ModelDeployment: {undecodable.problem}. It leaves all pods and routes as they are. "
        "Remove the value from the object; free-form values are in spec.podTemplate."
    )
    events.record({**about, "uid": undecodable.uid}, "Warning", "Undecodable", message, "Read")


def _key(raw: Object) -> Key:
    return (raw["metadata"].get("namespace", ""), raw["metadata"]["name"])


def _version(raw: Object) -> int:
    return int(raw["metadata"].get("resourceVersion") or 0)


def _number(resource: ModelDeployment) -> int:
    return int(resource.metadata.resource_version or 0)
