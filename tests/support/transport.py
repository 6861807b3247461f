"""A transport whose responses come from a function.

Clients read them from a stream, as they read responses from a network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx


class _Stream(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


class StreamingTransport(httpx.MockTransport):
    """A mock transport whose responses can be read in bounds.

    `httpx.MockTransport` returns responses that have already been read.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, stream=_Stream(response.content))
