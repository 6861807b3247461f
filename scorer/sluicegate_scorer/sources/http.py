"""Artifacts of a web server: a folder that the server lists.

nginx, Apache and artifact repositories can list folders. An archive (.zip, .tar, .tar.gz, .tgz) is one file, which
`sluicegate_scorer.archive` unpacks.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpx

from sluicegate_scorer.errors import ScorerError, redact
from sluicegate_scorer.sources import credential_hosts
from sluicegate_scorer.sources.base import Body, Entry, safe_path
from sluicegate_scorer.sources.web import Remedies, Web, client

_CREDENTIALS = (
    "Set SLUICEGATE_HTTP_USERNAME and SLUICEGATE_HTTP_PASSWORD, or SLUICEGATE_HTTP_TOKEN, in the registry's podSecret"
)


class HttpSource:
    """A folder of a web server, or one file of it.

    Args:
        uri: http(s)://HOST/PATH.
        auth: how requests are authorized. The credentials are sent to that host only, and only if it is an allowed one.
        single: whether the URI names one file.
    """

    ranges = False

    def __init__(self, uri: str, auth: httpx.Auth | None, *, single: bool = False) -> None:
        parts = urlsplit(uri)
        self._uri = redact(uri)
        host = parts.netloc.rpartition("@")[2]
        if not host or parts.query or parts.fragment:
            raise ScorerError(
                f"cannot fetch {self._uri}: it has no host, or a query. Use {parts.scheme}://HOST/PATH without a query"
            )
        self._root = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
        self._single = single
        self._etags: dict[str, str] = {}
        remedies = Remedies(
            self._uri, _CREDENTIALS, _CREDENTIALS, "Check the URI, and that the artifacts were not deleted"
        )
        if auth is not None and not credential_hosts.allowed(self._root):
            auth, why = None, credential_hosts.withheld(self._root)
            remedies = Remedies(self._uri, why, why, why)
        self._web = Web(remedies, client(auth))

    @classmethod
    def from_environment(cls, uri: str, *, single: bool = False) -> "HttpSource":
        """Return a store with a user and password, or a token, from the environment."""
        env = os.environ.get
        user, password, token = (env(f"SLUICEGATE_HTTP_{name}") for name in ("USERNAME", "PASSWORD", "TOKEN"))
        auth = httpx.BasicAuth(user, password or "") if user else _Bearer(token) if token else None
        return cls(uri, auth, single=single)

    def list_folder(self, folder: str) -> tuple[list[Entry], list[str]]:
        """List the links of a folder's index page that lie directly below the folder."""
        if self._single:
            return [Entry(safe_path(unquote(self._root.rpartition("/")[2])), None)], []
        url = f"{self._root}/{quote(folder)}/" if folder else f"{self._root}/"
        response = self._web.get(url, {})
        if "html" not in response.headers.get("content-type", ""):
            raise ScorerError(
                f"{self._uri} is not a folder that its server lists. Turn on listings (nginx: autoindex on), or use "
                "the URL of a .zip or .tar.gz of the model's folder"
            )
        files, folders = [], []
        base = str(response.url)
        for link in dict.fromkeys(_Links(response.text).targets):
            name = _below(base, urljoin(base, link))
            if name.endswith("/"):
                folders.append(safe_path(f"{folder}/{name[:-1]}".strip("/")))
            elif name:
                files.append(Entry(safe_path(f"{folder}/{name}".strip("/")), None))
        return files, folders

    @contextmanager
    def read(self, entry: Entry, offset: int, end: int | None = None) -> Iterator[Body]:
        """Stream one file. Continue at `offset` only if it is still the same file."""
        url = self._root if self._single else f"{self._root}/{quote(entry.path)}"
        etag = self._etags.get(entry.path, "")
        if offset and not etag:
            offset = 0  # without an ETag or a date it may be another file
        with self._web.read(url, offset, end, headers={"If-Range": etag} if offset else {}) as (body, headers):
            validator = headers.get("etag", "") or headers.get("last-modified", "")
            self._etags[entry.path] = "" if validator.startswith("W/") else validator
            yield body

    def missing(self) -> ScorerError:
        """Return the error for an index page without links."""
        return ScorerError(f"no files at {self._uri}: the server's listing is empty. Check the path")


class _Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class _Links(HTMLParser):
    """Targets of a page's links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the target of an anchor."""
        self.targets += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _below(base: str, target: str) -> str:
    """Return the name of a link target that lies directly in the folder `base`.

    The result is empty for any other target, such as the parent or a sort order.
    """
    if urlsplit(target).query or urlsplit(target).fragment or not target.startswith(base):
        return ""
    name = unquote(target[len(base) :])
    return name if "/" not in name[:-1] else ""
