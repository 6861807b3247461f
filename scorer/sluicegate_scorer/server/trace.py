"""Trace context: what a request says of the trace it belongs to comes back with the answer, is logged, and is there
for models that call others.
"""

import contextlib
from collections.abc import Iterator

from sluicegate_scorer.server.asgi import Header

PASSED = frozenset({b"traceparent", b"tracestate", b"x-request-id"})
"""Request headers that are passed through (W3C Trace Context, and the id that most gateways set)."""
_LONGEST = 512
"""Bytes of a value that is passed: tracestate's own limit."""


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


@contextlib.contextmanager
def current(headers: tuple[Header, ...]) -> Iterator[None]:
    """Makes the request's trace the current one of this thread, for OpenTelemetry and what it has instrumented."""
    carrier = {name.decode(): value.decode("latin-1") for name, value in headers}
    if "traceparent" not in carrier:
        yield
        return
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = context.attach(TraceContextTextMapPropagator().extract(carrier))
    try:
        yield
    finally:
        context.detach(token)
