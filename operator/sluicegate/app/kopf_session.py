"""The HTTP session of kopf, which removes undecodable ModelDeployments.

kopf decodes a list as a whole and a watch line by line. It stops permanently at an object that it cannot decode. So the
session removes undecodable objects from a response before kopf reads it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import kopf
import msgspec

from sluicegate.kube.errors import Undecodable, Unreachable
from sluicegate.kube.kinds import MODEL_DEPLOYMENT
from sluicegate.kube.wire import WatchEvent, decode_page, lines, read_event, read_object
from sluicegate.runtime.resources import Resources


def filtered(info: kopf.ConnectionInfo, resources: Resources) -> kopf.AiohttpSession:
    """Open a session for kopf.

    Args:
        info: The API server's address and the credentials.
        resources: The store to which the session reports undecodable objects.
    """

    async def passed_on(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        if response.status == 200 and request.url.path.endswith(f"/{MODEL_DEPLOYMENT.plural}"):
            whole = _Watch if "watch" in request.url.query else _List
            response.content = cast(aiohttp.StreamReader, whole(response.content, resources))
        return response

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        middlewares=(passed_on,),
    )
    return kopf.AiohttpSession(
        server=info.server,
        aiohttp_session=session,
        priority=info.priority,
        default_namespace=info.default_namespace,
        expiration=info.expiration,
    )


class _Content:
    """The methods of `aiohttp.StreamReader` that kopf and the response use.

    Any other method fails, because it would bypass the filter.
    """

    def __init__(self, content: aiohttp.StreamReader, resources: Resources) -> None:
        self._content = content
        self._resources = resources

    async def _chunks(self) -> AsyncIterator[bytes]:
        raise NotImplementedError
        yield b""  # makes this an asynchronous generator, as in the subclasses

    def exception(self) -> type[BaseException] | BaseException | None:
        """Return the error that ended the connection, if any."""
        return self._content.exception()

    def set_exception(self, *error: Any) -> None:
        """Make further reads fail with an error, because the response is being closed."""
        self._content.set_exception(*error)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield the body in chunks, which may be longer than `size`."""
        del size
        async for chunk in self._chunks():
            yield chunk

    async def read(self) -> bytes:
        """Return the whole body."""
        return b"".join([chunk async for chunk in self._chunks()])


class _List(_Content):
    """A page of a list without its undecodable objects."""

    async def _chunks(self) -> AsyncIterator[bytes]:
        body = await self._content.read()
        try:
            page = decode_page(body, MODEL_DEPLOYMENT)
        except Unreachable as error:
            raise aiohttp.ClientPayloadError(str(error)) from error
        good = []
        for raw in page.raws:
            decoded = read_object(raw, MODEL_DEPLOYMENT)
            if isinstance(decoded, Undecodable):
                self._resources.skip(decoded)
            else:
                good.append(raw)
        yield msgspec.json.encode(
            {
                "apiVersion": MODEL_DEPLOYMENT.api_version,
                "kind": f"{MODEL_DEPLOYMENT.kind}List",
                "metadata": {"resourceVersion": page.resource_version, "continue": page.continue_},
                "items": good,
            }
        )


class _Watch(_Content):
    """A watch that replaces events of undecodable objects by bookmarks.

    A bookmark advances the resourceVersion that kopf continues from.
    """

    async def _chunks(self) -> AsyncIterator[bytes]:
        try:
            async for line in lines(self._content.iter_any()):
                event = read_event(line, MODEL_DEPLOYMENT)
                yield (line if self._readable(event) else _bookmark(event)) + b"\n"
        except Unreachable as error:
            raise aiohttp.ClientPayloadError(str(error)) from error

    def _readable(self, event: WatchEvent) -> bool:
        if not isinstance(event.object, Undecodable):
            return True
        if event.type != "DELETED":
            self._resources.skip(event.object)
        elif event.object.key is not None:
            self._resources.remove(event.object.key)
        return False


def _bookmark(event: WatchEvent) -> bytes:
    version = cast(Undecodable, event.object).version
    metadata: dict[str, Any] = {"resourceVersion": str(version)} if version else {}
    return msgspec.json.encode({"type": "BOOKMARK", "object": {"metadata": metadata}})
