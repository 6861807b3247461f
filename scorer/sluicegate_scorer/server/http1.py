"""HTTP/1.1 on one connection: uvicorn's protocol, and the limits that it lacks.

- The server does not accept `Upgrade`. uvicorn drops the body of a request that offers an upgrade, or reads the body as
  the next request.
- Heads, trailers and chunk extensions have a limit in bytes. httptools joins a long field piece by piece, which takes
  quadratic time.
- Each wait for the client has a limit in time.
- Requests that a client sends without waiting for responses are parsed a few at a time.

The module depends on internals of uvicorn's class. scorer/tests/test_server_http.py tests the behavior that it relies
on.
"""

import asyncio
import contextlib
import socket
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from sluicegate_scorer.server.asgi import ERROR_HEADER, JSON, json_error

HEAD_BYTES = 64 << 10
"""Limit on a request line with its header fields, and on each run of chunk extensions or trailers."""
HEAD_FIELDS = 100
"""Limit on the number of header fields, which is the limit of Envoy."""
SLICE = 16 << 10
"""Bytes that are parsed at a time.

This limits how much one client may queue, and how far a head that begins in the middle of a segment can exceed
HEAD_BYTES.
"""
LINGER = 2.0
"""Seconds for which the server drops input after an error response.

A connection that is closed with unread input is reset, and the client may lose the response.
"""

_MESSAGES = {
    400: "The request is not valid HTTP/1.1.",
    408: "The request did not arrive within the time limit.",
    431: f"The request header exceeds {HEAD_BYTES} bytes or {HEAD_FIELDS} fields. Send fewer or shorter fields.",
    501: "The server does not support CONNECT. Send the request without a tunnel.",
}


class _Rejected(Exception):
    """Stops the parser. The connection's `_status` holds the reason."""


