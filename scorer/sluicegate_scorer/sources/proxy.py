"""Artifacts through the proxy of an MLflow server.

The server runs with `mlflow server --serve-artifacts`. The module calls its REST API with httpx instead of MLflow's own
client. This needs nine packages and 0.1 s of CPU instead of forty-three packages and 0.7 s.
"""

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

import httpx

from sluicegate_scorer.errors import ScorerError, TransientError, one_line, redact
from sluicegate_scorer.sources import credential_hosts
from sluicegate_scorer.sources.base import Body, Entry, safe_path
from sluicegate_scorer.sources.web import get_small

_API = "/api/2.0/mlflow-artifacts/artifacts"
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_CHUNK = 1 << 20
_TRUE = {"1", "true", "yes"}


class ProxySource:
    """An artifact folder behind an MLflow server.

    Args:
        uri: the artifact URI, for messages.
        base: the server's URL, with a path prefix if it has one and without credentials.
        root: the folder's path on the server.
        client: the HTTP client, with its credentials and trusted certificates set.
        withheld: why the client has no credentials, if they must not go to this server.
    """

    def __init__(self, uri: str, base: str, root: str, client: httpx.Client, withheld: str = "") -> None:
        self._uri = redact(uri)
        self._base = base
        self._root = root
        self._client = client
        self._withheld = withheld

    @classmethod
    def from_environment(cls, uri: str) -> "ProxySource":
        """Return a store with the address and credentials from the environment.

        The variables are those of MLflow's own client.
        """
        tracking = urlsplit(os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/"))
        target = urlsplit(uri)
        if tracking.scheme not in {"http", "https"} or not tracking.netloc:
            raise ScorerError(
                f"cannot fetch {redact(uri)}: MLFLOW_TRACKING_URI is "
                f"{redact(tracking.geturl()) or 'not set'}. Set the registry's trackingUri to an http(s) URL"
            )
        netloc = target.netloc or tracking.netloc
        root = target.path.strip("/")
        if root:
            safe_path(root)
        userinfo, _, host = netloc.rpartition("@")
        base = f"{tracking.scheme}://{host}{tracking.path}"
        own = not target.netloc or credential_hosts.allowed(base)
        return cls(uri, base, root, _client(userinfo, own=own), "" if own else credential_hosts.withheld(base))

    def list_folder(self, folder: str) -> tuple[list[Entry], list[str]]:
        """List a folder with one request. The names are relative to that folder."""
        path = "/".join(part for part in (self._root, folder) if part)
        try:
            response = get_small(self._client, self._base + _API, {"path": path} if path else {})
        except httpx.HTTPError as error:
            raise self._failure(error) from error
        self._check(response, folder or self._uri)
        try:
            listed = response.json().get("files", [])
            items = [(str(item["path"]), bool(item.get("is_dir")), item.get("file_size")) for item in listed]
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise self._not_mlflow(response) from error
        files: list[Entry] = []
        folders: list[str] = []
        for name, is_folder, size in items:
            full = safe_path(f"{folder}/{name}" if folder else name)
            if is_folder:
                folders.append(full)
            else:
                files.append(Entry(full, self._size(full, size)))
        return files, folders

    def _size(self, path: str, size: object) -> int | None:
        """Return a size of a listing: a number, or its digits."""
        if size is None:
            return None
        if isinstance(size, bool) or not re.fullmatch("[0-9]{1,19}", str(size)):
            raise ScorerError(
                f"refused the artifact listing of {self._base}: the file_size of {path} is "
                f"{one_line(repr(size), 60)}, not a number of bytes. Check the MLflow server and its proxies"
            )
        return int(str(size))

    @contextmanager
    def read(self, entry: Entry, offset: int) -> Iterator[Body]:
        """Stream one file from `offset` on, or from where the server really begins."""
        path = "/".join(part for part in (self._root, entry.path) if part)
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            with self._client.stream("GET", f"{self._base}{_API}/{quote(path)}", headers=headers) as response:
                if response.status_code != 206:
                    if response.status_code != 200:
                        response.read()
                    self._check(response, entry.path)
                yield Body(_start(response, offset), response.iter_bytes(_CHUNK))
        except httpx.HTTPError as error:
            raise self._failure(error) from error

    def missing(self) -> ScorerError:
        """Return the error for an empty listing.

        MLflow lists a folder that does not exist as an empty one.
        """
        return ScorerError(
            f"no artifacts at {self._uri} on {self._base}: the model version's files do not exist (404). "
            "Check that the run's artifacts were not deleted and that the server uses the same artifact store"
        )

    def _check(self, response: httpx.Response, what: str) -> None:
        status = response.status_code
        if status in {200, 206}:
            return
        text = response.text[:300]
        if status == 403 and "invalid host header" in text.lower():
            host = urlsplit(self._base).netloc
            raise ScorerError(
                f"{self._base} refused the host name {host} (403 Invalid Host header). Add it to "
                "MLFLOW_SERVER_ALLOWED_HOSTS (mlflow server --allowed-hosts) of the MLflow server"
            )
        if status in {401, 403} and self._withheld:
            raise ScorerError(f"{self._base} denied access to {what} ({status}). {self._withheld}")
        if status in {401, 403}:
            raise ScorerError(
                f"{self._base} refused the credentials ({status}) for {what}. Correct "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the registry's "
                "podSecret"
            )
        if status == 404 and "html" in response.headers.get("content-type", ""):
            raise self._not_mlflow(response)
        if status == 404:
            raise (
                self.missing()
                if what == self._uri
                else ScorerError(
                    f"{what} of {self._uri} does not exist on {self._base} (404). Check that it was not deleted"
                )
            )
        if status == 503 and "serve-artifacts" in text:
            raise ScorerError(f"{self._base} does not proxy artifacts. Start it with mlflow server --serve-artifacts")
        detail = f"{self._base} responded with {status} for {what}: {one_line(text, 200)}"
        if status in _TRANSIENT:
            raise TransientError(f"{detail}. Check the MLflow server's log", retry_after=_retry_after(response))
        raise ScorerError(f"{detail}. Check the MLflow server's log")

    def _not_mlflow(self, response: httpx.Response) -> ScorerError:
        kind = response.headers.get("content-type", "").partition(";")[0] or "no content type"
        return ScorerError(
            f"the response of {self._base} is not that of an MLflow server ({response.status_code}, {kind} "
            "instead of JSON). Check the registry's trackingUri, its path, and that no login page is in front of it"
        )

    def _failure(self, error: httpx.HTTPError) -> ScorerError:
        detail = one_line(str(error) or type(error).__name__, 200)
        if "CERTIFICATE_VERIFY_FAILED" in detail:
            return ScorerError(
                f"the certificate of {self._base} is not trusted: {detail}. "
                "Add the CA certificate to the registry's podSecret as ca.crt, or set "
                "MLFLOW_TRACKING_SERVER_CERT_PATH to its file"
            )
        if isinstance(error, httpx.TooManyRedirects | httpx.UnsupportedProtocol | httpx.InvalidURL):
            return ScorerError(f"cannot use {self._base}: {detail}. Correct the registry's trackingUri")
        if isinstance(error, httpx.ConnectTimeout):
            return TransientError(
                f"cannot connect to {self._base}: the connection timed out. Check the address, and the network "
                "policies between this namespace and the MLflow server",
                unreachable=True,
            )
        if isinstance(error, httpx.TimeoutException):
            return TransientError(
                f"{self._base} is too slow: {type(error).__name__} after 20s without a byte. "
                "Check the load and the log of the MLflow server"
            )
        if isinstance(error, httpx.ConnectError):
            names = (
                "Name or service not known",
                "name resolution",
                "No address associated",
                "nodename nor servname",
            )
            if any(name in detail for name in names):
                host = urlsplit(self._base).hostname
                return TransientError(
                    f"the host name {host} does not exist in the cluster's DNS. Correct the registry's trackingUri",
                    unreachable=True,
                )
            return TransientError(
                f"cannot connect to {self._base}: {detail}. Check that the MLflow server runs, and the registry's "
                "trackingUri",
                unreachable=True,
            )
        return TransientError(
            f"the download from {self._base} was interrupted: {detail}. Check the MLflow server's log"
        )


def _client(userinfo: str, *, own: bool) -> httpx.Client:
    """Return an HTTP client with the credentials and trust of MLflow's client.

    A user in the URL counts if no variable is set.

    Args:
        userinfo: the user and password in the URL.
        own: whether the server may receive the registry's credentials.
    """
    env = os.environ.get
    user, password, token = (
        (
            env("MLFLOW_TRACKING_USERNAME"),
            env("MLFLOW_TRACKING_PASSWORD"),
            env("MLFLOW_TRACKING_TOKEN") or env("token"),
        )
        if own
        else (None, None, None)
    )
    headers = {"Accept-Encoding": "identity", "User-Agent": "sluicegate-scorer"}
    auth: httpx.BasicAuth | None = None
    if user and password:
        auth = httpx.BasicAuth(user, password)
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    elif userinfo:
        parts = urlsplit(f"http://{userinfo}@host")
        auth = httpx.BasicAuth(httpx.URL(parts.geturl()).username, httpx.URL(parts.geturl()).password)
    limits = httpx.Limits(max_connections=16)
    timeout = httpx.Timeout(20, connect=10, pool=None)
    verify = _trust(identify=own)
    return httpx.Client(
        headers=headers, auth=auth, verify=verify, limits=limits, timeout=timeout, follow_redirects=True
    )


def _trust(*, identify: bool) -> ssl.SSLContext | bool:
    """Return the trusted certificates, with the client certificate.

    They come from files that MLflow's own variables name, or from PEM text of the keys of a Secret.

    Args:
        identify: whether to send the client certificate.
    """
    env = os.environ.get
    if env("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in _TRUE:
        return False
    certificate = env("MLFLOW_TRACKING_CLIENT_CERT_PATH") if identify else None
    # In a service account's Secret, ca.crt is the certificate of the API server.
    authority_pem = None if env("token") and env("namespace") else env("ca.crt")
    authority = env("MLFLOW_TRACKING_SERVER_CERT_PATH") or (None if authority_pem else env("REQUESTS_CA_BUNDLE"))
    pair = "\n".join(part for part in (env("tls.crt"), env("tls.key")) if part)
    pem = (env("MLFLOW_TRACKING_CLIENT_CERT_PEM") or pair) if identify else ""
    if not any((authority, certificate, authority_pem, pem)):
        return True
    try:
        context = ssl.create_default_context(cafile=authority, cadata=None if authority else authority_pem)
        if certificate:
            context.load_cert_chain(certificate)
        elif pem:
            _load_pair(context, pem)
    except (OSError, ssl.SSLError) as error:
        raise ScorerError(
            f"cannot read the certificates: {error}. Check MLFLOW_TRACKING_SERVER_CERT_PATH={authority}, "
            f"MLFLOW_TRACKING_CLIENT_CERT_PATH={certificate}, and tls.crt, tls.key and ca.crt of the Secret"
        ) from error
    return context


def _load_pair(context: ssl.SSLContext, pem: str) -> None:
    """Load a certificate and its key from PEM text.

    The ssl module reads only files. The text goes through an anonymous file in memory, so that no key is written to a
    disk.
    """
    descriptor = os.memfd_create("client-certificate")
    try:
        os.write(descriptor, pem.encode())
        # Without a password callback, OpenSSL would ask the terminal for the key's password.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=lambda: b"")
    finally:
        os.close(descriptor)


def _start(response: httpx.Response, offset: int) -> int:
    if response.status_code != 206:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return int(match.group(1)) if match else offset


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else None
