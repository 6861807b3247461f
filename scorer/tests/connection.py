"""A connection to the scoring server's protocol, without a socket."""

import asyncio
import random
import re

import uvicorn
from sluicegate_scorer.server.http1 import Connection
from uvicorn.server import ServerState


class Transport(asyncio.Transport):
    """A transport that keeps what is written.

    The event loop's own transports decide how bytes are segmented. Here the tests do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = self.paused = False

    def write(self, data):
        if not self.closed:
            self.written += data

    def close(self):
        self.closed = True

    abort = close

    def write_eof(self):
        pass

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False


class Recorder:
    """An ASGI application that records each request and responds with its number."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, list, bytes | None]] = []

    async def __call__(self, scope, receive, send):
        body: bytes | None = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                body = None
                break
            body += message["body"]
            if not message["more_body"]:
                break
        offers = (b"connection", b"upgrade", b"http2-settings")
        headers = [field for field in scope["headers"] if field[0] not in offers and not field[0].startswith(b"sec-")]
        self.requests.append((scope["method"], scope["path"], headers, body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"%02d" % (len(self.requests) % 100)})


async def settle(connection):
    """Run the application's tasks until they wait for the client."""
    for _ in range(1000):
        waiting = {task for task in connection.tasks if not task.done()}
        await asyncio.sleep(0)
        if not connection.behind and waiting == {task for task in connection.tasks if not task.done()}:
            for _ in range(5):
                await asyncio.sleep(0)
            return


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def connect(app, idle=3900, **limits):
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, timeout_keep_alive=idle)
    kind = type("Limited", (Connection,), limits)
    connection = kind(config, ServerState(), {})
    connection.connection_made(transport := Transport())
    return connection, transport


async def converse(*segments):
    """Return what the application received, and what the client received."""
    app = Recorder()
    connection, transport = connect(app)
    generator = random.Random(len(segments))
    for segment in segments:
        if transport.closed:
            break
        connection.data_received(bytes(segment))
        if generator.random() < 0.5 or connection.behind:
            await settle(connection)
    await settle(connection)
    connection.connection_lost(None)
    await settle(connection)
    return app.requests, bytes(transport.written)


def statuses(written):
    return [int(code) for code in re.findall(rb"HTTP/1.1 (\d{3}) ", written)]
