"""One call to a receiver of notifications.

The URL of a receiver is a secret, because everyone who has it can post. So no message and no log line contains any part
of it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import httpx

from sluicegate.adapters import bounded
from sluicegate.adapters.unexpected import cancelled_from_outside, log_unexpected

logger = logging.getLogger(__name__)
SECONDS: Final = 10.0
LONGEST_WAIT: Final = 600.0
_AGAIN: Final = frozenset({408, 425, 429})


class InvalidReceiver(ValueError):
    """The configured receiver cannot be called. The message quotes no value."""


@dataclass(frozen=True, slots=True, repr=False)
class Receiver:
    """Where to post notifications.

    Attributes:
        url: An http or https URL.
        authorization: Value of the Authorization header.
        ca_pem: Certificates to trust instead of the system's.
    """

    url: str
    authorization: str | None = None
    ca_pem: str | None = None

    @classmethod
    def from_secret(cls, data: Mapping[str, bytes], secret: str) -> Receiver:
        """Return the receiver that a Secret's (decoded) data describes.

        Args:
            data: The key `url`, and optionally `authorization` and `ca.crt`.
            secret: Name of the Secret in messages.

        Raises:
            InvalidReceiver: The Secret has no url, or a value that no header can carry.
        """
        values: dict[str, str | None] = {}
        for key in ("url", "authorization", "ca.crt"):
            try:
                values[key] = data[key].decode("ascii").strip() or None if key in data else None
            except UnicodeDecodeError:
                raise InvalidReceiver(f"{secret}: the key {key} is not plain ASCII text") from None
        if values["url"] is None:
            raise InvalidReceiver(f'{secret} has no key "url": add the URL of the receiver')
        if values["authorization"] is not None and not values["authorization"].isprintable():
            raise InvalidReceiver(
                f"{secret}: the key authorization contains characters that an HTTP header does not allow"
            )
        return cls(values["url"], values["authorization"], values["ca.crt"])


class Reply(NamedTuple):
    """Result of one call."""

    sent: bool
    again: bool
    """Whether another attempt may succeed."""
    problem: str
    """Why the notification was not sent, without the address."""
    after: float | None = None
    """Seconds that the receiver asked the operator to wait."""


async def post(receiver: Receiver, content: bytes, delivery: str) -> Reply:
    """Post JSON once.

    It does not follow redirects, so that nothing is sent to another host. It does not read the body of the response.

    Args:
        receiver: Where to post.
        content: The JSON.
        delivery: Value of the header X-Sluicegate-Delivery.

    Raises:
        InvalidReceiver: The URL is not valid, or ca.crt is not a certificate.
    """
    client = _client(receiver)
    build = functools.partial(
        client.build_request,
        "POST",
        receiver.url,
        content=content,
        headers={"Content-Type": "application/json", "X-Sluicegate-Delivery": delivery},
    )
    try:
        async with asyncio.timeout(SECONDS), client:
            return _reply(await bounded.fetch(client, build, None))
    except TimeoutError:
        return Reply(False, True, f"no response within {SECONDS:.0f} s")
    except bounded.RequestFailed as error:
        return Reply(False, True, f"it cannot be reached ({error.kind})")
    except asyncio.CancelledError as error:
        if cancelled_from_outside():
            raise
        return _unexpected(error)
    except Exception as error:  # must not affect other notifications
        return _unexpected(error)


def _client(receiver: Receiver) -> httpx.AsyncClient:
    try:
        url = bounded.parse_address(receiver.url)
    except bounded.InvalidAddress as error:
        raise InvalidReceiver(f"its url is not an http:// or https:// URL: {error}") from None
    verify: ssl.SSLContext | bool = url.scheme == "https"
    if verify and receiver.ca_pem is not None:
        try:
            verify = ssl.create_default_context(cadata=receiver.ca_pem)
        except (ssl.SSLError, ValueError, TypeError):
            raise InvalidReceiver("its ca.crt is not valid PEM") from None
    headers = {"Accept": "*/*"}
    if receiver.authorization is not None:
        headers["Authorization"] = receiver.authorization
    return bounded.make_http_client(url, bounded.Login(None, headers, verify), SECONDS)


def _unexpected(error: BaseException) -> Reply:
    log_unexpected(logger, "posting a notification", error)
    return Reply(False, True, f"posting failed with an unexpected {type(error).__name__}")


def _reply(response: bounded.Response) -> Reply:
    status = response.status
    if 200 <= status < 300:
        return Reply(True, False, "")
    asked = response.headers.get("retry-after", "")
    after = min(float(asked), LONGEST_WAIT) if asked.isdecimal() else None
    return Reply(False, status in _AGAIN or status >= 500, f"it responded with {status}", after)
