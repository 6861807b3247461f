"""Settings of the Python interpreter: garbage collection and thread switching."""

import contextlib
import gc
import sys
from collections.abc import Iterator

_SWITCH = 0.0005
"""Seconds after which a thread that runs Python code has to let another one run.

The event loop waits this long for each thread of a slow model, several times a request. With Python's own 5 ms and six
threads that adds 100 ms to /health. The throughput is the same.
"""
_LOADING = (200_000, 10, 10)
"""Almost everything that a model and its libraries allocate stays, so that each collection only takes time."""


def give_way() -> None:
    """Let the event loop run soon, however many threads compute."""
    sys.setswitchinterval(_SWITCH)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import without garbage collection.

    Imports leave almost no garbage, and collecting it takes a fifth of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Load a model with fewer collections, then exclude its objects from later ones.

    MLflow and its libraries hold half a million objects. A full collection, which Python would run now and then, stops
    the event loop for a tenth of a second.
    """
    usual = gc.get_threshold()
    gc.set_threshold(*_LOADING)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.collect(1)
        gc.freeze()
