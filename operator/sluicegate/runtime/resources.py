"""The ModelDeployments, as the stream delivers them and as our own status writes leave them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sluicegate.api.resource import InvalidResource, ModelDeployment, decode

logger = logging.getLogger(__name__)
Key = tuple[str, str]


class Resources:
    """A store of resources by (namespace, name); wakes whoever subscribed when one that matters changed."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        """`wake` is called with the key of each resource whose spec, annotations or life changed."""
        self._wake = wake
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

    def streamed(self, raw: Mapping[str, Any], deleted: bool) -> None:
        """Takes one event of the stream."""
        key = _key(raw)
        if deleted:
            self.remove(key)
            return
        self._streamed[key] = _version(raw)
        self.offer(raw)

    def offer(self, raw: Mapping[str, Any]) -> None:
        """Takes an object from anywhere (stream, relist, answer to a write), unless a newer one is known."""
        key = _key(raw)
        old = self._known.get(key)
        if (
            old is not None
            and old.metadata.uid == raw["metadata"].get("uid")
            and int(old.metadata.resource_version or 0) >= _version(raw)
        ):
            return
        try:
            new = decode(raw)
        except InvalidResource:
            logger.exception("%s/%s cannot be read: is the CRD older than the operator?", *key)
            return
        self._known[key] = new
        if old is None or (old.metadata.uid, old.spec, old.metadata.annotations, old.metadata.generation) != (
            new.metadata.uid,
            new.spec,
            new.metadata.annotations,
            new.metadata.generation,
        ):
            self._wake(key)

    def remove(self, key: Key) -> None:
        """Forgets a resource that is gone, and what the stream has said of it."""
        self._streamed.pop(key, None)
        if self._known.pop(key, None) is not None:
            self._wake(key)

    def relisted(self, raws: Sequence[Mapping[str, Any]], version: int) -> None:
        """Takes a whole list: what the stream has lost is added, what is gone is removed.

        Args:
            raws: The objects.
            version: resourceVersion of the list: what is newer than it is not missed for being absent.
        """
        for raw in raws:
            self.offer(raw)
        listed = {_key(raw) for raw in raws}
        for key, resource in list(self._known.items()):
            if key not in listed and int(resource.metadata.resource_version or 0) <= version:
                self.remove(key)

    def behind(self, raws: Sequence[Mapping[str, Any]]) -> list[Key]:
        """Keys of a list's objects that the stream has not delivered in that version or a newer one."""
        return [
            _key(raw) for raw in raws if _key(raw) in self._known and self._streamed.get(_key(raw), 0) < _version(raw)
        ]


def _key(raw: Mapping[str, Any]) -> Key:
    return (raw["metadata"].get("namespace", ""), raw["metadata"]["name"])


def _version(raw: Mapping[str, Any]) -> int:
    return int(raw["metadata"].get("resourceVersion") or 0)
