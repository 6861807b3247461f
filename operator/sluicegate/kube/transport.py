"""Sending requests: the thin layer over `kubernetes.aio` that the rest of the package sees.

Authentication, TLS, proxies, kubeconfig and the refresh of in-cluster tokens are the library's. Its typed
models and its retries are not used: a retry of a write belongs to whoever knows what the write means.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config, refresh_token
from kubernetes.aio.config.incluster_config import SERVICE_TOKEN_FILENAME

from sluicegate.kube.errors import KubeError, TooLong, Unreachable, from_response

logger = logging.getLogger(__name__)

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, built but not sent."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content_type: str = JSON
    urgent: bool = False
    """Does not wait for a free slot: a Lease must be renewed exactly when everything else is slow."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a client behaves towards the API server."""

    parallel: int = 32
    """Requests in flight at once, watches and urgent ones aside; the server's fairness does the rest."""
    timeout: float = 10.0
    """Seconds a request may take, waiting for a slot aside."""
    connect_timeout: float = 5.0
    """Seconds until a connection must stand."""
    watch_slack: float = 10.0
    """Seconds past its own timeout after which a watch that the server has not ended is given up."""
    on_request: Callable[[str, str, str, float], None] | None = None
    """Called after each request with verb, kind, outcome (`ok` or the error's class name) and seconds."""


class Transport:
    """Sends requests, at most so many at a time, and turns failures into this package's errors."""

    def __init__(self, api: ApiClient, options: ClientOptions) -> None:
        """Wrap an API client, which stays the caller's to close."""
        self._api = api
        self._options = options
        self._slots = asyncio.Semaphore(options.parallel)
        self.date: tuple[str | None, float] = (None, time.monotonic())
        """The header Date of the last answer, and the monotonic time at which it came."""

    async def send(self, request: Request, at_most: int | None = None) -> bytes:
        """Send a request and return the undecoded body of a 2xx answer.

        Args:
            request: What to send.
            at_most: Bytes of the body that are read; None is no limit.

        Raises:
            ApiError: The API server refused.
            TooLong: The body is longer than `at_most`.
            Unreachable: No whole answer within the timeout.
        """
        options = self._options
        timeout = aiohttp.ClientTimeout(total=options.timeout, sock_connect=options.connect_timeout)
        slot: contextlib.AbstractAsyncContextManager[object] = (
            contextlib.nullcontext() if request.urgent else self._slots
        )
        async with slot, self._exchange(request, timeout) as response:
            with _translated(request):
                return await (response.read() if at_most is None else _read(request, response, at_most))

    @asynccontextmanager
    async def stream(self, request: Request, seconds: float) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Open a streaming answer; leaving the context closes the connection.

        Args:
            request: What to send.
            seconds: Life of the stream as asked of the server; the slack of the options is added.

        Yields:
            Chunks of bytes, cut anywhere; iterating raises Unreachable when the stream breaks or outlives
            its time.

        Raises:
            ApiError: The API server refused.
            Unreachable: Opening failed.
        """
        options = self._options
        timeout = aiohttp.ClientTimeout(total=seconds + options.watch_slack, sock_connect=options.connect_timeout)
        async with (
            self._exchange(request, timeout) as response,
            aclosing(_chunks(request, response)) as chunks,
        ):
            yield chunks

    @asynccontextmanager
    async def _exchange(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send, and turn an answer that is an error into an exception."""
        with _translated(request):
            # The body is handed over after param_serialize: ours is plain data, and copying it costs CPU.
            method, url, headers, _, _ = await self._api.param_serialize(
                request.method,
                request.path,
                query_params=list(request.query.items()),
                header_params={"Accept": "application/json, */*;q=0.1", "Content-Type": request.content_type},
                auth_settings=["BearerToken"],
            )
            answer = await self._api.call_api(method, url, headers, request.body, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        self.date = (response.headers.get("Date"), time.monotonic())
        try:
            if not 200 <= response.status <= 299:
                with _translated(request):
                    text = await response.read()
                retry_after = response.headers.get("Retry-After")
                raise from_response(response.status, response.reason or "", text, retry_after)
            yield response
        finally:
            # A response read to its end has given its connection back already; any other must not be reused.
            response.close()


async def _read(request: Request, response: aiohttp.ClientResponse, at_most: int) -> bytes:
    chunks, length = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        length += len(chunk)
        if length > at_most:
            raise TooLong(f"the answer to {request.method} {request.path} has more than {at_most:,} bytes")
    return b"".join(chunks)


async def _chunks(request: Request, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    with _translated(request):
        async for chunk in response.content.iter_any():
            yield chunk


@contextmanager
def _translated(request: Request) -> Iterator[None]:
    """Turn what the network and the HTTP library raise into Unreachable."""
    try:
        yield
    except TimeoutError as error:
        raise Unreachable(f"the API server did not answer {request.method} {request.path} in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"the API server cannot be reached: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def connect(kubeconfig: str | None, context: str | None, options: ClientOptions) -> AsyncIterator[Transport]:
    """Open a transport to the cluster the arguments, the environment or the pod's service account name.

    Args:
        kubeconfig: A file, or several joined as in $KUBECONFIG. None means $KUBECONFIG, then the service
            account of this pod, then ~/.kube/config.
        context: A context of the kubeconfig; None is its current one.
        options: Limits and timeouts.

    Raises:
        KubeError: There is no usable configuration; the text says what was looked at.
    """
    configuration = Configuration()
    configuration.retries = None
    # Zero is no limit: the slots limit requests, and watches must never wait for one another.
    configuration.connection_pool_maxsize = 0
    refresher: asyncio.Task[None] | None = None
    source = kubeconfig or os.environ.get("KUBECONFIG")
    try:
        if source is None and os.path.isfile(SERVICE_TOKEN_FILENAME):
            source = "the service account of this pod"
            load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        else:
            source = source or os.path.expanduser("~/.kube/config")
            loader = await load_kube_config(  # type: ignore[no-untyped-call]
                source, context, configuration, persist_config=False
            )
            refresher = asyncio.create_task(_refresh(loader, configuration))
    except (ConfigException, OSError, ValueError, KeyError) as error:
        raise KubeError(f"cannot use the cluster configuration from {source}: {error}") from error
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    # aiohttp's own look at the environment is one at each request, and takes ~/.netrc for credentials of the API server.
    configuration.client_session_kwargs = {"trust_env": False}
    api = ApiClient(configuration)
    api.user_agent = "sluicegate"
    try:
        yield Transport(api, options)
    finally:
        if refresher is not None:
            refresher.cancel()
            await asyncio.gather(refresher, return_exceptions=True)
        await api.close()  # type: ignore[no-untyped-call]


def _proxy(server: str) -> str | None:
    """The proxy that the environment names for the API server (HTTPS_PROXY, NO_PROXY)."""
    url = urlsplit(server)
    return None if proxy_bypass(url.netloc) else getproxies().get(url.scheme)


async def _refresh(loader: object, configuration: Configuration) -> None:
    """Keep tokens from a kubeconfig's login helper fresh; returns at once for kubeconfigs without one."""
    while True:
        try:
            return await refresh_token(loader, configuration, interval=300)  # type: ignore[no-untyped-call, no-any-return]
        except Exception:
            logger.exception("refreshing the cluster credentials failed; trying again in a minute")
            await asyncio.sleep(60)
