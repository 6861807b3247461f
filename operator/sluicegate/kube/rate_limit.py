"""A rate limit."""


class TokenBucket:
    """Allows `rate` actions a second on average, and `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        """Start with a full bucket."""
        self._rate, self._burst = rate, burst
        self._tokens, self._filled_at = burst, 0.0

    def take(self, now: float) -> bool:
        """Tell whether one more action is allowed, and count it.

        Args:
            now: The time, in monotonic seconds.
        """
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
