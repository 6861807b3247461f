"""Client of the query API of Prometheus servers.

Its errors are messages for users.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from sluicegate.adapters import bounded
from sluicegate.adapters.clients import ClientPool
from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.unexpected import cancelled_from_outside, log_unexpected

logger = logging.getLogger(__name__)
AT_ONCE: Final = 16
"""Maximum number of concurrent queries of one server. A slow server does not delay the queries of another one."""
_LONG: Final = 2000
"""Maximum length of an encoded query in a URL. A longer one is sent in the body, because proxies limit the length of a
URL."""


class PrometheusError(Exception):
    """There is no query result.

    The message says why and what to do about it, and has no credential.
    """


@dataclass(frozen=True, slots=True)
class PrometheusEndpoint:
    """Address and credentials of a Prometheus server. Equal endpoints share a client."""

    address: str
    credentials: Credentials = field(default_factory=Credentials)
    where: str = "spec.rollout.analysis.source"
    """The field that names its Secret, for messages."""

    @property
    def field(self) -> str:
        """Return the field that has its address, for messages."""
        return self.where.replace("secretRef", "address").replace("prometheus.secret", "prometheus.address")

    @property
    def shown(self) -> str:
        """Return its address, for messages."""
        return bounded.shown(self.address)


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector. A scalar is one without labels."""

    labels: Mapping[str, str]
    value: float


def credentials_of(data: Mapping[str, bytes], secret: str) -> Credentials:
    """Return the credentials in a Secret.

    The keys are those of Kubernetes' own types of Secrets (basic-auth, tls), `token` and `ca.crt`.

    Args:
        data: The Secret's (decoded) keys and values.
        secret: Name of the Secret in messages.

    Raises:
        PrometheusError: The Secret cannot be used. The message quotes no value.
    """

    def text(key: str) -> str | None:
        try:
            value = data.get(key, b"").decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise PrometheusError(f"{secret}: {key} is not UTF-8 text.") from None
        if value and not key.endswith((".crt", ".key")) and not (value.isprintable() and value.isascii()):
            raise PrometheusError(f"{secret}: {key} contains characters that an HTTP header does not allow.")
        return value or None

    username, password, certificate, key = map(text, ("username", "password", "tls.crt", "tls.key"))
    for one, other, pair in ((username, password, "username and password"), (certificate, key, "tls.crt and tls.key")):
        if (one is None) != (other is None):
            raise PrometheusError(f"{secret}: {pair} are required together, and one of them is missing.")
    credentials = Credentials(
        username, password, text("token"), f"{certificate}\n{key}\n" if certificate else None, text("ca.crt")
    )
    if credentials == Credentials():
        raise PrometheusError(
            f"{secret} has none of the keys username and password, token, ca.crt, tls.crt and tls.key. "
            "Add those that Prometheus requires."
        )
    return credentials


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


@dataclass(slots=True)
class _Server:
    client: httpx.AsyncClient
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))


