"""Logging of unexpected exceptions, once and without their messages.

The message of an exception may quote a credential. For example, h11 quotes the value of a header that it refuses. So
the log has only the types and the frames. A failure that repeats with every poll is logged once.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import OrderedDict
from typing import Final

MAX_FRAMES: Final = 30
MAX_EXCEPTIONS: Final = 8
"""Maximum number of exceptions of one chain or group that are logged."""
MAX_REMEMBERED: Final = 512

_logged: OrderedDict[tuple[str, str], None] = OrderedDict()


def describe(error: BaseException) -> str:
    """Return the types and frames of an exception, without any message.

    Its causes and the members of its group are included.
    """
    parts: list[str] = []
    pending: list[BaseException] = [error]
    seen: set[int] = set()
    while pending and len(parts) < MAX_EXCEPTIONS:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        frames = "".join(traceback.format_tb(current.__traceback__, limit=-MAX_FRAMES))
        parts.append(f"{type(current).__module__}.{type(current).__qualname__}\n{frames}".rstrip())
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions
        pending += [related for related in (current.__cause__, current.__context__) if related is not None]
    return "\n".join(parts)


def log_unexpected(logger: logging.Logger, what: str, error: BaseException) -> None:
    """Log `error` with its traceback, unless the same failure has been logged before.

    Args:
        logger: The caller's logger.
        what: What failed, such as `registry "default"`. It must not contain a credential.
        error: The exception.
    """
    description = describe(error)
    key = (what, description)
    if key in _logged:
        _logged.move_to_end(key)
        logger.debug("%s: unexpected %s again", what, type(error).__name__)
        return
    _logged[key] = None
    while len(_logged) > MAX_REMEMBERED:
        _logged.popitem(last=False)
    logger.error(
        "%s: unexpected %s. Report this as a bug, with the traceback:\n%s", what, type(error).__name__, description
    )


def cancelled_from_outside() -> bool:
    """Tell whether the current task was requested to stop.

    Without such a request, a `CancelledError` comes from a library or from another task. It is then a failure of the
    call and not a request to stop.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
