"""The way of a stream's events from the thread of the model to the event loop."""

import asyncio
import threading
from typing import Any, NamedTuple

from sluicegate_scorer.server.asgi import Receive

_AHEAD = 16
"""Events that a model may be ahead of its client, in addition to those in the buffer of the connection."""


class Event(NamedTuple):
    """An event of the model as it is sent, and the time in seconds that the model took for it."""

    data: bytes
    seconds: float


class Cancelled(Exception):
    """No client waits for further events."""


END = object()
"""The mark of the end of a stream."""
GONE = object()
"""The mark of a client that has disconnected."""


class Channel:
    """Passes events from the thread of the model to the event loop.

    Attributes:
        cancelled: set when no client waits any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.cancelled = False
        self._loop = loop
        self._items: asyncio.Queue[Any] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)

    def put(self, item: Any) -> None:
        """Pass an item on, from the thread of the model. Wait while the client is behind.

        Raises:
            Cancelled: if no client waits any more.
        """
        if not self.cancelled:
            self._room.acquire()
        if self.cancelled:
            raise Cancelled
        self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def get(self, seconds: float) -> Any:
        """Return the next item.

        Raises:
            TimeoutError: if there is none within this time.
        """
        async with asyncio.timeout(seconds):
            item = await self._items.get()
        self._room.release()
        return item

    def ready(self) -> Any:
        """Return the next item if it is there already, or None."""
        if self._items.empty():
            return None
        self._room.release()
        return self._items.get_nowait()

    def cancel(self) -> None:
        """Stop the model at its next event."""
        self.cancelled = True
        self._room.release()

    async def watch(self, receive: Receive) -> None:
        """Cancel when the client disconnects."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.cancel()
        self._items.put_nowait(GONE)
