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

from sluicegate_scorer.errors import ScorerError, one_line, redact
from sluicegate_scorer.sources import credential_hosts
from sluicegate_scorer.sources.base import Body, Entry, safe_path
from sluicegate_scorer.sources.web import Remedies, Web

_API = "/api/2.0/mlflow-artifacts/artifacts"
_CREDENTIALS = (
    "Correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the registry's "
    "podSecret"
)
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

    ranges = False

    def __init__(self, uri: str, base: str, root: str, client: httpx.Client, withheld: str = "") -> None:
        self._uri = redact(uri)
        self._base = base
        self._root = root
        self._withheld = withheld
        remedies = Remedies(
            where=base,
            credentials=_CREDENTIALS,
            denied=_CREDENTIALS,
            missing="Check that it was not deleted",
            certificate="Add the CA certificate to the registry's podSecret as ca.crt, or set "
            "MLFLOW_TRACKING_SERVER_CERT_PATH to its file",
            address="Check that the MLflow server runs, the registry's trackingUri, and the network policies",
            server="Check the load and the log of the MLflow server",
        )
        self._web = Web(remedies, client, self._check)

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
        response = self._web.get(self._base + _API, {"path": path} if path else {}, folder or self._uri)
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
    def read(self, entry: Entry, offset: int, end: int | None = None) -> Iterator[Body]:
        """Stream one file from `offset` on, or from where the server really begins."""
        path = "/".join(part for part in (self._root, entry.path) if part)
        with self._web.read(f"{self._base}{_API}/{quote(path)}", offset, end) as (body, _):
            yield body

    def missing(self) -> ScorerError:
        """Return the error for an empty listing.

        MLflow lists a folder that does not exist as an empty one.
        """
        return ScorerError(
            f"no artifacts at {self._uri} on {self._base}: the model version's files do not exist (404). "
            "Check that the run's artifacts were not deleted and that the server uses the same artifact store"
        )

    def _check(self, response: httpx.Response, what: str) -> None:
        status, text = response.status_code, response.text[:300]
        if status == 403 and "invalid host header" in text.lower():
            host = urlsplit(self._base).netloc
            raise ScorerError(
                f"{self._base} refused the host name {host} (403 Invalid Host header). Add it to "
                "MLFLOW_SERVER_ALLOWED_HOSTS (mlflow server --allowed-hosts) of the MLflow server"
            )
        if status in {401, 403} and self._withheld:
            raise ScorerError(f"{self._base} denied access to {what} ({status}). {self._withheld}")
        if status in {401, 403}:
            raise ScorerError(f"{self._base} refused the credentials ({status}) for {what}. {_CREDENTIALS}")
        if status == 404 and "html" in response.headers.get("content-type", ""):
            raise self._not_mlflow(response)
        if status == 404 and what == self._uri:
            raise self.missing()
        if status == 503 and "serve-artifacts" in text:
            raise ScorerError(f"{self._base} does not proxy artifacts. Start it with mlflow server --serve-artifacts")

    def _not_mlflow(self, response: httpx.Response) -> ScorerError:
        kind = response.headers.get("content-type", "").partition(";")[0] or "no content type"
        return ScorerError(
            f"the response of {self._base} is not that of an MLflow server ({response.status_code}, {kind} "
            "instead of JSON). Check the registry's trackingUri, its path, and that no login page is in front of it"
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