class _Flow(FlowControl):
    """Flow control that keeps reading paused while requests of the connection wait."""

    def __init__(self, transport: asyncio.Transport, connection: "Connection") -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        if self.read_paused and not self._connection.behind:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """The protocol of one connection.

    Methods that run for each request repeat the code of uvicorn's methods instead of calling them. The calls would cost
    a tenth of the speed.

    Attributes:
        head_seconds: time limit for a request's head, from its first byte.
        body_seconds: time limit for a request's body, from the end of its head.
        stall_seconds: time limit for a client that does not take any byte of its responses.
    """

    # With more than 30 attributes in the instance's dictionary, Python 3.11 no longer optimizes access to them.
    __slots__ = (
        "_idle_timer", "_moved", "_quiet", "_rejected", "_rest", "_stalled", "_status", "_timer", "_trailers", "_whole",
    )  # fmt: skip

    head_seconds = 20.0
    body_seconds = 60.0
    stall_seconds = 60.0

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._rest = memoryview(b"")
        self._stalled = 0
        self._moved = False
        self._timer: asyncio.TimerHandle | None = None
        self._quiet = self.loop.time()
        self._status = 400
        self._rejected = False
        self._trailers = self.headers
        self._whole = True

    @property
    def behind(self) -> bool:
        """Tell whether requests wait for the response to an earlier one."""
        return bool(self.pipeline or self._rest)

    @property
    def _in_head(self) -> bool:
        """Tell whether a request has begun whose head is not complete."""
        return self.headers is not self._trailers

    @property
    def _in_body(self) -> bool:
        """Tell whether the body of the last request with a complete head is incomplete."""
        return not self._whole and not self._in_head

    @property
    def _responding(self) -> bool:
        """Tell whether the application has yet to finish the last request that it began."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the limits on idle time and on clients that do not read."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self)
        connected = transport.get_extra_info("socket")
        if connected is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.stall_seconds * 1000))
        # A pool may open a connection and use it later. Before the first request, the limit between requests applies.
        self._watch_idle(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        super().connection_lost(exc)
        self._idle_timer.cancel()
        self._stop_timer()
        self._rest = memoryview(b"")

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection open until the client has its responses.

        A client that ends its sending side may still read.
        """
        if self._rejected or self._in_body or not self._responding:
            return False
        self.cycle.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Parse the bytes that arrived."""
        if self._rejected:
            return
        if self.pipeline or self._rest or self._stalled or len(data) > SLICE:
            self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
            self._parse_rest()
        else:
            self._parse(data)
        if self.headers is not self._trailers or not self._whole:
            self._wait()

    def _parse_rest(self) -> None:
        """Parse in slices, until a request has to wait for an earlier one."""
        while self._rest and not self.pipeline:
            size = min(SLICE, HEAD_BYTES - self._stalled)
            piece, self._rest = self._rest[:size], self._rest[size:]
            self._parse(piece)
        if self._rest:
            self.flow.pause_reading()

    def _parse(self, data: bytes | memoryview) -> None:
        self._moved = False
        size = len(data)
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = b"".join((self._without_upgrade(), data[upgrade.args[0] :]))
                self.parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserError:
                self._reject(self._status)
                return
            break
        self._stalled = 0 if self._moved else self._stalled + size
        if self._stalled >= HEAD_BYTES:
            self._reject(431)

    def _without_upgrade(self) -> bytes:
        """Return the head that was parsed last, without its `Upgrade` field."""
        parser = self.parser
        lines = [b"%s %s HTTP/%s" % (parser.get_method(), self.url, parser.get_http_version().encode())]
        lines += [b"%s: %s" % field for field in self.headers if field[0] != b"upgrade"]
        return b"\r\n".join((*lines, b"", b""))

    def on_headers_complete(self) -> None:
        """Start the request, unless it will be parsed again without its `Upgrade`."""
        if self.parser.should_upgrade():
            if self.parser.get_method() != b"CONNECT":
                return
            self._status = 501
            raise _Rejected
        if len(self.headers) > HEAD_FIELDS:
            self._status = 431
            raise _Rejected
        HttpToolsProtocol.on_headers_complete(self)
        self.headers = self._trailers = []  # uvicorn would append trailers to the application's headers
        self._whole = False
        self._moved = True
        if self._timer is not None:
            self._stop_timer()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body to the application."""
        self._moved = True
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Tell the application that the request is complete."""
        if self.headers is not self._trailers:  # the head will be parsed again
            return
        self._whole = True
        self._moved = True
        if self._timer is not None:
            self._stop_timer()
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Continue with the bytes that the client has sent in the meantime."""
        self._quiet = self.loop.time()
        if self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._rest:
            self._parse_rest()
            if self._in_head or self._in_body:
                self._wait()
        self.flow.resume_reading()

    def _check_idle(self) -> None:
        """End an idle connection, even if its client has not read its last response."""
        busy = self._in_head or self._in_body or self._responding
        remaining = self.timeout_keep_alive - (0 if busy else self.loop.time() - self._quiet)
        if remaining > 0:
            self._watch_idle(remaining)
        else:
            self.transport.abort()

    def _watch_idle(self, seconds: float) -> None:
        """Set the timer for idle connections.

        It is one timer that is set again when it is due. uvicorn sets one for each request, which costs more.
        """
        self._idle_timer = self.loop.call_later(seconds, self._check_idle)

    def _wait(self) -> None:
        """Limit the time for the rest of a request."""
        if self._timer is None and not self._rejected and not self.transport.is_closing():
            seconds = self.head_seconds if self._in_head else self.body_seconds
            self._timer = self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._timer = None
        if self.behind or (self._in_head and self._responding):
            self._wait()  # the server does not read, or has to send a response first
        else:
            self._reject(408)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _reject(self, status: int) -> None:
        """Respond with an error and close the connection. Drop all further input."""
        self._rejected = True
        self._rest = memoryview(b"")
        self._stop_timer()
        if self.transport.is_closing():  # the transport waits for a client that does not read
            self.transport.abort()
            return
        self.logger.warning("refused a request with %d: %s", status, _MESSAGES[status])
        cycle = self.cycle
        if self._responding:
            if not self._in_body:
                # earlier requests are served first, and the end of their responses closes the connection
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
        if self._in_body and (self.pipeline or cycle.response_started):
            self.transport.abort()
            return
        self.transport.write(self._error(status))
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER, self.transport.abort)

    def _error(self, status: int) -> bytes:
        body = json_error("BAD_REQUEST", _MESSAGES[status])
        fields = [
            *self.server_state.default_headers,
            (b"content-length", b"%d" % len(body)),
            (b"content-type", JSON),
            (ERROR_HEADER, b"client"),
            (b"connection", b"close"),
        ]
        return b"%s%s\r\n\r\n%s" % (STATUS_LINE[status], b"\r\n".join(b"%s: %s" % field for field in fields), body)


def connection(body_seconds: float) -> type[Connection]:
    """Return the class for uvicorn, with the given time limit for bodies."""
    return type("Connection", (Connection,), {"__slots__": (), "body_seconds": body_seconds})