class Prometheus:
    """Clients of Prometheus servers, created when they are first needed."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Prepare without any client.

        Args:
            transport: Replaces the network.
        """
        self._servers: ClientPool[PrometheusEndpoint, _Server] = ClientPool(
            lambda endpoint: _Server(_made(endpoint, transport)), lambda server: server.client.aclose()
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._servers.aclose()

    async def query(self, endpoint: PrometheusEndpoint, promql: str, seconds: float) -> list[Sample]:
        """Return the current value of `promql` as an instant vector or scalar.

        Args:
            endpoint: The server to query.
            promql: The query.
            seconds: Time limit, without the wait for other queries of this server.

        Raises:
            PrometheusError: There is no query result.
        """
        try:
            async with self._servers.lease(endpoint) as server, server.turns, asyncio.timeout(seconds):
                response = await bounded.fetch(server.client, functools.partial(_request, server.client, promql))
            return _read(endpoint, response.status, response.body)
        except PrometheusError:
            raise
        except TimeoutError:
            raise PrometheusError(_unreachable(endpoint, f"no response within {seconds:g} s")) from None
        except bounded.RequestFailed as error:
            raise PrometheusError(_unreachable(endpoint, str(error), certificate=error.certificate)) from None
        except bounded.ResponseRefused as error:
            raise PrometheusError(_strange(endpoint, str(error))) from None
        except asyncio.CancelledError as error:
            if cancelled_from_outside():
                raise
            raise _unexpected(endpoint, error) from None
        except Exception as error:  # must not affect other rollouts
            raise _unexpected(endpoint, error) from None

    async def number(self, endpoint: PrometheusEndpoint, promql: str, seconds: float) -> float:
        """Return the current value of `promql` as one number.

        Arguments are those of `query`.

        Raises:
            PrometheusError: The query result is empty, has more than one series, or is not finite.
        """
        samples = await self.query(endpoint, promql, seconds)
        if not samples:
            raise PrometheusError(
                "The query has no result. Check that it matches a series that Prometheus has scraped at least twice."
            )
        if len(samples) > 1:
            raise PrometheusError(
                f"The query returned {len(samples)} series. Aggregate them to one number, such as with sum()."
            )
        if not math.isfinite(samples[0].value):
            raise PrometheusError(
                f"The query returned {samples[0].value}, as after a division by zero. Check that there are requests."
            )
        return samples[0].value


def _made(endpoint: PrometheusEndpoint, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Create the client of a server.

    Raises:
        PrometheusError: The address or a certificate cannot be used.
    """
    credentials = endpoint.credentials
    try:
        bounded.parse_address(endpoint.address)
        url = bounded.parse_address(f"{endpoint.address.rstrip('/')}/api/v1/")
    except bounded.InvalidAddress as error:
        raise PrometheusError(
            f"{endpoint.field}: {endpoint.shown!r} cannot be used, because {error}. Set it to an "
            "http:// or https:// URL, such as http://prometheus.monitoring:9090."
        ) from None
    try:
        verify = credentials.ssl_context() if url.scheme == "https" else False
    except (OSError, ValueError, TypeError):  # ssl.SSLError is an OSError; PEM that is not ASCII causes a TypeError
        raise PrometheusError(f"{endpoint.where}: a certificate or key in its Secret is not valid PEM.") from None
    basic = None
    if credentials.username is not None and credentials.password is not None:
        basic = (credentials.username, credentials.password)
    return bounded.make_http_client(url, bounded.Login(basic, credentials.headers(), verify), None, transport)


def _request(client: httpx.AsyncClient, promql: str) -> httpx.Request:
    if len(quote(promql)) > _LONG:
        return client.build_request("POST", "query", data={"query": promql})
    return client.build_request("GET", "query", params={"query": promql})


def _unexpected(endpoint: PrometheusEndpoint, error: BaseException) -> PrometheusError:
    log_unexpected(logger, f"Prometheus at {endpoint.shown}", error)
    return PrometheusError(
        f"A query of Prometheus at {endpoint.shown} failed with an unexpected {type(error).__name__}. "
        "The traceback is in the operator's log: report it as a bug."
    )


def _read(endpoint: PrometheusEndpoint, status: int, body: bytes) -> list[Sample]:
    """Return the query result in a response.

    Raises:
        PrometheusError: The response is an error, or is not one of Prometheus.
    """
    if status in (401, 403):
        cause = "refused the credentials" if endpoint.credentials.present else "requires credentials, and none are set"
        raise PrometheusError(
            f"Prometheus at {endpoint.shown} {cause} ({status}). "
            f"Put username and password, or token, into the Secret that {endpoint.where} names."
        )
    try:
        decoded = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise PrometheusError(_strange(endpoint, f"{status} without JSON of its API")) from None
    if decoded.status != "success" or decoded.data is None:
        if decoded.error_type == "bad_data":
            raise PrometheusError(f"Prometheus rejected the query: {_line(decoded.error)}.")
        raise PrometheusError(f"Prometheus at {endpoint.shown} failed ({status}): {_line(decoded.error)}.")
    try:
        if decoded.data.result_type == "scalar":
            _, value = msgspec.convert(decoded.data.result, tuple[float, str])
            return [Sample({}, float(value))]
        if decoded.data.result_type == "vector":
            elements = msgspec.convert(decoded.data.result, list[_Element])
            return [Sample(element.metric, float(element.value[1])) for element in elements]
    except (msgspec.ValidationError, ValueError):
        raise PrometheusError(_strange(endpoint, "an invalid vector")) from None
    raise PrometheusError(
        f"The query returned a {_line(decoded.data.result_type)}. It must return a scalar, or a vector of one element."
    )


def _unreachable(endpoint: PrometheusEndpoint, why: str, *, certificate: bool = False) -> str:
    fix = f"Check {endpoint.field}, and that the operator can reach it (NetworkPolicy)"
    if certificate:
        fix = f"Put the certificate of its CA into the key ca.crt of the Secret that {endpoint.where} names"
    return f"Prometheus at {endpoint.shown} cannot be reached: {_line(why)}. {fix}."


def _strange(endpoint: PrometheusEndpoint, what: str) -> str:
    return (
        f"Prometheus at {endpoint.shown} returned {what}. "
        f"Check that {endpoint.field} is the URL of a Prometheus server, with its path if it has one."
    )


def _line(text: str) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split()).rstrip(".")
    return line if len(line) <= 200 else line[:199] + "…"
