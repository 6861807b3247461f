"""HTTP with limits on everything that a server decides.

The clients of registries, Prometheus and receivers of notifications use it. A compressed response is refused before it
is decoded, and a large response is refused while it is read. No cookie is kept. httpx decompresses first and keeps
every cookie, so a response of 1.3 kB could take gigabytes. httpcore limits the length of the headers (100 KiB before
they are complete). The caller limits the time with `asyncio.timeout`, because httpx's own time limit restarts with
every byte.
"""

from __future__ import annotations

import asyncio
import http.client
import re
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import Final, NamedTuple, Self

import httpx

from sluicegate.core.models.uri import without_userinfo
from sluicegate.core.snapshot.redaction import printable

CONNECT_SECONDS: Final = 3.0
MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
MAX_READING: Final = 64 * 1024 * 1024
"""Maximum size in bytes of all responses that are read at the same time. Many slow servers must not fill the memory
together."""
SMALL: Final = 256 * 1024
"""Size in bytes that every response may have, whatever the size of the others."""
MAX_CHUNKS: Final = 16_384
"""Maximum number of chunks of one response. Every chunk costs CPU time of the event loop, however small it is."""
CHUNKS_A_TURN: Final = 128
"""Number of chunks that are read before other tasks can run. A full buffer returns chunks without a wait."""
MAX_ADDRESS: Final = 2048
"""Maximum length of an address in characters."""
MAX_SHOWN: Final = 200
_MAX_HOST: Final = 253
_HOST: Final = re.compile(
    r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?", re.ASCII
)


class InvalidAddress(ValueError):
    """No request can be sent to this address.

    The text says why, can follow a colon and quotes no credential.
    """


class RequestFailed(Exception):
    """There is no response. The text says why and can follow a colon.

    Attributes:
        certificate: Whether the cause is that the server's certificate is not trusted.
        kind: Name of the error's class, which quotes no value.
    """

    def __init__(self, why: str, kind: str, *, certificate: bool = False) -> None:
        super().__init__(why)
        self.kind = kind
        self.certificate = certificate


class ResponseRefused(Exception):
    """The response is not read to its end. The text can follow `returned`."""


class Body:
    """The body of one response while it is read.

    Its size is limited, and so is the total size of all bodies that the process reads.
    """

    reading = 0
    """Size in bytes of all bodies that are read now."""

    def __init__(self, limit: int) -> None:
        """Start with an empty body."""
        self._limit = limit
        self._content = bytearray()

    def add(self, chunk: bytes) -> None:
        """Add a chunk to the body.

        Raises:
            ResponseRefused: The body is too large.
        """
        self._content += chunk
        Body.reading += len(chunk)
        if len(self._content) > self._limit:
            raise ResponseRefused(too_large(self._limit))
        if len(self._content) > SMALL and Body.reading > MAX_READING:
            raise ResponseRefused(f"{len(self._content):,} bytes, while other responses take {MAX_READING >> 20} MiB")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        Body.reading -= len(self._content)

    def __bytes__(self) -> bytes:
        return bytes(self._content)


class Response(NamedTuple):
    """A response that was read to its end."""

    status: int
    headers: httpx.Headers
    body: bytes
    host: str
    """The request's Host header."""


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """What a client sends and trusts.

    Attributes:
        basic: User name and password.
        headers: More request headers.
        verify: TLS settings. False if there is no TLS.
    """

    basic: tuple[str, str] | None = None
    headers: Mapping[str, str] | None = None
    verify: ssl.SSLContext | bool = False


def parse_address(address: str) -> httpx.URL:
    """Parse an address that requests are sent to.

    httpx, idna, socket and the operating system reject addresses at different times and with different exceptions. So
    this function rejects everything that they would reject, before there is a client.

    Raises:
        InvalidAddress: No request can be sent to the address.
    """
    if len(address) > MAX_ADDRESS:
        raise InvalidAddress(f"it is longer than {MAX_ADDRESS:,} characters")
    try:
        address.encode()
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError, TypeError):
        raise InvalidAddress("it is not a URL") from None
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise InvalidAddress("it does not start with http:// or https:// and a host name")
    if url.port is not None and not 0 < url.port < 65536:
        raise InvalidAddress("its port is not between 1 and 65535")
    host = url.raw_host.decode("ascii", "replace")
    if ":" in host:
        if "%" in host:
            raise InvalidAddress("its IPv6 address has a zone")
    elif len(host.rstrip(".")) > _MAX_HOST or not _HOST.fullmatch(host):
        raise InvalidAddress("its host is not a DNS name or an IP address")
    try:
        _ = url.host  # decodes names that start with xn--, as httpx does for every request
    except ValueError:
        raise InvalidAddress("its host is not a valid internationalized domain name") from None
    return url


