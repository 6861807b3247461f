"""The part of ASGI's messages that this server uses."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
ERROR_HEADER = b"x-sluicegate-error"
"""The response header that names the class of the error."""
_CLOSE: Header = (b"connection", b"close")
_JSON_HEADER: Header = (b"content-type", JSON)


class Response(NamedTuple):
    """A complete response.

    Attributes:
        status: the HTTP status.
        body: the bytes of the body.
        media: the content type.
        error: client, model, server, overload or timeout if the request failed.
        headers: further headers.
    """

    status: int
    body: bytes
    media: bytes = JSON
    error: str | None = None
    headers: tuple[Header, ...] = ()


class Disconnected(Exception):
    """The client disconnected before its request was complete."""


class TooLarge(Exception):
    """The body is over the limit."""


def json_error(code: str, message: str) -> bytes:
    """Return the body of an error in the format of MLflow's server."""
    return json.dumps({"error_code": code, "message": message}).encode()


def header(scope: Message, name: bytes) -> bytes | None:
    """Return the first value of a header, or None.

    The name must be in lower case, as in ASGI.
    """
    for key, value in scope["headers"]:
        if key == name:
            first: bytes = value
            return first
    return None


async def read_body(first: Message, receive: Receive, limit: int) -> bytes:
    """Read the rest of a body whose first message has arrived.

    It keeps no more than `limit` bytes and one message in memory.

    Raises:
        TooLarge: if the body is over the limit.
        Disconnected: if the client disconnected.
    """
    message = first
    parts = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise Disconnected
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise TooLarge
        if not message.get("more_body", False):
            return bytes(parts)
        message = await receive()


async def reply_json(send: Send, body: bytes, passed: tuple[Header, ...], closing: bool) -> None:
    """Send the response to a request that succeeded.

    It is shorter than `reply`, because most requests of the fast path take it.
    """
    headers: list[Header] = [(b"content-length", b"%d" % len(body)), _JSON_HEADER, *passed]
    if closing:
        headers.append(_CLOSE)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def reply(send: Send, response: Response, closing: bool) -> None:
    """Send a response.

    Args:
        send: the ASGI channel of the request.
        response: the response.
        closing: whether to ask the client to reconnect elsewhere, as a draining server does.
    """
    headers: list[Header] = [(b"content-length", b"%d" % len(response.body)), (b"content-type", response.media)]
    if response.error is not None:
        headers.append((ERROR_HEADER, response.error.encode()))
    headers.extend(response.headers)
    if closing:
        headers.append(_CLOSE)
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def closing(send: Send) -> Send:
    """Return a channel that adds `connection: close` to responses.

    Otherwise a pooled connection would carry requests until it is cut off.
    """

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), _CLOSE]
        await send(message)

    return sending
