"""Failures that a user reads in `kubectl get mdep`, each in one line.

They contain no secrets. The operator copies the termination message of a pod into a condition. The text of every error
that leaves this package must therefore say what failed, and then how to fix it in a sentence of its own, without a
traceback. The last sentence has no period, because the operator may continue it.
"""

import re
from enum import StrEnum

MAX_MESSAGE = 1024
"""Characters of a message. Kubernetes itself truncates termination messages at 4,096 bytes."""

_USERINFO = re.compile(
    r"(?<![A-Za-z0-9+.-])(?!(?:wasbs?|abfss?)://[a-z0-9$-]+@)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s'\"]*@"
)
"""What comes before an @. In URIs of Azure that is the container, so those are left out."""
_PARAMETER = re.compile(r"(?P<start>[?&](?P<name>[\w.-]+)=)[^&\s'\"]+")
_SECRET_NAME = re.compile(r"token|secret|signature|password|credential|key|^sig$", re.I)
_HEADER = re.compile(r"\b(?P<kind>Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}")


class Reason(StrEnum):
    """The cause of a failure, which the operator acts on. It never acts on the message.

    The values are reasons of the operator's conditions (`core/snapshot/termination.py`).
    """

    FETCH_FAILED = "ModelFetchFailed"
    INSTALL_FAILED = "DependenciesNotInstalled"
    DEPENDENCY_MISSING = "ModelDependencyMissing"
    LOAD_FAILED = "ModelLoadFailed"
    SERVER_FAILED = "ScoringServerFailed"


class ScorerError(Exception):
    """A failure whose text is the whole report.

    Attributes:
        reason: the cause, if it is not the usual one of the command.
    """

    def __init__(self, message: str, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class TransientError(ScorerError):
    """A failure that may not occur again if the request is repeated.

    Attributes:
        unreachable: no connection was made, so the address may be wrong or the server may not be up yet.
        retry_after: seconds that the server asked the client to wait, if it did.
    """

    def __init__(self, message: str, *, unreachable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.unreachable = unreachable
        self.retry_after = retry_after


def redact(text: str) -> str:
    """Replace user:password@, secret query parameters and authorization values.

    The time is proportional to the length of the text, which another server may have chosen.
    """
    text = _USERINFO.sub(r"\g<scheme>***@", text)
    text = _PARAMETER.sub(_without_secret, text)
    return _HEADER.sub(r"\g<kind> ***", text)


def _without_secret(parameter: re.Match[str]) -> str:
    return f"{parameter['start']}***" if _SECRET_NAME.search(parameter["name"]) else parameter[0]


def one_line(text: str, limit: int = MAX_MESSAGE) -> str:
    """Redact a text, join it to one line, and shorten it to `limit` characters.

    The result is short enough for the message of a condition.
    """
    line = " ".join(redact(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def first_line(error: BaseException, limit: int = MAX_MESSAGE) -> str:
    """Return the exception's class and the first nonempty line of its message."""
    lines = (line.strip() for line in str(error).splitlines())
    detail = next((line for line in lines if line), "")
    name = type(error).__name__
    return one_line(f"{name}: {detail}" if detail else name, limit)
