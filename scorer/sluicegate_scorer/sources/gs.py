"""Artifacts in Google Cloud Storage, over its JSON API.

google-auth finds the credentials.
"""

import json
import os
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import google.auth
import google.auth.transport.requests
import httpx
from google.auth import exceptions

from sluicegate_scorer.errors import ScorerError, TransientError, one_line, redact
from sluicegate_scorer.sources.base import MAX_FILES, Body, Entry, bucket, safe_path
from sluicegate_scorer.sources.web import Remedies, Web, client

_SCOPES = ["https://www.googleapis.com/auth/devstorage.read_only"]
_CREDENTIALS = (
    "Give the pod's service account a role (Workload Identity), or set GOOGLE_APPLICATION_CREDENTIALS_JSON in the "
    "registry's podSecret to the content of a key file"
)


class _Auth(httpx.Auth):
    """A token of google-auth. One thread at a time renews it."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._lock = threading.Lock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with self._lock:
            if not self._credentials.valid:
                try:
                    self._credentials.refresh(google.auth.transport.requests.Request())
                except exceptions.TransportError as error:
                    raise TransientError(
                        f"cannot get a token from Google: {one_line(str(error), 200)}. {_CREDENTIALS}"
                    ) from error
                except exceptions.GoogleAuthError as error:
                    raise ScorerError(
                        f"cannot get a token from Google: {one_line(str(error), 200)}. {_CREDENTIALS}"
                    ) from error
        request.headers["Authorization"] = f"Bearer {self._credentials.token}"
        yield request


class GsSource:
    """A prefix in a bucket.

    One flat listing returns all objects, so it has no sub-folders.

    Args:
        uri: gs://BUCKET/PREFIX.
        endpoint: the URL of the API.
        auth: how requests are authorized, or None if they need no authorization.
    """

    ranges = True

    def __init__(self, uri: str, endpoint: str, auth: httpx.Auth | None) -> None:
        self._uri = redact(uri)
        self._bucket, self._prefix = bucket(uri, "gs://BUCKET/PREFIX")
        self._objects = f"{endpoint.rstrip('/')}/storage/v1/b/{quote(self._bucket, safe='')}/o"
        remedies = Remedies(
            where=self._uri,
            credentials=_CREDENTIALS,
            denied="Give the pod's identity roles/storage.objectViewer on the bucket"
            if auth is not None
            else _CREDENTIALS,
            missing="Check the URI, and that the artifacts were not deleted",
        )
        self._web = Web(remedies, client(auth))

    @classmethod
    def from_environment(cls, uri: str) -> "GsSource":
        """Return a store with the credentials that Google's own libraries use.

        The text of a key file works too. Public buckets need no credentials.
        """
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        if emulator:
            return cls(uri, emulator if "://" in emulator else f"http://{emulator}", None)
        endpoint = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE") or "https://storage.googleapis.com"
        text = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS_JSON")
        parts = urlsplit(endpoint)
        endpoint = f"{parts.scheme}://{parts.netloc}"
        try:
            if text:
                credentials, _ = google.auth.load_credentials_from_dict(json.loads(text), scopes=_SCOPES)
            else:
                credentials, _ = google.auth.default(scopes=_SCOPES)
        except exceptions.DefaultCredentialsError as error:
            if text or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
                raise ScorerError(
                    f"cannot use the credentials for {redact(uri)}: {one_line(str(error), 200)}. Correct the key file"
                ) from error
            return cls(uri, endpoint, None)
        except (
            exceptions.GoogleAuthError
        ) as error:  # such as no connection to the token service of a federated identity
            raise ScorerError(f"cannot get a token from Google: {one_line(str(error), 200)}. {_CREDENTIALS}") from error
        except ValueError as error:
            raise ScorerError(
                "GOOGLE_APPLICATION_CREDENTIALS_JSON is not the content of a key file. Copy the whole file"
            ) from error
        return cls(uri, endpoint, _Auth(credentials))

    def list_folder(self, folder: str) -> tuple[list[Entry], list[str]]:
        """List all objects under the prefix, page by page.

        Args:
            folder: always the root.
        """
        base = f"{self._prefix}/" if self._prefix else ""
        params = {"prefix": base, "fields": "items(name,size,md5Hash,generation),nextPageToken", "maxResults": "1000"}
        entries: list[Entry] = []
        while True:
            response = self._web.get(self._objects, params)
            try:
                listing = response.json()
                for item in listing.get("items", []):
                    if not item["name"].endswith("/"):
                        path = safe_path(item["name"][len(base) :])
                        entries.append(Entry(path, int(item["size"]), item.get("md5Hash"), item.get("generation")))
                token = listing.get("nextPageToken")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ScorerError(
                    f"the response for {self._uri} is not that of Google Cloud Storage. Check its address"
                ) from error
            if not token or len(entries) > MAX_FILES:
                return entries, []
            params["pageToken"] = str(token)

    @contextmanager
    def read(self, entry: Entry, offset: int, end: int | None = None) -> Iterator[Body]:
        """Stream one object, in exactly the generation that was listed."""
        name = "/".join(part for part in (self._prefix, entry.path) if part)
        params = {"alt": "media"} | ({"generation": entry.version} if entry.version else {})
        with self._web.read(f"{self._objects}/{quote(name, safe='')}", offset, end, params) as (body, _):
            yield body

    def missing(self) -> ScorerError:
        """Return the error for an empty listing.

        An object store has no folders, so a wrong prefix gives an empty listing.
        """
        return ScorerError(
            f"no objects at {self._uri}: bucket {self._bucket} has none below {self._prefix}/. "
            "Check the path, and that the artifacts were not deleted"
        )
