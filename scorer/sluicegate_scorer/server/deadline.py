"""A time limit on waiting."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sluicegate_scorer.server.workers import Overdue

T = TypeVar("T")


async def before(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Awaits something for so long at most.

    Raises:
        Overdue: where that was not long enough.
    """
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise Overdue from None
