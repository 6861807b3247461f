"""Asking a Prometheus server, by its query API; and what went wrong in the user's words."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from sluicegate.adapters.credentials import Credentials

MOST_BYTES: Final = 4 * 1024 * 1024
MOST_CLIENTS: Final = 32
AT_ONCE: Final = 16
_CONNECT_SECONDS: Final = 3.0
_LONG: Final = 2000
"""Characters of a query from which it goes in the body: proxies bound the length of a URL."""


class PrometheusError(Exception):
    """There is no answer; the sentence says why and what to do, and holds no credential."""


@dataclass(frozen=True, slots=True)
class PrometheusEndpoint:
    """Where a Prometheus server is and how to get in; equal endpoints share a client."""

    address: str
    credentials: Credentials = field(default_factory=Credentials)
    where: str = "spec.rollout.analysis.source"
    """Where its Secret is named, for messages."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector; a scalar is one without labels."""

    labels: Mapping[str, str]
    value: float


def credentials_of(data: Mapping[str, bytes], secret: str) -> Credentials:
    """What a Secret logs in with: the keys of Kubernetes' own types of Secrets (basic-auth, tls), `token` and `ca.crt`.

    Args:
        data: Its (decoded) keys and values.
        secret: How messages call it.

    Raises:
        PrometheusError: it is of no use; the sentence quotes no value.
    """

    def text(key: str) -> str | None:
        try:
            value = data.get(key, b"").decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise PrometheusError(f"{secret}: {key} is not UTF-8 text.") from None
        if value and not key.endswith((".crt", ".key")) and not (value.isprintable() and value.isascii()):
            raise PrometheusError(f"{secret}: {key} holds characters that no HTTP header can carry.")
        return value or None

    username, password, certificate, key = map(text, ("username", "password", "tls.crt", "tls.key"))
    for one, other, pair in ((username, password, "username and password"), (certificate, key, "tls.crt and tls.key")):
        if (one is None) != (other is None):
            raise PrometheusError(f"{secret}: {pair} go together, and one of them is missing.")
    found = Credentials(
        username, password, text("token"), f"{certificate}\n{key}\n" if certificate else None, text("ca.crt")
    )
    if found == Credentials():
        raise PrometheusError(
            f"{secret} has none of the keys username and password, token, ca.crt, tls.crt and tls.key: put there what logs in to Prometheus."
        )
    return found


class _Element(msgspec.Struct):
    value: tuple[float, str]
    metric: dict[str, str] = {}


class _Data(msgspec.Struct, rename="camel"):
    result_type: str
    result: Any


