"""Calls to an MLflow server, and the errors that they end in.

A call ends in one of three ways. A typed response is the success. A `MlflowError` is MLflow's own JSON error, which the
caller can interpret. A `ResolutionError` means that the server, the network path to it, or the credentials have a
problem. Its message is for users.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeAlias, TypeVar
from urllib.parse import unquote

import httpx
import msgspec

from sluicegate.adapters import bounded
from sluicegate.adapters.mlflow.credentials import Credentials
from sluicegate.adapters.unexpected import log_unexpected
from sluicegate.api.reasons import Reason
from sluicegate.core.models.resolution import (
    ResolutionError,
    ResolutionFailure,
    internal_error,
    secret_invalid,
)
from sluicegate.core.models.uri import without_userinfo
from sluicegate.core.snapshot.redaction import printable

logger = logging.getLogger(__name__)
API: Final = "api/2.0/mlflow/"
TOTAL_SECONDS: Final = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class RegistryEndpoint:
    """Address and credentials of a registry. Equal endpoints can share a client.

    Attributes:
        name: The registry's name in settings and messages. For an inline registry it is the tracking URI.
        tracking_uri: The MLflow server's http(s) URL, with its path if it has one.
        credentials: See `Credentials`.
        ca_pem: Certificates to trust instead of the system's, if the Secret has none.
        verify: False trusts any certificate.
    """

    name: str
    tracking_uri: str
    credentials: Credentials = field(default_factory=Credentials)
    ca_pem: str | None = None
    verify: bool = True

    def __str__(self) -> str:
        where = bounded.shown(self.tracking_uri)
        return f"registry {where}" if self.name == self.tracking_uri else f'registry "{self.name}" ({where})'

    def __repr__(self) -> str:
        return f"RegistryEndpoint({self}, {self.credentials!r})"


ClientFactory: TypeAlias = Callable[[RegistryEndpoint], httpx.AsyncClient]


def make_client(endpoint: RegistryEndpoint, transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Create a pooling client for one endpoint.

    Raises:
        ResolutionError: The tracking URI or the certificates cannot be used.
    """
    url = _address(endpoint)
    try:
        verify = _tls(endpoint) if url.scheme == "https" else False
    except (OSError, ValueError, TypeError):  # ssl.SSLError is an OSError; PEM that is not ASCII causes a TypeError
        raise ResolutionError(secret_invalid(f"The CA bundle of {endpoint}", "it is not valid PEM")) from None
    login = bounded.Login(_basic(endpoint.credentials, url), endpoint.credentials.headers(), verify)
    return bounded.make_http_client(url, login, TOTAL_SECONDS, transport)


def _address(endpoint: RegistryEndpoint) -> httpx.URL:
    """Return the URL of the registry's API.

    Raises:
        ResolutionError: The tracking URI is not valid.
    """
    try:
        url = bounded.parse_address(endpoint.tracking_uri)
        if url.query or url.fragment:
            raise bounded.InvalidAddress("it has a query or a fragment")
        return bounded.parse_address(endpoint.tracking_uri.rstrip("/") + "/" + API)
    except bounded.InvalidAddress as error:
        field = _field(endpoint, "trackingUri", "trackingUri")
        raise _error(
            Reason.REGISTRY_UNREACHABLE,
            f"{field}: {bounded.shown(endpoint.tracking_uri)!r} cannot be used, because {error}. "
            "Set it to an http:// or https:// URL without a query, such as http://mlflow.mlflow.svc:5000.",
        ) from None


