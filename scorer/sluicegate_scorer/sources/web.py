"""The HTTP client, resumed reads and error messages that several stores share."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import httpx

from sluicegate_scorer.errors import ScorerError, TransientError, one_line, redact
from sluicegate_scorer.sources.base import CHUNK, MAX_LISTING, Body, range_header

TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_UNKNOWN_NAMES = ("Name or service not known", "name resolution", "No address associated", "nodename nor servname")


@dataclass(frozen=True)
class Remedies:
    """The parts of a store's error messages that say what to do.

    Attributes:
        where: the store and the folder, as messages name them.
        credentials: where to set the credentials.
        denied: the permission that is needed.
        missing: what to check if the store does not have a file.
        certificate: how to trust its certificate.
        address: what to check if there is no connection.
        server: what to check if it fails or is too slow.
    """

    where: str
    credentials: str
    denied: str
    missing: str
    certificate: str = "Set SSL_CERT_FILE to its CA certificate"
    address: str = "Check the address, the proxy and the network policies"
    server: str = "Check the artifact store"


def client(auth: httpx.Auth | None = None) -> httpx.Client:
    """Return a client for parallel downloads.

    It takes proxies and SSL_CERT_FILE from the environment.
    """
    return httpx.Client(
        headers={"Accept-Encoding": "identity", "User-Agent": "sluicegate-scorer"},
        auth=auth,
        limits=httpx.Limits(max_connections=16),
        timeout=httpx.Timeout(20, connect=10, pool=None),
        follow_redirects=True,
    )


_OF_THE_TRANSFER = ("content-encoding", "content-length", "transfer-encoding")


def get_small(client: httpx.Client, url: str, params: Mapping[str, str]) -> httpx.Response:
    """Return a response of at most `MAX_LISTING` bytes.

    Raises:
        httpx.HTTPError: if the request fails.
        ScorerError: if the response is longer.
    """
    with client.stream("GET", url, params=dict(params)) as response:
        body = bytearray()
        for chunk in response.iter_bytes(CHUNK):
            body += chunk
            if len(body) > MAX_LISTING:
                raise ScorerError(
                    f"refused the listing at {redact(str(response.url))}: it has more than {MAX_LISTING >> 20} MiB. "
                    "Check that the URI is that of one model"
                )
        headers = [pair for pair in response.headers.multi_items() if pair[0].lower() not in _OF_THE_TRANSFER]
        return httpx.Response(response.status_code, headers=headers, content=bytes(body), request=response.request)


class Web:
    """Requests to one artifact store. Their failures have messages for the user.

    Args:
        remedies: the parts of its error messages.
        client: the HTTP client, with its credentials set.
        check: raises the errors for responses that only this store gives. It gets what was requested, too.
    """

    def __init__(
        self, remedies: Remedies, client: httpx.Client, check: Callable[[httpx.Response, str], None] | None = None
    ) -> None:
        self.remedies = remedies
        self._client = client
        self._check = check

    def get(self, url: str, params: Mapping[str, str], what: str = "") -> httpx.Response:
        """Return a small response, such as a listing.

        Args:
            url: its URL.
            params: the query.
            what: the folder that is requested, if it is not the root.

        Raises:
            TransientError: if another attempt may succeed.
            ScorerError: if it cannot.
        """
        try:
            response = get_small(self._client, url, params)
        except httpx.HTTPError as error:
            raise self._failure(error, url) from error
        self.check(response, what or self.remedies.where)
        return response

    @contextmanager
    def read(
        self,
        url: str,
        offset: int,
        end: int | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[Body, httpx.Headers]]:
        """Stream a file from `offset` to `end`, or from where the store really begins."""
        request_headers = {**(headers or {}), **range_header(offset, end)}
        try:
            with self._client.stream("GET", url, params=dict(params or {}), headers=request_headers) as response:
                if response.status_code not in {200, 206}:
                    response.read()
                self.check(response, unquote(urlsplit(url).path.rpartition("/")[2]))
                yield Body(_start(response, offset), response.iter_bytes(CHUNK)), response.headers
        except httpx.HTTPError as error:
            raise self._failure(error, url) from error

    def check(self, response: httpx.Response, what: str) -> None:
        """Raise the error for a response other than success.

        Args:
            response: the response.
            what: the file or folder that was requested, for the message.

        Raises:
            TransientError: if another attempt may succeed.
            ScorerError: if it cannot.
        """
        status, remedies = response.status_code, self.remedies
        if status in {200, 206}:
            return
        if self._check is not None:
            self._check(response, what)
        failure = f"{remedies.where} responded with {status} for {what}: {one_line(response.text, 200)}"
        if status == 401:
            raise ScorerError(f"{remedies.where} refused the credentials ({status}). {remedies.credentials}")
        if status == 403:
            raise ScorerError(f"{remedies.where} denied access ({_code(response)}). {remedies.denied}")
        if status == 404:
            raise ScorerError(f"{what} does not exist ({remedies.where}, {_code(response)}). {remedies.missing}")
        if status == 412:
            raise ScorerError(f"{what} changed during the download ({remedies.where}, 412). Fetch it again")
        if status in TRANSIENT:
            raise TransientError(f"{failure}. {remedies.server}", retry_after=_retry_after(response))
        raise ScorerError(f"{failure}. Check the URI")

    def _failure(self, error: httpx.HTTPError, url: str) -> ScorerError:
        parts = urlsplit(url)
        remedies, host = self.remedies, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        detail = one_line(str(error) or type(error).__name__, 200)
        if "CERTIFICATE_VERIFY_FAILED" in detail:
            return ScorerError(f"the certificate of {host} is not trusted: {detail}. {remedies.certificate}")
        if isinstance(error, httpx.TooManyRedirects | httpx.UnsupportedProtocol | httpx.InvalidURL):
            return ScorerError(f"cannot use {host}: {detail}. Check the URI")
        if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
            if any(name in detail for name in _UNKNOWN_NAMES):
                detail = f"the host name {parts.hostname} does not exist in the cluster's DNS"
            return TransientError(f"cannot connect to {host}: {detail}. {remedies.address}", unreachable=True)
        if isinstance(error, httpx.TimeoutException):
            return TransientError(
                f"{host} is too slow: {type(error).__name__} after 20s without a byte. {remedies.server}"
            )
        return TransientError(f"the download from {host} was interrupted: {detail}. {remedies.server}")


def _start(response: httpx.Response, offset: int) -> int:
    if response.status_code != 206:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return int(match.group(1)) if match else offset


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else None


def _code(response: httpx.Response) -> str:
    """Return the status of a response, and the store's own name for the error."""
    name = response.headers.get("x-ms-error-code") or ""
    return f"{response.status_code} {name}".strip()
