"""Asking an MLflow server: where it is, one call, and what went wrong in the user's words.

A call ends in one of three ways: a typed answer; `Refusal`, which is MLflow's own JSON error and means
something to the caller; or a `ResolutionError`, for everything that is wrong with the server, the way to
it, or the credentials.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeAlias, TypeVar
from urllib.parse import unquote

import httpx
import msgspec

from sluicegate.adapters.credentials import Credentials
from sluicegate.core.model_uri import without_userinfo
from sluicegate.core.resolution import ResolutionError, ResolutionFailure, ResolutionReason, secret_invalid

API: Final = "api/2.0/mlflow/"
CONNECT_SECONDS: Final = 3.0
TOTAL_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class RegistryEndpoint:
    """Where a registry is and how to get in; equal endpoints can share a client.

    Attributes:
        name: What settings and messages call it; the tracking URI where it is an inline registry.
        tracking_uri: The MLflow server's http(s) URL, with a path where it lives under one.
        credentials: See `Credentials`.
        ca_pem: Certificates to trust instead of the system's, where the Secret has none.
        verify: False trusts any certificate.
    """

    name: str
    tracking_uri: str
    credentials: Credentials = field(default_factory=Credentials)
    ca_pem: str | None = None
    verify: bool = True

    def __str__(self) -> str:
        where = without_userinfo(self.tracking_uri)
        return f"registry {where}" if self.name == self.tracking_uri else f'registry "{self.name}" ({where})'

    def __repr__(self) -> str:
        return f"RegistryEndpoint({self}, {self.credentials!r})"


ClientFactory: TypeAlias = Callable[[RegistryEndpoint], httpx.AsyncClient]


def make_client(endpoint: RegistryEndpoint, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """A pooling client for one endpoint; redirects are not followed, so that no credential travels to
    another host.

    Raises:
        ResolutionError: the URL cannot be one, or the certificates are not valid.
    """
    try:
        url = httpx.URL(endpoint.tracking_uri.rstrip("/") + "/" + API)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment:
        raise _error(
            ResolutionReason.REGISTRY_UNREACHABLE,
            f"The tracking URI of {endpoint} must be an http:// or https:// URL without a query, such as "
            "http://mlflow.mlflow.svc:5000. Change it in the settings or in spec.model.inlineRegistry.",
        )
    try:
        verify = _tls(endpoint) if url.scheme == "https" else False
    except OSError:  # ssl.SSLError is one
        raise ResolutionError(secret_invalid(f"The CA bundle of {endpoint}", "it is not valid PEM")) from None
    return httpx.AsyncClient(
        base_url=url.copy_with(username=None, password=None),
        auth=_basic(endpoint.credentials, url),
        headers={"Accept": "application/json", "User-Agent": "sluicegate"} | endpoint.credentials.headers(),
        verify=verify,
        timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=4, keepalive_expiry=30.0),
        follow_redirects=False,
        transport=transport,
    )


class Refusal(Exception):
    """MLflow understood, and said no: its `error_code` and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message

    @property
    def missing(self) -> bool:
        """Whether what was asked for does not exist."""
        return self.code == "RESOURCE_DOES_NOT_EXIST"


class _ErrorBody(msgspec.Struct, frozen=True):
    error_code: str
    message: str = ""


async def call(client: httpx.AsyncClient, endpoint: RegistryEndpoint, request: httpx.Request, answer: type[T]) -> T:
    """Send `request` and decode what comes back.

    Raises:
        Refusal: MLflow's JSON error with a 4xx other than 401 and 429.
        ResolutionError: anything else.
    """
    try:
        response = await client.send(request, stream=True)
        try:
            body = await _read(response, endpoint)
        finally:
            await response.aclose()
    except httpx.HTTPError as error:
        raise unreachable(endpoint, error) from None
    if response.status_code != 200:
        _explain(endpoint, response, body)
    return _decode(endpoint, body, answer)


def unreachable(endpoint: RegistryEndpoint, error: Exception) -> ResolutionError:
    """The failure for a server that cannot be talked to at all."""
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        why = f"no connection within {CONNECT_SECONDS:g} s"
    elif isinstance(error, httpx.TimeoutException | TimeoutError):
        why = f"no answer within {TOTAL_SECONDS:g} s"
    else:
        why = endpoint.credentials.hidden(_cut(str(error))) or type(error).__name__
    hint = "Check that the server runs, and that the operator may reach it (URL, DNS, NetworkPolicy)"
    if "CERTIFICATE_VERIFY_FAILED" in why:
        hint = "Give the certificate of its authority as ca.crt in the registry's Secret, or in the settings"
    return _error(ResolutionReason.REGISTRY_UNREACHABLE, f"Cannot reach {endpoint}: {why}. {hint}.", transient=True)


