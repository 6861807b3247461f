"""Trace context: what a request says of the trace it belongs to comes back with the answer, is logged, and is there
for models that call others.
"""

import contextlib
import contextvars
from collections.abc import Iterator

from sluicegate_scorer.server.asgi import Header

PASSED = frozenset({b"traceparent", b"tracestate", b"x-request-id"})
"""Request headers that are passed through (W3C Trace Context, and the id that most gateways set)."""
_LONGEST = 512
"""Bytes of a value that is passed: tracestate's own limit."""

_current: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("trace", default={})  # noqa: B039 (never changed)


def passed(headers: list[Header]) -> tuple[bytes | None, tuple[Header, ...]]:
    """A request's content type, and its headers that go back with the answer."""
    kind = None
    found: tuple[Header, ...] = ()
    for header in headers:
        name = header[0]
        if name == b"content-type":
            if kind is None:
                kind = header[1]
        elif name in PASSED and len(header[1]) <= _LONGEST:
            found = (*found, header)
    return kind, found


def said() -> str:
    """The current request's trace headers, for a line of the log; empty where it has none."""
    return "".join(f" {name}={value!r}" for name, value in _current.get().items())


@contextlib.contextmanager
def current(headers: tuple[Header, ...]) -> Iterator[None]:
    """Makes the request's trace the current one of this thread, for the log, for OpenTelemetry and what it has
    instrumented.
    """
    carrier = {name.decode(): value.decode("latin-1") for name, value in headers}
    known = _current.set(carrier)
    try:
        with _attached(carrier) if "traceparent" in carrier else contextlib.nullcontext():
            yield
    finally:
        _current.reset(known)


@contextlib.contextmanager
def _attached(carrier: dict[str, str]) -> Iterator[None]:
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract(carrier))
    try:
        yield
    finally:
        context.detach(token)
