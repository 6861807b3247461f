"""How Python itself is set for serving: when it looks for garbage, and how soon a thread gives way to another."""

import contextlib
import gc
import sys
from collections.abc import Iterator

_SWITCH = 0.0005
"""Seconds after which a thread that computes in Python has to let another one go on. The event loop waits that long
for each thread of a slow model, several times a request: with Python's own 5 ms and six threads that is 100 ms for
/health. Throughput is the same."""
_LOADING = (20_000, 10, 10)


def give_way() -> None:
    """Lets the event loop have its turn soon, however many threads compute."""
    sys.setswitchinterval(_SWITCH)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Imports without a look for garbage: there is none to speak of, and looking takes a fifth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Loads a model with fewer looks, and sets apart for ever what is there afterwards.

    MLflow and its libraries are half a million objects; to look through them all, which Python would do now and then,
    stops the event loop for a tenth of a second.
    """
    usual = gc.get_threshold()
    gc.set_threshold(*_LOADING)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.collect(1)
        gc.freeze()
