"""Reading the counters of scoring pods over HTTP, straight from their IPs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import httpx

from sluicegate.adapters.exposition import NotOurs, parse
from sluicegate.core.analysis.counts import PodCounts

MOST_BYTES: Final = 4 * 1024 * 1024
AT_ONCE: Final = 64
"""Pods that are read at the same time."""
_CONNECT_SECONDS: Final = 3.0
_LOST: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""What a kept connection ends with when the pod has closed it meanwhile."""


class Unreadable(Exception):
    """A pod's counters cannot be had; the sentence says why and what to do."""


class PodScraper:
    """Reads pods, a bounded number at a time."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` replaces the network."""
        self._client = httpx.AsyncClient(
            transport=transport,
            headers={"Accept": "text/plain", "Accept-Encoding": "identity", "User-Agent": "sluicegate"},
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE, keepalive_expiry=30.0),
            follow_redirects=False,
            # A proxy for the world outside knows no pod.
            trust_env=False,
        )
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def aclose(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

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
                    text = await self._get(address)
            except (TimeoutError, httpx.TimeoutException):
                raise Unreadable(_unreachable(pod, address, f"no answer within {seconds:g} s")) from None
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise Unreadable(_unreachable(pod, address, str(error) or type(error).__name__)) from None
        try:
            return parse(text, kinds)
        except NotOurs as error:
            raise Unreadable(
                f"Pod {pod} does not count requests as the scoring server does ({error}): only the runtime mlflow does. "
                "Use metrics of type Query for other runtimes."
            ) from None

    async def _get(self, address: str) -> str:
        try:
            return await self._once(address)
        except _LOST:
            return await self._once(address)

    async def _once(self, address: str) -> str:
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
        async with self._client.stream("GET", f"http://{address}/metrics", timeout=timeout) as response:
            if response.status_code == 404:
                return ""  # another server, which has no such page
            if response.status_code != 200:
                raise httpx.HTTPError(f"its /metrics answers {response.status_code}")
            body = bytearray()
            async for chunk in response.aiter_bytes(65536):
                body += chunk
                if len(body) > MOST_BYTES:
                    raise httpx.HTTPError(f"its /metrics is over {MOST_BYTES >> 20} MiB")
        return body.decode("utf-8", "replace")


def _unreachable(pod: str, address: str, why: str) -> str:
    return (
        f"Pod {pod} cannot be read at {address}: {why}. Check that the operator may reach the port of the scoring pods "
        "(NetworkPolicy), or set spec.rollout.analysis.source.type: Prometheus."
    )
