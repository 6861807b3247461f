"""The end of the process after SIGTERM or SIGINT.

A thread of its own waits for the signals. A handler of the event loop would not be enough. kopf replaces it, a blocked
event loop does not call it, and the kernel drops a signal for process 1 that arrives before there is a handler.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

GRACE: Final = 25.0
"""Seconds after which the process ends in any case. Kubernetes kills it after 30 seconds."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def hold_signals() -> None:
    """Keep the signals pending until `on_signal` waits for them.

    Threads inherit this, so call it before any thread starts.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def on_signal(stop: Callable[[], object], grace: float = GRACE) -> None:
    """Call `stop` at the first signal, and end the process `grace` seconds later if it still runs.

    The exit code is then 0, because everything that the operator does continues at the next start. A second SIGINT ends
    the process at once.

    Args:
        stop: Called in another thread.
        grace: Seconds.
    """
    hold_signals()
    threading.Thread(target=_wait, args=(stop, grace), name="signals", daemon=True).start()


def _wait(stop: Callable[[], object], grace: float) -> None:
    logger.info("received %s: the operator stops", signal.Signals(signal.sigwait(_SIGNALS)).name)
    with contextlib.suppress(RuntimeError):  # the event loop is closed already
        stop()
    if signal.sigtimedwait((signal.SIGINT,), grace) is None:
        logger.warning("the operator did not stop within %g s: it ends now", grace)
        os._exit(0)
    os._exit(130)
