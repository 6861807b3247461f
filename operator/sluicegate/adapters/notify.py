"""One call to a receiver of notifications. Its URL is a secret (whoever knows it may post), so no word of it goes anywhere."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import httpx

SECONDS: Final = 10.0
LONGEST_WAIT: Final = 600.0
_AGAIN: Final = frozenset({408, 425, 429})


class InvalidReceiver(ValueError):
    """What was configured cannot be called; the sentence quotes no value."""


@dataclass(frozen=True, slots=True, repr=False)
class Receiver:
    """Where to post.

    Attributes:
        url: http or https.
        authorization: Value of the header of that name.
        ca_pem: Certificates to trust instead of the system's.
    """

    url: str
    authorization: str | None = None
    ca_pem: str | None = None

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes], secret: str) -> Receiver:
        """The receiver that a Secret's (decoded) data describes.

        Args:
            data: The keys `url`, and perhaps `authorization` and `ca.crt`.
            secret: How messages call it.

        Raises:
            InvalidReceiver: it has no url, or a value that no header can carry.
        """
        found: dict[str, str | None] = {}
        for key in ("url", "authorization", "ca.crt"):
            try:
                found[key] = data[key].decode("ascii").strip() or None if key in data else None
            except UnicodeDecodeError:
                raise InvalidReceiver(f"{secret}: the key {key} is not plain ASCII text") from None
        if found["url"] is None:
            raise InvalidReceiver(f'{secret} has no key "url": put the address there that notifications are posted to')
        if found["authorization"] is not None and not found["authorization"].isprintable():
            raise InvalidReceiver(f"{secret}: the key authorization holds characters that no HTTP header can carry")
        return cls(found["url"], found["authorization"], found["ca.crt"])


class Reply(NamedTuple):
    """What came of a call."""

    sent: bool
    again: bool
    """Whether another attempt may do better."""
    words: str
    """Why it was not sent, without the address."""
    after: float | None = None
    """Seconds that the receiver asked to wait for."""


async def post(receiver: Receiver, content: bytes, delivery: str) -> Reply:
    """Posts JSON once. Redirects are not followed, so that nothing travels to another host, and no answer is read.

    Raises:
        InvalidReceiver: the URL is none, or ca.crt is no certificate.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "sluicegate", "X-Sluicegate-Delivery": delivery}
    if receiver.authorization is not None:
        headers["Authorization"] = receiver.authorization
    try:
        async with (
            asyncio.timeout(SECONDS),
            _client(receiver) as client,
            client.stream("POST", receiver.url, content=content, headers=headers) as response,
        ):
            return _reply(response)
    except TimeoutError:
        return Reply(False, True, f"it did not answer within {SECONDS:.0f} s")
    except httpx.HTTPError as error:
        return Reply(False, True, f"it cannot be reached ({type(error).__name__})")


def _client(receiver: Receiver) -> httpx.AsyncClient:
    try:
        url = httpx.URL(receiver.url)
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidReceiver("its url is not an http:// or https:// URL")
    verify: ssl.SSLContext | bool = url.scheme == "https"
    if verify and receiver.ca_pem is not None:
        try:
            verify = ssl.create_default_context(cadata=receiver.ca_pem)
        except (ssl.SSLError, ValueError):
            raise InvalidReceiver("its ca.crt is not valid PEM") from None
    return httpx.AsyncClient(verify=verify, timeout=SECONDS, follow_redirects=False)


def _reply(response: httpx.Response) -> Reply:
    status = response.status_code
    if response.is_success:
        return Reply(True, False, "")
    asked = response.headers.get("retry-after", "")
    after = min(float(asked), LONGEST_WAIT) if asked.isdecimal() else None
    return Reply(False, status in _AGAIN or status >= 500, f"it answered {status}", after)
