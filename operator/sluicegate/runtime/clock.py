"""The API server's time, advanced by a monotonic clock, for all decisions.

A hold or a deadline runs from a time in status, which another process may have written, until now. So every leader
reads the same clock once at its start: the API server's. From then on it counts seconds with a monotonic clock, which
cannot be set. A jump of the machine's clock has no effect, and a leader on a machine with a wrong clock does not act
too early.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

logger = logging.getLogger(__name__)

NOTABLE = 5.0
"""Seconds of difference between the two clocks from which the operator logs a warning."""


class SteadyClock:
    """Wall-clock time that only goes forward, at a constant rate."""

    def __init__(
        self, monotonic: Callable[[], float], wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Start with the machine's time, until `set` replaces it.

        Args:
            monotonic: Returns monotonic seconds.
            wall: Returns the machine's time.
        """
        self._monotonic = monotonic
        self._wall = wall
        self._base, self._at = wall(), monotonic()

    def now(self) -> datetime:
        """Return the current time, with time zone."""
        return self._base + timedelta(seconds=self._monotonic() - self._at)

    def set(self, date: str | None, heard: float) -> None:
        """Set the clock to the API server's time.

        Args:
            date: The Date header of a response. Without a valid date, the machine's time stays in use.
            heard: Monotonic time at which the response arrived.
        """
        try:
            server = parsedate_to_datetime(date or "")
        except ValueError:
            logger.warning("the API server's response has no valid Date header (%r): using this machine's clock", date)
            return
        if server.tzinfo is None:
            server = server.replace(tzinfo=UTC)
        apart = (self._wall() - server).total_seconds() - (self._monotonic() - heard)
        if abs(apart) > NOTABLE:
            logger.warning(
                "this machine's clock differs from the API server's by %.0f s: rollouts use the API server's", apart
            )
        self._base, self._at = server.astimezone(UTC), heard
