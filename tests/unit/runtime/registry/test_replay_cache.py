"""A webhook delivery is accepted once."""

from sluicegate.core.models.webhook_delivery import WINDOW
from sluicegate.runtime.registry.replay_cache import MAX_DELIVERIES, ReplayCache

from tests.unit.core.models.test_webhook_delivery import NOW, signed


def test_accepts_a_delivery_once() -> None:
    cache = ReplayCache()
    assert cache.add(signed(b""), NOW)
    assert not cache.add(signed(b""), NOW + WINDOW)
    assert cache.add(signed(b"", id="d2"), NOW)


def test_memory_is_bounded() -> None:
    cache = ReplayCache()
    assert all(cache.add(signed(b"", id=str(number)), NOW) for number in range(MAX_DELIVERIES + 10))
    assert not cache.add(signed(b"", id=str(MAX_DELIVERIES)), NOW)
    assert len(cache._until) <= MAX_DELIVERIES
