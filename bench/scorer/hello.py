"""A minimal ASGI application: it reads a request and sends a constant response.

Its throughput is the upper bound for every other server.
"""

from collections.abc import Awaitable, Callable
from typing import Any

BODY = b'{"predictions": [200.685]}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Respond to one request."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