class _Body(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error_type: str = ""
    error: str = ""


class Prometheus:
    """Clients of the servers that are asked, made when they are first needed."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport` replaces the network."""
        self._transport = transport
        self._clients: OrderedDict[PrometheusEndpoint, httpx.AsyncClient] = OrderedDict()
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def aclose(self) -> None:
        """Closes all connections."""
        while self._clients:
            await self._clients.popitem()[1].aclose()

    async def query(self, endpoint: PrometheusEndpoint, promql: str, seconds: float) -> list[Sample]:
        """The instant vector (or scalar) that `promql` is now.

        Raises:
            PrometheusError: there is none.
        """
        client = await self._client(endpoint)
        async with self._turns:
            try:
                async with asyncio.timeout(seconds):
                    status, body = await _send(client, promql)
            except (TimeoutError, httpx.TimeoutException):
                raise PrometheusError(_unreachable(endpoint, f"no answer within {seconds:g} s")) from None
            except httpx.HTTPError as error:
                raise PrometheusError(_unreachable(endpoint, str(error) or type(error).__name__)) from None
        return _read(endpoint, status, body)

    async def number(self, endpoint: PrometheusEndpoint, promql: str, seconds: float) -> float:
        """The one number that `promql` is now.

        Raises:
            PrometheusError: there is none, or more than one.
        """
        found = await self.query(endpoint, promql, seconds)
        if not found:
            raise PrometheusError("The query has no data: nothing matches it, or it has not been scraped twice yet.")
        if len(found) > 1:
            raise PrometheusError(f"The query gives {len(found)} series: make it one number, such as by sum().")
        if not math.isfinite(found[0].value):
            raise PrometheusError(
                f"The query gives {found[0].value}: a division by zero, for want of requests perhaps."
            )
        return found[0].value

    async def _client(self, endpoint: PrometheusEndpoint) -> httpx.AsyncClient:
        found = self._clients.get(endpoint)
        if found is None:
            found = self._clients[endpoint] = _made(endpoint, self._transport)
        self._clients.move_to_end(endpoint)
        if len(self._clients) > MOST_CLIENTS:
            await self._clients.popitem(last=False)[1].aclose()
        return found


def _made(endpoint: PrometheusEndpoint, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    credentials = endpoint.credentials
    verify: ssl.SSLContext | bool = False
    try:
        url = httpx.URL(f"{endpoint.address.rstrip('/')}/api/v1/")
        if url.scheme == "https":
            verify = credentials.ssl_context()
    except (httpx.InvalidURL, ValueError):
        raise PrometheusError(f"{endpoint.where}: {endpoint.address} is not a URL.") from None
    except ssl.SSLError:
        raise PrometheusError(f"{endpoint.where}: a certificate or key in its Secret is not valid PEM.") from None
    basic = None
    if credentials.username is not None and credentials.password is not None:
        basic = httpx.BasicAuth(credentials.username, credentials.password)
    return httpx.AsyncClient(
        base_url=url,
        auth=basic,
        headers={"Accept": "application/json", "User-Agent": "sluicegate"} | credentials.headers(),
        verify=verify,
        timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=4, keepalive_expiry=30.0),
        # A redirect could carry the credentials elsewhere.
        follow_redirects=False,
        transport=transport,
    )


async def _send(client: httpx.AsyncClient, promql: str) -> tuple[int, bytes]:
    if len(quote(promql)) > _LONG:
        request = client.build_request("POST", "query", data={"query": promql})
    else:
        request = client.build_request("GET", "query", params={"query": promql})
    response = await client.send(request, stream=True)
    try:
        body = bytearray()
        async for chunk in response.aiter_bytes(65536):
            body += chunk
            if len(body) > MOST_BYTES:
                raise httpx.HTTPError(f"an answer over {MOST_BYTES >> 20} MiB")
    finally:
        await response.aclose()
    return response.status_code, bytes(body)


def _read(endpoint: PrometheusEndpoint, status: int, body: bytes) -> list[Sample]:
    """What an answer says.

    Raises:
        PrometheusError: it says no, or nothing that Prometheus says.
    """
    if status in (401, 403):
        said = "refuses the credentials" if endpoint.credentials.present else "asks for credentials, and none are set"
        raise PrometheusError(
            f"Prometheus at {endpoint.address} {said} ({status}): put username and password, or token, in the Secret that {endpoint.where} names."
        )
    try:
        answer = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise PrometheusError(_strange(endpoint, f"{status} and no JSON of its API")) from None
    if answer.status != "success" or answer.data is None:
        if answer.error_type == "bad_data":
            raise PrometheusError(f"Prometheus refuses the query: {_line(answer.error)}.")
        raise PrometheusError(f"Prometheus at {endpoint.address} failed ({status}): {_line(answer.error)}.")
    try:
        if answer.data.result_type == "scalar":
            _, value = msgspec.convert(answer.data.result, tuple[float, str])
            return [Sample({}, float(value))]
        if answer.data.result_type == "vector":
            found = msgspec.convert(answer.data.result, list[_Element])
            return [Sample(each.metric, float(each.value[1])) for each in found]
    except (msgspec.ValidationError, ValueError):
        raise PrometheusError(_strange(endpoint, "a vector that cannot be read")) from None
    raise PrometheusError(
        f"The query gives a {_line(answer.data.result_type)}: it must be a number, or a vector of one."
    )


def _unreachable(endpoint: PrometheusEndpoint, why: str) -> str:
    hint = "Check its address, and that the operator may reach it"
    if "CERTIFICATE_VERIFY_FAILED" in why:
        hint = f"Put the certificate of its authority as ca.crt in the Secret that {endpoint.where} names"
    return f"Prometheus at {endpoint.address} cannot be asked: {_line(why)}. {hint}."


def _strange(endpoint: PrometheusEndpoint, what: str) -> str:
    return f"{endpoint.address} answers with {what}: check that it is a Prometheus server's URL, with its path where it has one."


def _line(text: str) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split()).rstrip(".")
    return line if len(line) <= 200 else line[:199] + "…"
