"""The webhook deliveries that were accepted, so that none is accepted twice."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sluicegate.core.models.webhook_delivery import WINDOW, Delivery

MAX_DELIVERIES: Final = 10_000
"""Maximum number of deliveries of one registry in memory."""


class ReplayCache:
    """The accepted deliveries of one registry.

    None of them is accepted twice within the window.
    """

    def __init__(self) -> None:
        """Start without any delivery."""
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, delivery: Delivery, now: float) -> bool:
        """Store an authentic and timely delivery.

        Args:
            delivery: The delivery.
            now: The time, in Unix seconds.

        Returns:
            False if it was accepted before.
        """
        while self._until and (next(iter(self._until.values())) < now or len(self._until) >= MAX_DELIVERIES):
            self._until.popitem(last=False)
        if delivery.id in self._until:
            return False
        self._until[delivery.id] = now + 2 * WINDOW
        return True
