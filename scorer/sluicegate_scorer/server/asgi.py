"""What an ASGI application sends and receives, as far as this server uses it."""

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
"""The response header that names the error's class."""
_CLOSE: Header = (b"connection", b"close")
_JSON_HEADER: Header = (b"content-type", JSON)


class Answer(NamedTuple):
    """A whole response.

    Attributes:
        status: the HTTP status.
        body: the bytes.
        media: the content type.
        error: client, model, server, overload or timeout where the request failed.
        headers: further headers.
    """

    status: int
    body: bytes
    media: bytes = JSON
    error: str | None = None
    headers: tuple[Header, ...] = ()


class Disconnected(Exception):
    """The client went away before its request was whole."""


class TooLarge(Exception):
    """The body is over the limit."""


def json_error(code: str, message: str) -> bytes:
    """An error's body as MLflow's server makes them."""
    return json.dumps({"error_code": code, "message": message}).encode()


def header(scope: Message, name: bytes) -> bytes | None:
    """The first value of a header, or None; names are lower case in ASGI."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


async def read_body(first: Message, receive: Receive, limit: int) -> bytes:
    """The rest of a body of which one message is here; refuses to keep more than the limit in memory.

    Raises:
        TooLarge: where the body is over the limit.
        Disconnected: where the client left.
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
    """The answer of a request that went well, without the generality of `reply`: it is the hot path."""
    headers: list[Header] = [(b"content-length", b"%d" % len(body)), _JSON_HEADER, *passed]
    if closing:
        headers.append(_CLOSE)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def reply(send: Send, answer: Answer, closing: bool) -> None:
    """Sends an answer.

    Args:
        send: the request's channel.
        answer: what to say.
        closing: whether to ask the client to reconnect elsewhere, as a draining server does.
    """
    headers: list[Header] = [(b"content-length", b"%d" % len(answer.body)), (b"content-type", answer.media)]
    if answer.error is not None:
        headers.append((ERROR_HEADER, answer.error.encode()))
    headers.extend(answer.headers)
    if closing:
        headers.append(_CLOSE)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def closing(send: Send) -> Send:
    """A channel that adds `connection: close`: a pooled connection would otherwise carry requests until it is cut."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), _CLOSE]
        await send(message)

    return sending
