"""The transport: a thin layer over `kubernetes.aio` that sends requests.

The library handles authentication, TLS, proxies, kubeconfig and the refresh of in-cluster tokens. The transport does
not use its typed models and its retries. Only a caller that knows what a write means can decide whether to retry it.
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
    """One HTTP request that is not sent yet."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    content_type: str = JSON
    urgent: bool = False
    """Whether the request skips the wait for a free slot. A Lease must be renewed exactly when everything else is
    slow."""
    admission: bool = False
    """Whether admission webhooks may delay the response. The request may take half as long again, so that the API
    server's text about a webhook that does not answer for the usual 10 s arrives."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """How a client behaves towards the API server."""

    parallel: int = 32
    """Maximum number of requests in flight, without watches and urgent requests. The API server's priority and fairness
    limits the rest."""
    timeout: float = 10.0
    """Seconds that a request may take, without the wait for a slot. An apply or a deletion may take half as long again.
    """
    connect_timeout: float = 5.0
    """Seconds in which a connection must be established."""
    watch_slack: float = 10.0
    """Seconds that a watch may exceed its own timeout. After that the client ends a watch that the server has not
    ended."""
    on_request: Callable[[str, str, str, float], None] | None = None
    """Called after each request with verb, kind, outcome (`ok` or the name of the error's class) and seconds."""


class Transport:
    """Sends a limited number of requests at a time.

    Failures become the errors of this package.
    """

    def __init__(self, api: ApiClient, options: ClientOptions) -> None:
        """Wrap an API client. The caller closes it."""
        self._api = api
        self._options = options
        self._slots = asyncio.Semaphore(options.parallel)
        self.date: tuple[str | None, float] = (None, time.monotonic())
        """The header Date of the last response, and the monotonic time at which it arrived."""

    async def send(self, request: Request, at_most: int | None = None) -> bytes:
        """Send a request and return the undecoded body of a 2xx response.

        Args:
            request: The request to send.
            at_most: Maximum size of the body in bytes. None means no limit.

        Raises:
            ApiError: The API server responded with an error.
            TooLong: The body is longer than `at_most`.
            Unreachable: No complete response arrived within the timeout.
        """
        options = self._options
        seconds = options.timeout * (1.5 if request.admission else 1)
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=options.connect_timeout)
        slot: contextlib.AbstractAsyncContextManager[object] = (
            contextlib.nullcontext() if request.urgent else self._slots
        )
        async with slot, self._exchange(request, timeout) as response:
            with _translated(request):
                return await (response.read() if at_most is None else _read(request, response, at_most))

    @asynccontextmanager
    async def stream(self, request: Request, seconds: float) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Open a streaming response.

        Leaving the context closes the connection.

        Args:
            request: The request to send.
            seconds: Duration of the stream as requested from the server. The slack of the options is added.

        Yields:
            An iterator of chunks of bytes, split at any point. It raises Unreachable if the stream breaks or does not
                end in time.

        Raises:
            ApiError: The API server responded with an error.
            Unreachable: The stream could not be opened.
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
        """Send a request, and raise an exception if the response is an error."""
        with _translated(request):
            # The body is passed after param_serialize. It is plain data already, and param_serialize would copy it at a
            # cost in CPU time.
            method, url, headers, _, _ = await self._api.param_serialize(
                request.method,
                request.path,
                query_params=list(request.query.items()),
                header_params={"Accept": "application/json, */*;q=0.1", "Content-Type": request.content_type},
                auth_settings=["BearerToken"],
            )
            result = await self._api.call_api(method, url, headers, request.body, _request_timeout=limits)
        response: aiohttp.ClientResponse = result.response
        self.date = (response.headers.get("Date"), time.monotonic())
        try:
            if not 200 <= response.status <= 299:
                with _translated(request):
                    text = await response.read()
                retry_after = response.headers.get("Retry-After")
                raise from_response(response.status, response.reason or "", text, retry_after)
            yield response
        finally:
            # A response that was read to its end has returned its connection already. Any other connection must not be
            # reused.
            response.close()


async def _read(request: Request, response: aiohttp.ClientResponse, at_most: int) -> bytes:
    chunks, length = [], 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        length += len(chunk)
        if length > at_most:
            raise TooLong(f"the response to {request.method} {request.path} has more than {at_most:,} bytes")
    return b"".join(chunks)


async def _chunks(request: Request, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    with _translated(request):
        async for chunk in response.content.iter_any():
            yield chunk


@contextmanager
def _translated(request: Request) -> Iterator[None]:
    """Turn exceptions of the network and the HTTP library into Unreachable."""
    try:
        yield
    except TimeoutError as error:
        message = f"the API server did not respond to {request.method} {request.path} in time"
        raise Unreachable(message, timed_out=not isinstance(error, aiohttp.ConnectionTimeoutError)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"the API server cannot be reached: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def connect(kubeconfig: str | None, context: str | None, options: ClientOptions) -> AsyncIterator[Transport]:
    """Open a transport to a cluster.

    The arguments, the environment or the pod's service account name the cluster.

    Args:
        kubeconfig: A file, or several files joined as in $KUBECONFIG. None means $KUBECONFIG, then the service account
            of this pod, then ~/.kube/config.
        context: A context of the kubeconfig. None means its current context.
        options: Limits and timeouts.

    Raises:
        KubeError: There is no usable configuration. The text names the source that was tried.
    """
    configuration = Configuration()
    configuration.retries = None
    # Zero means no limit. The slots limit requests, and watches must never wait for one another.
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
    # With trust_env, aiohttp reads the environment for each request, and uses ~/.netrc as credentials of the API
    # server.
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
    """Return the proxy for the API server from HTTPS_PROXY and NO_PROXY."""
    url = urlsplit(server)
    return None if proxy_bypass(url.netloc) else getproxies().get(url.scheme)


async def _refresh(loader: object, configuration: Configuration) -> None:
    """Refresh tokens from a kubeconfig's login helper.

    For a kubeconfig without such a helper, this returns at once.
    """
    while True:
        try:
            return await refresh_token(loader, configuration, interval=300)  # type: ignore[no-untyped-call, no-any-return]
        except Exception:
            logger.exception("cannot refresh the cluster credentials, retry in 60 s")
            await asyncio.sleep(60)
