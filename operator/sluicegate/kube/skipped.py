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
        self._found: dict[Key | None, Undecodable] = {}

    def __len__(self) -> int:
        """Return the number of objects.

        All objects without a readable name count as one.
        """
        return len(self._found)

    def get(self, key: Key) -> Undecodable | None:
        """Return the undecodable object with this name, or None."""
        return self._found.get(key)

    def add(self, found: Undecodable) -> None:
        """Add an undecodable object, and log and report it if it is new."""
        known = self._found.get(found.key)
        # A copy, because an exception that was raised keeps the frames it passed through, and with them the object's
        # bytes.
        self._found[found.key] = Undecodable(found.kind, found.problem, found.key, found.uid, found.version)
        if known is not None and (known.uid, known.problem) == (found.uid, found.problem):
            return
        logger.warning("%s. The operator skips it.", found)
        self._report(found)

    def discard(self, key: Key) -> None:
        """Remove an object that was deleted, or that can be decoded now."""
        self._found.pop(key, None)

    def retain(self, keys: Collection[Key | None]) -> None:
        """Remove all objects that a whole list does not have."""
        for key in [key for key in self._found if key not in keys]:
            del self._found[key]
