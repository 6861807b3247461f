"""The objects that the operator skips because they cannot be decoded."""

import logging
from collections.abc import Callable, Collection

from sluicegate.kube.errors import Undecodable
from sluicegate.kube.wire import Key

logger = logging.getLogger(__name__)


class Skipped:
    """The undecodable objects of one kind, so that each is reported once.

    An object is removed when it is deleted or can be decoded, so there are never more entries than objects.
    """

    def __init__(self, report: Callable[[Undecodable], None] = lambda _: None) -> None:
        """Start without any object.

        Args:
            report: Called once with each undecodable object, and again when its problem changes.
        """
        self._report = report
        self._undecodable: dict[Key | None, Undecodable] = {}

    def __len__(self) -> int:
        """Return the number of objects.

        All objects without a readable name count as one.
        """
        return len(self._undecodable)

    def get(self, key: Key) -> Undecodable | None:
        """Return the undecodable object with this name, or None."""
        return self._undecodable.get(key)

    def add(self, undecodable: Undecodable) -> None:
        """Add an undecodable object, and log and report it if it is new."""
        stored = self._undecodable.get(undecodable.key)
        # A copy, because an exception that was raised keeps the frames it passed through, and with them the object's
        # bytes.
        self._undecodable[undecodable.key] = Undecodable(
            undecodable.kind, undecodable.problem, undecodable.key, undecodable.uid, undecodable.version
        )
        if stored is not None and (stored.uid, stored.problem) == (undecodable.uid, undecodable.problem):
            return
        logger.warning("%s. The operator skips it.", undecodable)
        self._report(undecodable)

    def discard(self, key: Key) -> None:
        """Remove an object that was deleted, or that can be decoded now."""
        self._undecodable.pop(key, None)

    def retain(self, keys: Collection[Key | None]) -> None:
        """Remove all objects that a whole list does not have."""
        for key in [key for key in self._undecodable if key not in keys]:
            del self._undecodable[key]
