"""GET requests to scoring pods, directly at their IPs.

They use aiohttp, and not httpx as the clients of registries and Prometheus do. The operator reads hundreds of pods
every few seconds, each at an address of its own. There httpx's pool costs eight times the CPU time.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final

import aiohttp

from sluicegate.adapters import bounded
from sluicegate.adapters.unexpected import cancelled_from_outside, log_unexpected

logger = logging.getLogger(__name__)
MOST_BYTES: Final = 4 * 1024 * 1024
AT_ONCE: Final = 64
"""Maximum number of pods that are read at the same time."""
_HEADERS: Final = {"Accept-Encoding": "identity", "User-Agent": "sluicegate"}
_NONE: Final[Mapping[str, str]] = MappingProxyType({})

Fetch = Callable[[str, Mapping[str, str]], Awaitable[tuple[int, bytes]]]
"""Returns status and body of a GET of a URL with headers."""


class PodRequestFailed(Exception):
    """A pod does not respond as expected. The text says why and can follow a colon."""


class PodHttp:
    """Reads a limited number of pods at a time."""

    def __init__(self, fetch: Fetch | None = None) -> None:
        """Prepare without any connection.

        Args:
            fetch: Replaces the network.
        """
        self._fetch = fetch or self._get
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, address: str, path: str, seconds: float, headers: Mapping[str, str] = _NONE
    ) -> tuple[int, bytes]:
        """Return status and body of a pod's response.

        Args:
            address: HOST:PORT.
            path: The path with its query.
            seconds: Time limit, without the wait for other pods.
            headers: Headers to send in addition to the default ones.

        Raises:
            PodRequestFailed: There is no response in time, or it is compressed or larger than `MOST_BYTES`.
        """
        async with self._turns:
            try:
                async with asyncio.timeout(seconds):
                    status, body = await self._fetch(f"http://{address}{path}", headers)
            except TimeoutError:
                raise PodRequestFailed(f"no response within {seconds:.3g} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise PodRequestFailed(_cause(error)) from None
            except bounded.ResponseRefused as error:
                raise PodRequestFailed(f"its {path.partition('?')[0]} is {error}") from None
            except PodRequestFailed:
                raise
            except asyncio.CancelledError as error:
                if cancelled_from_outside():
                    raise
                raise _unexpected(address, error) from None
            except Exception as error:  # must not affect the reads of other pods
                raise _unexpected(address, error) from None
            if len(body) > MOST_BYTES:
                raise PodRequestFailed(f"its {path.partition('?')[0]} is {bounded.too_large(MOST_BYTES)}")
            return status, body

    async def _get(self, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        if self._session is None:
            # Keep-alive would hold one socket for each pod, for a request every 15 seconds.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=AT_ONCE, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(),
            )
        async with self._session.get(url, headers=headers, allow_redirects=False) as response:
            encoding = response.headers.get("Content-Encoding", "").strip().lower()
            if encoding not in ("", "identity"):
                what = f"the Content-Encoding {encoding[:40]!r}"
                raise PodRequestFailed(f"it returned {what}, and the operator accepts only identity")
            with bounded.Body(MOST_BYTES) as body:
                async for chunk in response.content.iter_any():
                    body.add(chunk)
                return response.status, bytes(body)


def _cause(error: Exception) -> str:
    """Return why there is no response. A service mesh with mutual TLS resets or closes the connection."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed without a response"
    code = getattr(error, "errno", None)
    if code == errno.ECONNREFUSED:
        return "the connection was refused"
    if code == errno.ECONNRESET:
        return "the connection was reset"
    return bounded.one_line(str(error)) or type(error).__name__


def _unexpected(address: str, error: BaseException) -> PodRequestFailed:
    log_unexpected(logger, f"reading the pod at {address}", error)
    return PodRequestFailed(f"an unexpected {type(error).__name__}, whose traceback is in the operator's log")
