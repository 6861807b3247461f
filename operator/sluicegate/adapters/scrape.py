"""Reading the counters of scoring pods over HTTP, straight from their IPs.

By aiohttp, and not by httpx as registries and Prometheus are: hundreds of pods are read every few seconds, each at an address of its
own, where httpx's pool costs eight times the CPU.
"""

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
_HEADERS: Final = {"Accept": "text/plain", "Accept-Encoding": "identity", "User-Agent": "sluicegate"}

Fetch = Callable[[str], Awaitable[tuple[int, bytes]]]
"""Status and body of a GET of a URL."""


class Unreadable(Exception):
    """A pod's counters cannot be had; the sentence says why and what to do."""


class PodScraper:
    """Reads pods, a bounded number at a time."""

    def __init__(self, fetch: Fetch | None = None) -> None:
        """`fetch` replaces the network."""
        self._fetch = fetch or self._get
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def aclose(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

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
                    status, body = await self._fetch(f"http://{address}/metrics")
            except TimeoutError:
                raise Unreadable(_unreachable(pod, address, f"no answer within {seconds:g} s")) from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise Unreadable(_unreachable(pod, address, str(error) or type(error).__name__)) from None
        if len(body) > MOST_BYTES:
            raise Unreadable(_unreachable(pod, address, f"its /metrics is over {MOST_BYTES >> 20} MiB"))
        if status not in (200, 404):
            raise Unreadable(_unreachable(pod, address, f"its /metrics answers {status}"))
        try:
            return parse(body.decode("utf-8", "replace") if status == 200 else "", kinds)
        except NotOurs as error:
            raise Unreadable(
                f"Pod {pod} does not count requests as the scoring server does ({error}): only the runtime mlflow does. "
                "Use metrics of type Query for other runtimes."
            ) from None

    async def _get(self, url: str) -> tuple[int, bytes]:
        if self._session is None:
            # A kept connection would be a socket a pod, for a request every quarter of a minute.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=AT_ONCE, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(),
            )
        async with self._session.get(url, allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MOST_BYTES:
                    break
            return response.status, bytes(body)


def _unreachable(pod: str, address: str, why: str) -> str:
    return (
        f"Pod {pod} cannot be read at {address}: {why}. Check that the operator may reach the port of the scoring pods "
        "(NetworkPolicy), or set spec.rollout.analysis.source.type: Prometheus."
    )
