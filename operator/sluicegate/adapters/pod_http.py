"""GET from scoring pods, straight from their IPs.

By aiohttp, and not by httpx as registries and Prometheus are: hundreds of pods are read every few seconds, each at an address of its
own, where httpx's pool costs eight times the CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

import aiohttp

MOST_BYTES: Final = 4 * 1024 * 1024
AT_ONCE: Final = 64
"""Pods that are read at the same time."""
_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "sluicegate"}
_NONE: Final[Mapping[str, str]] = MappingProxyType({})

Fetch = Callable[[str, Mapping[str, str]], Awaitable[tuple[int, bytes]]]
"""Status and body of a GET of a URL with headers."""


class PodTrouble(Exception):
    """A pod does not answer; the text says why, in words that fit behind a colon."""


class PodHttp:
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

    async def get(
        self, address: str, path: str, seconds: float, headers: Mapping[str, str] = _NONE
    ) -> tuple[int, bytes]:
        """Status and body of a pod's answer.

        Args:
            address: HOST:PORT.
            path: With its query.
            seconds: Longest time that it may take; waiting for a turn does not count.
            headers: What to send besides the usual.

        Raises:
            PodTrouble: there is no answer in time, or one of more than `MOST_BYTES`.
        """
        async with self._turns:
            try:
                async with asyncio.timeout(seconds):
                    status, body = await self._fetch(f"http://{address}{path}", headers)
            except TimeoutError:
                raise PodTrouble(f"no answer within {seconds:.3g} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise PodTrouble(str(error) or type(error).__name__) from None
        if len(body) > MOST_BYTES:
            raise PodTrouble(f"its {path.partition('?')[0]} is over {MOST_BYTES >> 20} MiB")
        return status, body

    async def _get(self, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._session is None:
            # A kept connection would be a socket a pod, for a request every quarter of a minute.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=AT_ONCE, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(),
            )
        async with self._session.get(url, headers=headers, allow_redirects=False) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MOST_BYTES:
                    break
            return response.status, bytes(body)
