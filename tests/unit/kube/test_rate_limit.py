"""The token bucket."""

from hypothesis import given
from hypothesis import strategies as st
from sluicegate.kube.rate_limit import TokenBucket


@given(st.lists(st.floats(0, 3), max_size=300))
def test_never_more_than_the_rate_and_the_burst(pauses: list[float]) -> None:
    bucket, now, let_in = TokenBucket(rate=5, burst=10), 1000.0, 0
    for pause in pauses:
        now += pause
        let_in += bucket.take(now)
    assert let_in <= 10 + 5 * (now - 1000.0) + 1e-6
