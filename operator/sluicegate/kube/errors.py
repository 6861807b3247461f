"""What can go wrong in talking to the API server, as exceptions whose text may be shown to users."""

from collections.abc import Mapping
from typing import Any

import msgspec


class KubeError(Exception):
    """Any failure of a request to the API server."""


class Unreachable(KubeError):
    """No answer: the connection failed, broke, or took too long.

    A write that raises this may or may not have taken effect.
    """


class TooLong(KubeError):
    """The answer is longer than the caller reads."""


class Undecodable(KubeError):
    """One object that is not decoded, or not used, because of its content.

    Lists and watches return it in the object's place, so that it stops no other object. Reading that object alone raises it.

    Attributes:
        kind: The object's kind.
        key: Namespace and name; None where they cannot be read.
        uid: Empty where it cannot be read.
        version: The resourceVersion as a number; 0 where it cannot be read.
        problem: What is wrong with the object, as the end of a sentence.
    """

    def __init__(self, kind: str, problem: str, key: tuple[str, str] | None, uid: str = "", version: int = 0) -> None:
        """Keep the parts; the exception's text names the object and the problem."""
        name = "/".join(part for part in key if part) if key is not None else "(name unreadable)"
        super().__init__(f"{kind} {name} cannot be read: {problem}")
        self.kind = kind
        self.key = key
        self.uid = uid
        self.version = version
        self.problem = problem


class ApiError(KubeError):
    """The API server answered, and the answer is an error.

    Attributes:
        status: The HTTP status, or the `code` of a Status object inside a watch stream.
        reason: The machine-readable reason of the Status object (`AlreadyExists`), or the HTTP reason.
        message: The sentence the API server gave.
        details: The Status object's `details` (causes with field paths, kind, name, retryAfterSeconds).
    """

    def __init__(self, status: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Keep the parts of the answer; the exception's text is the message with the status."""
        super().__init__(f"{message} ({status} {reason})" if reason else f"{message} ({status})")
        self.status = status
        self.reason = reason
        self.message = message
        self.details: Mapping[str, Any] = details or {}


class NotFound(ApiError):
    """404: the object, its namespace, or the whole kind is not there."""


class Conflict(ApiError):
    """409: somebody else wrote first, or the name is taken (reason AlreadyExists)."""


class Unauthorized(ApiError):
    """401: the credentials are missing, expired or unknown."""


class Forbidden(ApiError):
    """403: no permission, a quota, or an admission refusal."""


class NamespaceTerminating(Forbidden):
    """403 to a creation in a namespace that is being deleted: nothing is wrong, and nothing is left to do."""


class Invalid(ApiError):
    """400, 422 and their like: sending the same again cannot succeed.

    The status may be 500 all the same, see `_TYPED_PATCH`.
    """


class Gone(ApiError):
    """410: the resource version or continue token is too old; list again."""


class TooManyRequests(ApiError):
    """429: the API server is shedding load, or a disruption budget forbids an eviction.

    Attributes:
        retry_after: Seconds the server asks to wait.
    """

    def __init__(self, status: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Read the wait out of the details; one second where the server names none."""
        super().__init__(status, reason, message, details)
        seconds = self.details.get("retryAfterSeconds")
        self.retry_after: float = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else 1.0


class ServerError(ApiError):
    """5xx: the API server, or an admission webhook behind it, failed."""


# Server-side apply answers 500 to an unknown field or a wrong type, though repeating cannot help.
_TYPED_PATCH = "failed to create typed patch object"

# The cause in a 403's details, from k8s.io/api/core/v1 (NamespaceTerminatingCause).
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
    """The parts of a `v1` Status object that errors are made from; nulls count as absent."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: dict[str, Any] | None = None


def from_status(body: Mapping[str, Any], fallback_status: int = 500) -> ApiError:
    """Make the error a decoded Status object describes, as found in an ERROR event of a watch."""
    try:
        status = msgspec.convert(body, _Status)
    except msgspec.ValidationError:
        status = _Status()
    return _build(status, fallback_status, "")


def from_response(status: int, http_reason: str, body: bytes, retry_after: str | None = None) -> ApiError:
    """Make the error an HTTP answer describes.

    Proxies and load balancers in front of an API server answer in HTML or not at all, so a body that is not
    a Status object is quoted, cut to a line, instead of failing in a second way.

    Args:
        status: HTTP status, 300 or above.
        http_reason: The reason phrase of the status line.
        body: The undecoded body.
        retry_after: The Retry-After header, where there is one, in seconds.
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
    message = parsed.message or reason or "the API server gave no reason"
    cls = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    if message.startswith(_TYPED_PATCH):
        cls = Invalid
    if cls is Forbidden and _TERMINATING in _causes(parsed.details):
        cls = NamespaceTerminating
    return cls(status, reason, message, parsed.details)


def _causes(details: Mapping[str, Any] | None) -> set[str]:
    """The machine-readable reasons in a Status object's details."""
    causes = (details or {}).get("causes")
    return (
        {str(each.get("reason")) for each in causes if isinstance(each, Mapping)} if isinstance(causes, list) else set()
    )
