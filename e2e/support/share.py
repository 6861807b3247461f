"""The measured traffic share of each version."""

from __future__ import annotations

import collections
import http.client
import itertools
import urllib.parse
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from e2e.support.load import BODY, HEADERS, TIMEOUT, version_of


def shares(url: str, count: int, **headers: str) -> collections.Counter[int]:
    """Send `count` requests over eight kept connections, and count the versions.

    Args:
        url: the URL of the model.
        count: the number of requests.
        headers: additional headers. `x_cohort="beta"` sends the header x-cohort.

    Raises:
        AssertionError: a request fails.
    """
    sent = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    with ThreadPoolExecutor(max_workers=8) as pool:
        parts = pool.map(lambda _: _lane(url, count // 8, sent), range(8))
        return sum(parts, collections.Counter())


def _lane(url: str, count: int, headers: dict[str, str]) -> collections.Counter[int]:
    return collections.Counter(answers(url, itertools.repeat(headers, count)))


def answers(url: str, requests: Iterable[dict[str, str]]) -> Iterator[int]:
    """Yield the version that responds to each request, over one kept connection.

    Args:
        url: the URL of the model.
        requests: the headers of each request.

    Raises:
        AssertionError: a request fails.
    """
    target = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port or 80, timeout=TIMEOUT)
    for headers in requests:
        connection.request("POST", f"{target.path.rstrip('/')}/invocations", BODY, headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, f"{url} answered {answer.status}: {text[:300]!r}"
        yield version_of(text)
    connection.close()