def host_of(address: str) -> str:
    """Return the host that requests to `address` connect to, or "" if no request can be sent to it."""
    try:
        return parse_address(address).raw_host.decode("ascii", "replace").lower().rstrip(".")
    except InvalidAddress:
        return ""


def shown(address: str) -> str:
    """Return the part of an address that messages may show.

    It is one printable line without user name, password, query and fragment.
    """
    return one_line(without_userinfo(address).partition("#")[0].rpartition("@")[2])


def one_line(text: str) -> str:
    """Return another program's text as one printable line of at most `MAX_SHOWN` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"


def make_http_client(
    url: httpx.URL, login: Login, seconds: float | None, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """Create a client for one server.

    It does not follow redirects, so that no credential is sent to another host.

    Args:
        url: The base URL of all requests.
        login: What the client sends and trusts.
        seconds: Time limit of each read and write. The caller limits the time of the whole request.
        transport: Replaces the network.
    """
    return httpx.AsyncClient(
        base_url=url.copy_with(username=None, password=None),
        auth=httpx.BasicAuth(*login.basic) if login.basic is not None else None,
        headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "sluicegate"}
        | dict(login.headers or {}),
        verify=login.verify,
        cookies=_NoCookies(),
        timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=4, keepalive_expiry=30.0),
        follow_redirects=False,
        transport=transport,
    )


async def fetch(
    client: httpx.AsyncClient, build: Callable[[], httpx.Request], limit: int | None = MAX_RESPONSE_BYTES
) -> Response:
    """Send one request and read its response within limits.

    Args:
        client: A client from `make_http_client`.
        build: Returns the request. Exceptions that it raises are handled as well.
        limit: Maximum size of the body in bytes. With None, the body is not read.

    Raises:
        RequestFailed: There is no response.
        ResponseRefused: The response is compressed or too large.
    """
    try:
        response = await client.send(build(), stream=True)
        try:
            body = await _read(response, limit) if limit is not None else b""
        finally:
            await response.aclose()
    except (httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise RequestFailed(f"no connection within {CONNECT_SECONDS:g} s", type(error).__name__) from None
    except httpx.TimeoutException as error:
        limit_of = client.timeout.read
        within = f" within {limit_of:g} s" if limit_of is not None else " in time"
        raise RequestFailed(f"no response{within}", type(error).__name__) from None
    except httpx.LocalProtocolError as error:  # the text of this error quotes headers
        raise RequestFailed("the request contains characters that HTTP does not allow", type(error).__name__) from None
    except (httpx.HTTPError, OSError) as error:
        name = type(error).__name__
        raise RequestFailed(str(error) or name, name, certificate=_is_of_certificate(error)) from None
    return Response(response.status_code, response.headers, body, response.request.headers.get("host", ""))


async def _read(response: httpx.Response, limit: int) -> bytes:
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise ResponseRefused(f"the Content-Encoding {encoding[:40]!r} (the operator accepts only identity)")
    length = response.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > limit):
        raise ResponseRefused(too_large(limit))
    chunks = 0
    with Body(limit) as body:
        async for chunk in response.aiter_raw():
            body.add(chunk)
            chunks += 1
            if chunks > MAX_CHUNKS:
                raise ResponseRefused(f"more than {MAX_CHUNKS:,} chunks")
            if chunks % CHUNKS_A_TURN == 0:
                await asyncio.sleep(0)
        return bytes(body)


def too_large(limit: int) -> str:
    """Return the text for a body that is larger than a limit."""
    return f"more than {limit >> 20} MiB" if limit >= 1 << 20 else f"more than {limit:,} bytes"


def _is_of_certificate(error: BaseException) -> bool:
    cause: BaseException | None = error
    for _ in range(8):
        if cause is None or isinstance(cause, ssl.SSLCertVerificationError):
            break
        cause = cause.__cause__ or cause.__context__
    return isinstance(cause, ssl.SSLCertVerificationError)


class _NoCookies(CookieJar):
    """A cookie jar that reads no cookie, so that none is parsed, kept or sent."""

    def extract_cookies(self, response: http.client.HTTPResponse, request: urllib.request.Request) -> None:
        """Do nothing."""
