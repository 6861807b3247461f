"""Reading the counters of scoring pods over HTTP, straight from their IPs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import aiohttp

from sluicegate.adapters.exposition import NotOurs, parse
from sluicegate.core.analysis.counts import PodCounts

MOST_BYTES: Final = 4 * 1024 * 1024
AT_ONCE: Final = 64
"""Pods that are read at the same time."""
_CONNECT_SECONDS: Final = 3.0
_LOST: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, ConnectionResetError)
"""What a kept connection ends with when the pod has closed it meanwhile."""


class Unreadable(Exception):
    """A pod's counters cannot be had; the sentence says why and what to do."""


class PodScraper:
    """Reads pods, a bounded number at a time.

    By aiohttp and not, as all else, by httpx: there may be thousands of pods, each is asked every few seconds, and a request costs a
    tenth of the processor time (bench/RESULTS.md).
    """

    def __init__(self, get: Callable[[str], Awaitable[tuple[int, bytes]]] | None = None) -> None:
        """`get`, which gives a page's status and body by its URL, replaces the network."""
        self._get = get or self._fetched
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    async def scrape(self, pod: str, address: str, kinds: Iterable[str], seconds: float) -> PodCounts:
        """The counters of a pod.

        Args:
            pod: Its name, for messages.
            address: HOST:PORT.
            kinds: Which counters are wanted: see `parse`.
            seconds: Longest time that it may take.

        Raises:
            Unreadable: it does not answer, or not with the scoring server's counters.
        """
        async with self._turns:
            try:
                async with asyncio.timeout(seconds):
                    text = await self._page(address)
            except TimeoutError:
                raise Unreadable(_unreachable(pod, address, f"no answer within {seconds:g} s")) from None
            except (aiohttp.ClientError, OSError) as error:
                raise Unreadable(_unreachable(pod, address, _said(error))) from None
        try:
            return parse(text, kinds)
        except NotOurs as error:
            raise Unreadable(
                f"Pod {pod} does not count requests as the scoring server does ({error}): only the runtime mlflow does. "
                "Use metrics of type Query for other runtimes."
            ) from None

    async def _page(self, address: str) -> str:
        url = f"http://{address}/metrics"
        try:
            status, body = await self._get(url)
        except _LOST:
            status, body = await self._get(url)
        if status == 404:
            return ""  # another server, which has no such page
        if status != 200:
            raise aiohttp.ClientError(f"its /metrics answers {status}")
        if len(body) > MOST_BYTES:
            raise aiohttp.ClientError(f"its /metrics is over {MOST_BYTES >> 20} MiB")
        return body.decode("utf-8", "replace")

    async def _fetched(self, url: str) -> tuple[int, bytes]:
        """The status, and the body up to a little over what is too much."""
        if self._session is None:
            self._session = _session()
        async with self._session.get(url, allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > MOST_BYTES:
                    break
            return response.status, bytes(body)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=AT_ONCE, keepalive_timeout=30.0),
        headers={"Accept": "text/plain", "Accept-Encoding": "identity", "User-Agent": "sluicegate"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        # A proxy for the world outside knows no pod.
        trust_env=False,
    )


def _said(error: Exception) -> str:
    """What went wrong, without the words that aiohttp adds about TLS."""
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    return str(error) or type(error).__name__


def _unreachable(pod: str, address: str, why: str) -> str:
    return (
        f"Pod {pod} cannot be read at {address}: {why}. Check that the operator may reach the port of the scoring pods "
        "(NetworkPolicy), or set spec.rollout.analysis.source.type: Prometheus."
    )
