"""Keep one unit of work from ending the work of others.

A loop that serves many resources or registries runs the work of each one by these helpers. An exception that nobody expected is logged
once with its traceback, and the work starts again after a delay. What a registry or a server can raise is turned into a typed error in
`adapters/`; this is the second line of defence.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

from sluicegate.adapters.unexpected import cancelled_from_outside, log_unexpected
from sluicegate.core.models.resolution import ResolutionError, internal_error

FIRST_DELAY: Final = 1.0
"""Seconds before the first restart; doubled with each one."""
LONGEST_DELAY: Final = 60.0
STEADY: Final = 120.0
"""Seconds of work after which the next failure counts as the first one."""

logger = logging.getLogger(__name__)
T = TypeVar("T")


@contextlib.contextmanager
def contained(what: str, failed: Callable[[BaseException], None] | None = None) -> Iterator[None]:
    """Log an unexpected exception of the block, and go on behind it.

    Args:
        what: What the block does, for the log, such as `following registry "default"`. It must hold no credential.
        failed: Called with the exception.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if cancelled_from_outside():
            raise
        caught: BaseException = error
    except Exception as error:
        caught = error
    else:
        return
    log_unexpected(logger, what, caught)
    if failed is not None:
        failed(caught)


async def resolved(what: str, call: Awaitable[T]) -> T:
    """Await a call of a registry.

    Args:
        what: What the call does, as the subject of a sentence, such as `Asking registry "default"`.
        call: The call.

    Raises:
        ResolutionError: The call failed. An exception that nobody expected becomes an InternalError.
    """
    try:
        return await call
    except ResolutionError:
        raise
    except asyncio.CancelledError as error:
        if cancelled_from_outside():
            raise
        caught: BaseException = error
    except Exception as error:
        caught = error
    log_unexpected(logger, what, caught)
    raise ResolutionError(internal_error(what, caught))


async def keep(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it returns, and start it again after an unexpected exception.

    Args:
        what: What it does, for the log. It must hold no credential.
        work: Makes the coroutine; called once for each start.
    """
    loop = asyncio.get_running_loop()
    delay = FIRST_DELAY
    while True:
        started = loop.time()
        with contained(what):
            await work()
            return
        if loop.time() - started > STEADY:
            delay = FIRST_DELAY
        await asyncio.sleep(delay * random.uniform(0.8, 1.2))
        delay = min(2 * delay, LONGEST_DELAY)


async def forever(what: str, interval: float, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` once each `interval` seconds until cancelled, whatever it raises."""
    while True:
        with contained(what):
            await work()
        await asyncio.sleep(interval)


async def first_failure(*work: Coroutine[Any, Any, None]) -> Exception | None:
    """Run all of `work` at once until it is done or one raises, which ends the others.

    A TaskGroup would raise the exception. If the task is told to stop in the same turn, a TaskGroup forgets that order.

    Returns:
        The first exception, None where there was none.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    errors = [task.exception() for task in done if not task.cancelled()]
    return next((error for error in errors if isinstance(error, Exception)), None)
