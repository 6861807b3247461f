"""Failures of requests to the API server, as exceptions.

Users may see the text of these exceptions.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from sluicegate.core.snapshot.redaction import printable


class KubeError(Exception):
    """Any failure of a request to the API server."""


class Unreachable(KubeError):
    """No response: the connection failed, broke, or took too long.

    A write that raises this may or may not have taken effect.

    Attributes:
        timed_out: Whether the connection held, but no response arrived in time.
    """

    def __init__(self, message: str, timed_out: bool = False) -> None:
        """Store the message."""
        super().__init__(message)
        self.timed_out = timed_out


class TooLong(KubeError):
    """The response is longer than the caller reads."""


class Undecodable(KubeError):
    """One object that is not decoded, or not used, because of its content.

    Lists and watches return it in place of the object, so that it does not affect other objects. Reading only that
    object raises it.

    Attributes:
        kind: The object's kind.
        key: Namespace and name. None if they cannot be read.
        uid: The object's uid. Empty if it cannot be read.
        version: The resourceVersion as a number. 0 if it cannot be read.
        problem: What is wrong with the object, as the end of a sentence.
    """

    def __init__(self, kind: str, problem: str, key: tuple[str, str] | None, uid: str = "", version: int = 0) -> None:
        """Store the parts. The exception's text names the object and the problem."""
        name = "/".join(part for part in key if part) if key is not None else "(name unreadable)"
        super().__init__(f"{kind} {name} cannot be read: {problem}")
        self.kind = kind
        self.key = key
        self.uid = uid
        self.version = version
        self.problem = problem


class ApiError(KubeError):
    """The API server responded with an error.

    Attributes:
        status: The HTTP status, or the `code` of a Status object inside a watch stream.
        reason: The machine-readable reason of the Status object (`AlreadyExists`), or the HTTP reason.
        message: The message of the API server.
        details: The Status object's `details` (causes with field paths, kind, name, retryAfterSeconds).
    """

    def __init__(self, status: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Store the parts of the response.

        The exception's text is the message with the status.
        """
        super().__init__(f"{message} ({status} {reason})" if reason else f"{message} ({status})")
        self.status = status
        self.reason = reason
        self.message = message
        self.details: Mapping[str, Any] = details or {}


class NotFound(ApiError):
    """404: the object, its namespace, or the whole kind does not exist."""


class Conflict(ApiError):
    """409: another writer was first, or the name is taken (reason AlreadyExists)."""


class Unauthorized(ApiError):
    """401: the credentials are missing, expired or unknown."""


class Forbidden(ApiError):
    """403: a missing permission, an exceeded quota, or a rejection by admission."""


class NamespaceTerminating(Forbidden):
    """403: an object cannot be created, because its namespace is being deleted.

    This is not a fault, and there is nothing to do about it.
    """


class Invalid(ApiError):
    """400, 422 and similar: the same request cannot succeed on a retry."""


class Gone(ApiError):
    """410: the resource version or continue token has expired. List again."""


class TooManyRequests(ApiError):
    """429: the API server sheds load, or a disruption budget forbids an eviction.

    Attributes:
        retry_after: Seconds that the server asks the client to wait.
    """

    def __init__(self, status: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Read the wait from the details.

        It is one second if the server does not name one.
        """
        super().__init__(status, reason, message, details)
        seconds = self.details.get("retryAfterSeconds")
        self.retry_after: float = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 1.0


class ServerError(ApiError):
    """5xx: the API server, or an admission webhook that it calls, failed."""


# The cause in the details of a 403, from k8s.io/api/core/v1 (NamespaceTerminatingCause).
_TERMINATING = "NamespaceTerminating"

_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooManyRequests,
}


class _Status(msgspec.Struct):
    """The fields of a `v1` Status object that errors are made from.

    Nulls count as absent.
    """

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: dict[str, Any] | None = None


def from_status(body: Mapping[str, Any], fallback_status: int = 500) -> ApiError:
    """Return the error that a decoded Status object describes.

    The ERROR event of a watch holds such an object.
    """
    try:
        status = msgspec.convert(body, _Status)
    except msgspec.ValidationError:
        status = _Status()
    return _build(status, fallback_status, "")


def from_response(status: int, http_reason: str, body: bytes, retry_after: str | None = None) -> ApiError:
    """Return the error that an HTTP response describes.

    Proxies and load balancers in front of an API server may respond in HTML or with an empty body. So a body that is
    not a Status object does not cause a second failure. The error quotes it, cut to one line.

    Args:
        status: HTTP status, 300 or above.
        http_reason: The reason phrase of the status line.
        body: The undecoded body.
        retry_after: The Retry-After header in seconds, if the response has one.
    """
    try:
        parsed = msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = " ".join(body.decode("utf-8", "replace").split())[:200]
        parsed = _Status(message=text or None)
    if retry_after is not None and retry_after.isdigit():
        parsed.details = {"retryAfterSeconds": int(retry_after), **(parsed.details or {})}
    parsed.code = status
    return _build(parsed, status, http_reason)


def _build(parsed: _Status, fallback_status: int, http_reason: str) -> ApiError:
    status = parsed.code or fallback_status
    reason = parsed.reason or http_reason
    # An admission webhook, a quota or an object of another user may have chosen the words.
    message = printable(parsed.message or reason) or "the API server gave no reason"
    cls = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    if cls is Forbidden and _TERMINATING in _causes(parsed.details):
        cls = NamespaceTerminating
    return cls(status, reason, message, parsed.details)


def _causes(details: Mapping[str, Any] | None) -> set[str]:
    """Return the machine-readable reasons in a Status object's details."""
    causes = (details or {}).get("causes")
    return (
        {str(cause.get("reason")) for cause in causes if isinstance(cause, Mapping)}
        if isinstance(causes, list)
        else set()
    )
