"""Any exception that code may raise, for tests of what one failure may not stop."""

from __future__ import annotations

import asyncio
from typing import cast

import idna
from hypothesis import settings
from hypothesis import strategies as st


class Custom(Exception):
    """An exception that no code handles specifically."""

    def __str__(self) -> str:
        raise RuntimeError("even its text fails")


BUILTINS = [
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    OverflowError,
    RecursionError,
    MemoryError,
    RuntimeError,
    NotImplementedError,
    StopAsyncIteration,
    EOFError,
    OSError,
    TimeoutError,
    ConnectionResetError,
    asyncio.CancelledError,
    asyncio.IncompleteReadError,
    idna.IDNAError,
    Custom,
]


def made(kind: type[BaseException]) -> BaseException:
    return kind(b"", 1) if kind is asyncio.IncompleteReadError else kind("secret-1234")


SINGLE = st.sampled_from(BUILTINS).map(made)
RAISED = SINGLE | st.lists(
    st.sampled_from([builtin for builtin in BUILTINS if issubclass(builtin, Exception)]).map(made),
    min_size=1,
    max_size=3,
).map(lambda errors: ExceptionGroup("several", cast(list[Exception], errors)))
EXAMPLES = settings(max_examples=15, deadline=None)