def _tls(endpoint: RegistryEndpoint) -> ssl.SSLContext:
    context = endpoint.credentials.ssl_context(endpoint.ca_pem)
    if not endpoint.verify:  # the client certificate still counts
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _basic(credentials: Credentials, url: httpx.URL) -> httpx.BasicAuth | None:
    if credentials.username is not None and credentials.password is not None:
        return httpx.BasicAuth(credentials.username, credentials.password)
    if url.userinfo and credentials.token is None:
        return httpx.BasicAuth(unquote(url.username), unquote(url.password))
    return None


async def _read(response: httpx.Response, endpoint: RegistryEndpoint) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes(65536):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise invalid_answer(endpoint, f"more than {MAX_ANSWER_BYTES >> 20} MiB")
    return bytes(body)


def invalid_answer(endpoint: RegistryEndpoint, what: str) -> ResolutionError:
    """The failure for an answer that no MLflow server gives."""
    return _error(
        ResolutionReason.REGISTRY_INVALID_ANSWER,
        f"{_capital(endpoint)} answered with {endpoint.credentials.hidden(what)} instead of MLflow's JSON. Check that the tracking "
        "URI is that of an MLflow "
        "server (with its path, where it has one), and that no proxy or login page stands before it.",
        transient=True,
    )


def _decode(endpoint: RegistryEndpoint, body: bytes, answer: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=answer)
    except msgspec.ValidationError as error:
        raise invalid_answer(endpoint, f"unexpected JSON ({_cut(str(error))})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise invalid_answer(endpoint, "an HTML page" if _is_html(body) else "something that is not JSON") from None


def _explain(endpoint: RegistryEndpoint, response: httpx.Response, body: bytes) -> NoReturn:
    """Raise what an answer other than 200 means."""
    status, where = response.status_code, _capital(endpoint)
    if status == 401:
        said = (
            "refused the credentials"
            if endpoint.credentials.present
            else "asks for credentials, and none are configured"
        )
        raise _error(
            ResolutionReason.REGISTRY_UNAUTHORIZED,
            f"{where} {said} (401). Put MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, in the "
            "registry's Secret, and name that Secret in its settings or in spec.model.inlineRegistry.secretRef.",
        )
    if status == 403 and b"Invalid Host header" in body:
        host = _cut(response.request.headers["host"])
        raise _error(
            ResolutionReason.REGISTRY_HOST_REFUSED,
            f"{where} refuses requests to this host name (403 Invalid Host header). Start the MLflow "
            "server with "
            f'--allowed-hosts "{host}" or MLFLOW_SERVER_ALLOWED_HOSTS="{host}" (beside the names it has).',
        )
    if status == 403:
        raise _error(
            ResolutionReason.REGISTRY_FORBIDDEN,
            f"{where} knows the operator's account, but it may not read this (403). Give it READ "
            "permission on the model (and, "
            "for runs:/ and logged models, on the experiment).",
        )
    if 300 <= status < 400:
        target = without_userinfo(_cut(response.headers.get("location", "")))
        raise invalid_answer(endpoint, f"a redirect ({status}) to {target or 'nowhere'}")
    refusal = _refusal(body)
    if status >= 500 or status == 429:
        raise server_error(endpoint, status, refusal.message if refusal else "")
    if refusal is None:
        raise invalid_answer(endpoint, f"{status} and {'an HTML page' if _is_html(body) else 'no explanation'}")
    raise Refusal(status, refusal.error_code, refusal.message)


def server_error(endpoint: RegistryEndpoint, status: int, message: str) -> ResolutionError:
    """The failure for a server that is there and broken, or says what nobody expected."""
    said = f": {_cut(endpoint.credentials.hidden(message))}" if message else ""
    return _error(
        ResolutionReason.REGISTRY_ERROR,
        f"{_capital(endpoint)} failed with {status}{said}. Its own log says more; this is tried again by itself.",
        transient=True,
    )


def _refusal(body: bytes) -> _ErrorBody | None:
    try:
        return msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def _error(reason: ResolutionReason, message: str, *, transient: bool = False) -> ResolutionError:
    return ResolutionError(ResolutionFailure(reason, message, transient))


def _capital(endpoint: RegistryEndpoint) -> str:
    text = str(endpoint)
    return text[0].upper() + text[1:]


def _is_html(body: bytes) -> bool:
    return body.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def _cut(text: str) -> str:
    """One printable line of at most 200 characters of what another program said, without credentials in
    its URLs.
    """
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    words = [without_userinfo(word) if "://" in word else word for word in line.split()]
    line = " ".join(words)
    return line if len(line) <= 200 else line[:199] + "…"
