"""Artifacts in Azure Blob Storage or Data Lake Storage, over the Blob REST API.

This module handles shared keys and shared access signatures. azure-identity finds all other credentials.
"""

import base64
import hashlib
import hmac
import os
import re
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree

import httpx

from sluicegate_scorer.errors import ScorerError, one_line, redact
from sluicegate_scorer.sources import credential_hosts
from sluicegate_scorer.sources.base import MAX_FILES, Body, Entry, safe_path
from sluicegate_scorer.sources.web import Remedies, Web, client

_VERSION = "2021-12-02"
_SCOPE = "https://storage.azure.com/.default"
_CREDENTIALS = (
    "Set AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_ACCESS_KEY or AZURE_STORAGE_SAS_TOKEN in the registry's "
    "podSecret, or give the pod's service account an identity (Workload Identity)"
)
_HOSTS = [
    f"*.{service}.{suffix}"
    for service in ("blob", "dfs")
    for suffix in (
        "core.windows.net",
        "core.usgovcloudapi.net",
        "core.chinacloudapi.cn",
        "core.cloudapi.de",
        "storage.azure.net",
        "fabric.microsoft.com",
    )
]
"""Hosts of Azure Storage in all clouds, and of OneLake."""
_SIGNED = (
    "Content-Encoding",
    "Content-Language",
    "Content-Length",
    "Content-MD5",
    "Content-Type",
    "Date",
    "If-Modified-Since",
)
_SIGNED_LAST = ("If-Match", "If-None-Match", "If-Unmodified-Since", "Range")


