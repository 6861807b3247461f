"""The time that decisions go by: the API server's, carried on by a monotonic clock.

Holds and deadlines are counted between a time in status, which perhaps another process wrote, and now. So all leaders read one clock,
the API server's, once, at their start; from then on seconds are counted by a clock that nobody can set. A step of this machine's
clock moves nothing, and a leader on a machine whose clock is wrong is not early.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

logger = logging.getLogger(__name__)

NOTABLE = 5.0
"""Seconds between the two clocks that are worth a line in the log."""


class SteadyClock:
    """Wall-clock time that only ever goes forward, one second a second."""

    def __init__(
        self, monotonic: Callable[[], float], wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Starts at this machine's time, until `set` knows better."""
        self._monotonic = monotonic
        self._wall = wall
        self._base, self._at = wall(), monotonic()

    def now(self) -> datetime:
        """The time."""
        return self._base + timedelta(seconds=self._monotonic() - self._at)

    def set(self, date: str | None, heard: float) -> None:
        """Takes over the API server's time.

        Args:
            date: The header Date of an answer; without one, or with one that is none, this machine's time stays.
            heard: Monotonic time at which the answer came.
        """
        try:
            server = parsedate_to_datetime(date or "")
        except ValueError:
            logger.warning("the API server does not tell its time (%r): going by this machine's clock", date)
            return
        if server.tzinfo is None:
            server = server.replace(tzinfo=UTC)
        apart = (self._wall() - server).total_seconds() - (self._monotonic() - heard)
        if abs(apart) > NOTABLE:
            logger.warning("this machine's clock is %.0f s off the API server's, which is what rollouts go by", apart)
        self._base, self._at = server.astimezone(UTC), heard
