"""Keep one unit of work from ending the work of others.

A loop that serves many resources or registries runs the work of each one with these helpers. They log an unexpected
exception once with its traceback, and start the work again after a delay. The adapters turn the errors that a registry
or a server can cause into typed errors. These helpers handle the exceptions that remain.
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
"""Seconds before the first restart. The delay doubles with each restart."""
LONGEST_DELAY: Final = 60.0
STEADY: Final = 120.0
"""Seconds of work without a failure that reset the delay."""

logger = logging.getLogger(__name__)
T = TypeVar("T")


@contextlib.contextmanager
def contained(what: str, failed: Callable[[BaseException], None] | None = None) -> Iterator[None]:
    """Log an unexpected exception of the block, and continue after the block.

    Args:
        what: What the block does, for the log, such as `following registry "default"`. It must contain no credential.
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
    """Await a call of a registry, and turn unexpected exceptions into typed errors.

    Args:
        what: What the call does, as the subject of a sentence, such as `Asking registry "default"`.
        call: The call.

    Raises:
        ResolutionError: The call failed. An unexpected exception gets the reason InternalError.
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
        what: What the work does, for the log. It must contain no credential.
        work: Creates the coroutine. Called once for each start.
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
    """Run `work` every `interval` seconds until cancelled, even after exceptions."""
    while True:
        with contained(what):
            await work()
        await asyncio.sleep(interval)


async def first_failure(*work: Coroutine[Any, Any, None]) -> Exception | None:
    """Run coroutines concurrently until all are done or one raises.

    The first exception cancels the other coroutines. A TaskGroup would raise the exception. A TaskGroup also loses a
    cancellation that arrives in the same turn of the event loop.

    Returns:
        The first exception, or None.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    errors = [task.exception() for task in done if not task.cancelled()]
    return next((error for error in errors if isinstance(error, Exception)), None)
