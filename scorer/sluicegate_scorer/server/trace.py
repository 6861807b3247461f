"""Trace context of requests.

The response repeats the trace headers of its request, and the log contains them. Models that call other services can
read the context.
"""

import contextlib
import contextvars
from collections.abc import Iterator

from sluicegate_scorer.server.asgi import Header

REPEATED = frozenset({b"traceparent", b"tracestate", b"x-request-id"})
"""Request headers that the response repeats: W3C Trace Context, and the ID that most gateways set."""
_READ = REPEATED | {b"content-encoding"}
_LONGEST = 512
"""Bytes of a value that is passed, which is the limit of tracestate itself."""

_current: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("trace", default={})  # noqa: B039 (never changed)


def read_headers(headers: list[Header]) -> tuple[bytes | None, tuple[Header, ...], bytes | None]:
    """Return a request's content type, the headers that the response repeats, and its content encoding."""
    kind = coding = None
    repeated: tuple[Header, ...] = ()
    for header in headers:
        name = header[0]
        if name == b"content-type":
            if kind is None:
                kind = header[1]
        elif name in _READ:
            if name == b"content-encoding":
                coding = header[1] if coding is None else b", ".join((coding, header[1]))
            elif len(header[1]) <= _LONGEST:
                repeated = (*repeated, header)
    return kind, repeated, coding


def log_suffix() -> str:
    """Return the current request's trace headers for a log line, or an empty text."""
    return "".join(f" {name}={value!r}" for name, value in _current.get().items())


@contextlib.contextmanager
def current(headers: tuple[Header, ...]) -> Iterator[None]:
    """Make the request's trace the current one of this thread.

    The log reads it, and so do OpenTelemetry and the libraries that it instruments.
    """
    carrier = {name.decode(): value.decode("latin-1") for name, value in headers}
    token = _current.set(carrier)
    try:
        with _attached(carrier) if "traceparent" in carrier else contextlib.nullcontext():
            yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def _attached(carrier: dict[str, str]) -> Iterator[None]:
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract(carrier))
    try:
        yield
    finally:
        context.detach(token)