class SharedKey(httpx.Auth):
    """Signs requests with an account's key.

    The rules are those of "Authorize with Shared Key" in the documentation of the service.
    """

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        try:
            self._key = base64.b64decode(key, validate=True)
        except ValueError as error:
            raise ScorerError("the Azure storage key is not base64. Copy the key of the account again") from error

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the date, the version and the signature."""
        request.headers["x-ms-date"] = formatdate(usegmt=True)
        request.headers["x-ms-version"] = _VERSION
        headers = {
            name.lower(): value
            for name, value in request.headers.items()
            if (name.lower(), value) != ("content-length", "0")
        }
        service_headers = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms-"))
        query = sorted(
            (name.lower(), value) for name, value in parse_qsl(request.url.query.decode(), keep_blank_values=True)
        )
        resource = f"/{self._account}{request.url.raw_path.decode().partition('?')[0]}"
        resource += "".join(f"\n{name}:{value}" for name, value in query)
        lines = [request.method, *(headers.get(name.lower(), "") for name in (*_SIGNED, *_SIGNED_LAST))]
        text = "\n".join(lines) + "\n" + service_headers + resource
        digest = base64.b64encode(hmac.digest(self._key, text.encode(), hashlib.sha256)).decode()
        request.headers["Authorization"] = f"SharedKey {self._account}:{digest}"
        yield request


class _Signature(httpx.Auth):
    """Adds a shared access signature to the query."""

    def __init__(self, token: str) -> None:
        self._token = token.lstrip("?")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["x-ms-version"] = _VERSION
        query = request.url.query.decode()
        request.url = request.url.copy_with(query=f"{query}&{self._token}".lstrip("&").encode())
        yield request


class _Identity(httpx.Auth):
    """A token of azure-identity. One thread at a time renews it."""

    def __init__(self, credential: Any) -> None:
        self._credential = credential
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        from azure.core.exceptions import ClientAuthenticationError

        with self._lock:
            if time.time() > self._until - 120:
                try:
                    token = self._credential.get_token(_SCOPE)
                except ClientAuthenticationError as error:
                    refusal = re.search(r"AADSTS\d+:[^.]*", str(error))  # without it, no identity provider responded
                    problem = (
                        f"Azure refused the identity ({one_line(refusal[0], 160)})"
                        if refusal
                        else "no Azure credentials are set, and the pod has no identity"
                    )
                    raise ScorerError(f"{problem}. {_CREDENTIALS}") from error
                self._token, self._until = token.token, float(token.expires_on)
        request.headers["x-ms-version"] = _VERSION
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


@dataclass(frozen=True)
class Place:
    """The location of the folder.

    It has the account's Blob endpoint, the container, and the path in the container.
    """

    endpoint: str
    account: str
    container: str
    prefix: str


def place(uri: str, settings: dict[str, str]) -> Place:
    """Return the location that a URI names.

    The forms are wasb[s]://CONTAINER@ACCOUNT.blob.core.windows.net/PATH,
    abfs[s]://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH and az://CONTAINER/PATH.

    Args:
        uri: the URI.
        settings: the settings of the connection string.
    """
    parts = urlsplit(uri)
    container, at, host = parts.netloc.partition("@")
    account = host.partition(".")[0]
    named = (
        settings.get("AccountName")
        or os.environ.get("AZURE_STORAGE_ACCOUNT")
        or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    )
    if not at:
        account, host = named or "", ""
    prefix = unquote(parts.path).strip("/")
    if not container or not account:
        raise ScorerError(
            f"cannot fetch {uri}: it has no container or no account. "
            "Use wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH, or az://CONTAINER/PATH with "
            "AZURE_STORAGE_ACCOUNT in the registry's podSecret or env"
        )
    if settings.get("BlobEndpoint") and account == (named or account):
        endpoint = settings["BlobEndpoint"]
    elif host:
        endpoint = "https://" + host.replace(".dfs.", ".blob.", 1)
    else:
        endpoint = f"https://{account}.blob.{settings.get('EndpointSuffix', 'core.windows.net')}"
    return Place(endpoint.rstrip("/"), account, container, prefix)


class AzureSource:
    """A path in a container.

    One flat listing returns all blobs, so it has no sub-folders.

    Args:
        place: the location of the folder.
        auth: how requests are authorized.
    """

    ranges = True

    def __init__(self, place: Place, auth: httpx.Auth) -> None:
        self._place = place
        self._container = f"{place.endpoint}/{quote(place.container)}"
        self._where = f"{self._container}/{place.prefix}"
        remedies = Remedies(
            where=self._where,
            credentials=_CREDENTIALS,
            denied="Give the identity the role Storage Blob Data Reader, or correct the key in the podSecret",
            missing="Check the URI, and that the artifacts were not deleted",
        )
        self._web = Web(remedies, client(auth))

    @classmethod
    def from_environment(cls, uri: str) -> "AzureSource":
        """Return a store with the variables that MLflow and the az command use.

        Without them, azure-identity finds an identity.
        """
        env = os.environ.get
        settings = dict(
            part.partition("=")[::2] for part in env("AZURE_STORAGE_CONNECTION_STRING", "").split(";") if part
        )
        location = place(uri, settings)
        _check_host(location, settings)
        key = settings.get("AccountKey") or env("AZURE_STORAGE_ACCESS_KEY") or env("AZURE_STORAGE_KEY")
        token = settings.get("SharedAccessSignature") or env("AZURE_STORAGE_SAS_TOKEN")
        if key:
            return cls(location, SharedKey(location.account, key))
        if token:
            return cls(location, _Signature(token))
        try:
            from azure.identity import (
                ChainedTokenCredential,
                EnvironmentCredential,
                ManagedIdentityCredential,
                WorkloadIdentityCredential,
            )
        except ImportError as error:
            raise ScorerError(
                f"no credentials for {redact(location.endpoint)}, and azure-identity is not installed. {_CREDENTIALS}"
            ) from error
        chain: list[Any] = [EnvironmentCredential()]
        if env("AZURE_FEDERATED_TOKEN_FILE"):
            chain.append(WorkloadIdentityCredential())
        return cls(location, _Identity(ChainedTokenCredential(*chain, ManagedIdentityCredential())))

    def list_folder(self, folder: str) -> tuple[list[Entry], list[str]]:
        """List all blobs under the path, page by page.

        Args:
            folder: always the root.
        """
        base = f"{self._place.prefix}/" if self._place.prefix else ""
        params = {"restype": "container", "comp": "list", "prefix": base, "include": "metadata"}
        entries: list[Entry] = []
        while True:
            response = self._web.get(self._container, params)
            try:
                root = ElementTree.fromstring(response.content)
            except ElementTree.ParseError as error:
                raise ScorerError(
                    f"the response of {self._where} is not that of Azure Blob Storage. Check the name of the account"
                ) from error
            entries += [entry for blob in root.iter("Blob") if (entry := _entry(blob, base)) is not None]
            marker = root.findtext("NextMarker")
            if not marker or len(entries) > MAX_FILES:
                return entries, []
            params["marker"] = marker

    @contextmanager
    def read(self, entry: Entry, offset: int, end: int | None = None) -> Iterator[Body]:
        """Stream one blob, if it is still the one that was listed."""
        name = "/".join(part for part in (self._place.prefix, entry.path) if part)
        headers = {"If-Match": entry.version} if entry.version else {}
        with self._web.read(f"{self._container}/{quote(name)}", offset, end, headers=headers) as (body, _):
            yield body

    def missing(self) -> ScorerError:
        """Return the error for an empty listing.

        An object store has no folders, so a wrong path gives an empty listing.
        """
        return ScorerError(
            f"no blobs at {self._where}: container {self._place.container} has none below "
            f"{self._place.prefix}/. Check the path, and that the artifacts were not deleted"
        )


def _check_host(location: Place, settings: dict[str, str]) -> None:
    """Refuse a host that is not one of Azure Storage, of the connection string, or allowed.

    A signature or a token that another host receives can be used at Azure itself.
    """
    known = [*_HOSTS, f"*.{settings['EndpointSuffix']}"] if settings.get("EndpointSuffix") else _HOSTS
    configured = location.endpoint == settings.get("BlobEndpoint", "").rstrip("/")
    name = credential_hosts.host(location.endpoint)
    if not configured and not credential_hosts.matches(name, known) and not credential_hosts.allowed(location.endpoint):
        raise ScorerError(
            f"refused to send Azure credentials to {name}, which is neither a host of Azure Storage nor an allowed "
            f"host. Correct the model's URI, or add {name} to credentialHosts of the registry in the operator's "
            f"settings, or to {credential_hosts.VARIABLE} in the podSecret"
        )


def _entry(blob: ElementTree.Element, base: str) -> Entry | None:
    """Return a file of the listing.

    The result is None for a blob that represents a folder, which exists if the account has a hierarchical namespace.
    """
    folder = blob.findtext("Metadata/hdi_isfolder") == "true" or blob.findtext("Properties/ResourceType") == "directory"
    name = blob.findtext("Name") or ""
    if folder or name.endswith("/"):
        return None
    etag = blob.findtext("Properties/Etag")
    return Entry(
        safe_path(name[len(base) :]),
        int(blob.findtext("Properties/Content-Length") or 0),
        blob.findtext("Properties/Content-MD5") or None,
        (etag if etag.startswith('"') else f'"{etag}"') if etag else None,
    )