class MlflowError(Exception):
    """MLflow refused the request, with an `error_code` and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message

    @property
    def missing(self) -> bool:
        """Tell whether the requested object does not exist."""
        return self.code == "RESOURCE_DOES_NOT_EXIST"


class _ErrorBody(msgspec.Struct, frozen=True):
    error_code: str
    message: str = ""


async def call(
    client: httpx.AsyncClient, endpoint: RegistryEndpoint, build: Callable[[], httpx.Request], response_type: type[T]
) -> T:
    """Send the request that `build` returns, and decode the response.

    Raises:
        MlflowError: MLflow's JSON error with a 4xx other than 401 and 429.
        ResolutionError: Any other failure.
    """
    try:
        response = await bounded.fetch(client, build)
    except bounded.RequestFailed as error:
        raise unreachable(endpoint, str(error), certificate=error.certificate) from None
    except bounded.ResponseRefused as error:
        raise invalid_response(endpoint, str(error)) from None
    if response.status != 200:
        _explain(endpoint, response)
    return _decode(endpoint, response.body, response_type)


def unreachable(
    endpoint: RegistryEndpoint, why: str = f"no response within {TOTAL_SECONDS:g} s", *, certificate: bool = False
) -> ResolutionError:
    """Return the error for a server that cannot be reached."""
    fix = "Check that the server runs, and that the operator can reach it (URL, DNS, NetworkPolicy)"
    if certificate:
        fix = "Put the certificate of its CA into the key ca.crt of the registry's Secret"
    cause = endpoint.credentials.hidden(_cut(why))
    return _error(Reason.REGISTRY_UNREACHABLE, f"Cannot reach {endpoint}: {cause}. {fix}.", transient=True)


def unexpected_failure(endpoint: RegistryEndpoint, error: BaseException) -> ResolutionError:
    """Log an unexpected exception, and return the error for it."""
    log_unexpected(logger, str(endpoint), error)
    return ResolutionError(internal_error(f"A request to {endpoint}", error))


def _tls(endpoint: RegistryEndpoint) -> ssl.SSLContext:
    context = endpoint.credentials.ssl_context(endpoint.ca_pem)
    if not endpoint.verify:  # the client certificate is still sent
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _basic(credentials: Credentials, url: httpx.URL) -> tuple[str, str] | None:
    if credentials.username is not None and credentials.password is not None:
        return credentials.username, credentials.password
    if url.userinfo and credentials.token is None:
        return unquote(url.username), unquote(url.password)
    return None


def invalid_response(endpoint: RegistryEndpoint, what: str) -> ResolutionError:
    """Return the error for a response that no MLflow server sends."""
    return _error(
        Reason.REGISTRY_INVALID_ANSWER,
        f"{_capital(endpoint)} returned {endpoint.credentials.hidden(what)} instead of MLflow's JSON. "
        "Check that the tracking URI is that of an MLflow server, with its path if it has one, "
        "and that no proxy or login page is in front of it.",
        transient=True,
    )


def endless(endpoint: RegistryEndpoint) -> ResolutionError:
    """Return the error for a listing that does not end."""
    return invalid_response(endpoint, "a list that does not end")


def _decode(endpoint: RegistryEndpoint, body: bytes, response_type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=response_type)
    except msgspec.ValidationError as error:
        raise invalid_response(endpoint, f"unexpected JSON ({_cut(str(error))})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise invalid_response(endpoint, "an HTML page" if _is_html(body) else "text that is not JSON") from None


def _explain(endpoint: RegistryEndpoint, response: bounded.Response) -> NoReturn:
    """Raise the error for a response other than 200."""
    status, body, where = response.status, response.body, _capital(endpoint)
    if status == 401:
        cause = (
            "refused the credentials"
            if endpoint.credentials.present
            else "requires credentials, and none are configured"
        )
        raise _error(
            Reason.REGISTRY_UNAUTHORIZED,
            f"{where} {cause} (401). Put MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, into a Secret, and name it in "
            f"{_field(endpoint, 'secretRef', 'secret')}.",
        )
    if status == 403 and b"Invalid Host header" in body:
        host = _cut(response.host)
        raise _error(
            Reason.REGISTRY_HOST_REFUSED,
            f"{where} rejects requests to this host name (403 Invalid Host header). Start the MLflow server with "
            f'--allowed-hosts "{host}" or MLFLOW_SERVER_ALLOWED_HOSTS="{host}", in addition to its other host names.',
        )
    if status == 403:
        raise _error(
            Reason.REGISTRY_FORBIDDEN,
            f"{where} does not let the operator's account read this (403). Give it READ permission on the model, "
            "or on the experiment for runs:/ and logged models.",
        )
    if 300 <= status < 400:
        target = without_userinfo(_cut(response.headers.get("location", "")))
        raise invalid_response(endpoint, f"a redirect ({status}) to {target or 'nowhere'}")
    error = _error_body(body)
    if status >= 500 or status == 429:
        raise server_error(endpoint, status, error.message if error else "")
    if error is None:
        raise invalid_response(
            endpoint, f"{status} {'and an HTML page' if _is_html(body) else 'without an error code'}"
        )
    raise MlflowError(status, error.error_code, error.message)


def server_error(endpoint: RegistryEndpoint, status: int, message: str) -> ResolutionError:
    """Return the error for a server that fails or responds unexpectedly."""
    quoted = f": {_cut(endpoint.credentials.hidden(message))}" if message else ""
    return _error(
        Reason.REGISTRY_ERROR,
        f"{_capital(endpoint)} failed with {status}{quoted}. See the registry's log. The operator retries.",
        transient=True,
    )


def _error_body(body: bytes) -> _ErrorBody | None:
    try:
        return msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def _error(reason: Reason, message: str, *, transient: bool = False) -> ResolutionError:
    return ResolutionError(ResolutionFailure(reason, message, transient))


def _field(endpoint: RegistryEndpoint, inline: str, configured: str) -> str:
    """Return the path of a field of the registry, in the spec or in the operator's settings."""
    if endpoint.name == endpoint.tracking_uri:
        return f"spec.model.inlineRegistry.{inline}"
    return f"settings.registries.{endpoint.name}.{configured}"


def _capital(endpoint: RegistryEndpoint) -> str:
    text = str(endpoint)
    return text[0].upper() + text[1:]


def _is_html(body: bytes) -> bool:
    return body.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))


def _cut(text: str) -> str:
    """Return another program's text as one line, without credentials in its URLs."""
    words = printable(text).split()
    return bounded.one_line(" ".join(without_userinfo(word) if "://" in word else word for word in words))
